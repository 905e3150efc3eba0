import pytest

from morula.errors import InputError
from morula.representations import read_representation
from morula.representations.tuned import (
    decoder_choices,
    tunable_fields,
    tunable_values,
    with_values,
)

UNION = {
    "kind": "union",
    "decoder": "borders",
    "parts": {"borders": {"kind": "shrunk_borders"}, "offsets": {"kind": "hover", "mask_threshold": 0.4}},
    "weights": {"offsets": 0.5},
}


def test_fields_of_a_representation_with_their_limits():
    fields = {item.path: item for item in tunable_fields(read_representation({"kind": "hover"}))}
    assert fields["mask_threshold",].low < fields["mask_threshold",].value < fields["mask_threshold",].high
    assert not fields["mask_threshold",].whole
    assert fields["min_object_px",].whole
    assert ("offset_weight",) not in fields


def test_fields_of_a_union_lie_in_its_parts():
    union = read_representation(UNION)
    paths = [item.path for item in tunable_fields(union)]
    assert ("parts", "borders", "marker_threshold") in paths
    assert ("parts", "offsets", "mask_threshold") in paths
    assert decoder_choices(union) == ("borders", "offsets")
    assert decoder_choices(read_representation({"kind": "hover"})) == ()


def test_values_go_out_and_in_again():
    union = read_representation(UNION)
    table = tunable_values(union)
    assert table["decoder"] == "borders"
    assert table["parts"]["offsets"]["mask_threshold"] == 0.4
    assert "offset_weight" not in table["parts"]["offsets"]
    assert with_values(union, table) == union
    # A whole dump fits as well.
    assert with_values(union, union.model_dump()) == union


def test_a_copy_is_changed_and_the_original_is_not():
    union = read_representation(UNION)
    other = with_values(union, {"decoder": "offsets", "parts": {"offsets": {"min_object_px": 17}}})
    assert other.model_dump()["parts"]["offsets"]["min_object_px"] == 17
    assert other.model_dump()["parts"]["offsets"]["mask_threshold"] == 0.4
    assert other.model_dump()["decoder"] == "offsets"
    assert union == read_representation(UNION)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"decodr": "borders"}, r"'decodr'.*Did you mean 'decoder'"),
        ({"parts": {"border": {}}}, r"'border'.*Did you mean 'borders'"),
        ({"parts": {"borders": {"marker_threshold": 7}}}, r"out of range: marker_threshold"),
        ({"decoder": "nobody"}, r"no part 'nobody'"),
    ],
)
def test_what_does_not_fit_is_named(table: dict, message: str):
    with pytest.raises(InputError, match=message):
        with_values(read_representation(UNION), table)
