import pytest

from morula.cli.options import (
    parse_diameter,
    parse_names,
    parse_pixel_size,
    parse_selection,
    request_of,
)
from morula.errors import InputError


def test_selection_joins_repeated_columns():
    wanted = parse_selection(["fold=1,2", "modality=histology", "fold=3"])
    assert wanted == {"fold": {"1", "2", "3"}, "modality": {"histology"}}


@pytest.mark.parametrize("text", ["fold", "=1", "fold="])
def test_selection_without_column_or_value_is_refused(text: str):
    with pytest.raises(InputError, match="column=value"):
        parse_selection([text])


def test_nothing_given_selects_everything():
    assert parse_selection(None) == {}


@pytest.mark.parametrize("text", ["", "a", "0", "-1", "1,2,3,4", "0.5,,0.5", "nan"])
def test_bad_pixel_size_is_refused(text: str):
    with pytest.raises(InputError, match="--pixel-size"):
        parse_pixel_size(text)


@pytest.mark.parametrize("text", ["0", "-3", "big", "nan", "inf"])
def test_bad_diameter_is_refused(text: str):
    with pytest.raises(InputError, match="--diameter"):
        parse_diameter(text)


def test_names_may_have_spaces_around_commas():
    assert parse_names("dapi, actin,") == ("dapi", "actin")
    assert parse_names(None) is None


def test_equal_options_in_another_order_make_an_equal_request(tmp_path):
    first = request_of(tmp_path, recipe="auto", changes=None, select=["fold=2,1"])
    second = request_of(tmp_path, recipe="auto", changes=None, select=["fold=1", "fold=2"])
    assert first == second
