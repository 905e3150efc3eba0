"""Which files are one image."""

from pathlib import Path

import numpy as np
import pytest

from broken import write_png, write_tiff
from morula.data.formats import read_image
from morula.data.sample import RGB
from morula.errors import InputError
from morula.prediction.inputs import Input, find_inputs

TWO = ("dapi", "actin")


def grey(*paths: Path) -> None:
    for number, path in enumerate(paths):
        write_png(path, np.full((8, 9), number, np.uint8))


def names(inputs: tuple[Input, ...]) -> dict[str, list[str]]:
    return {each.id: [path.name for path in each.files] for each in inputs}


def test_files_per_channel_are_joined_when_the_model_needs_as_many(tmp_path: Path) -> None:
    grey(
        *(
            tmp_path / name
            for name in ("a_0000.png", "a_0001.png", "b/c_d_0000.png", "b/c_d_0001.png", "e.png")
        )
    )
    inputs = find_inputs([tmp_path], TWO)
    assert names(inputs) == {
        "a": ["a_0000.png", "a_0001.png"],
        "b/c_d": ["c_d_0000.png", "c_d_0001.png"],
        "e": ["e.png"],
    }
    assert read_image(inputs[0].files).pixels[:, 0, 0].tolist() == [0, 1]
    assert not any(each.warning for each in inputs)


def test_a_list_of_files_is_joined_too_in_whatever_order(tmp_path: Path) -> None:
    files = [tmp_path / f"a_000{number}.png" for number in (1, 0)]
    grey(*files)
    assert find_inputs(files, TWO) == (Input("a", (files[1], files[0])),)


@pytest.mark.parametrize(
    "present",
    [
        ["a_0000.png"],
        ["a_0001.png"],
        ["a_0000.png", "a_0002.png"],
        ["a_0000.png", "a_0001.png", "a_0002.png"],
        ["a_0000.png", "a_0001.tif"],
        ["a_0000.png", "b/a_0001.png"],
        ["a_000.png", "a_001.png"],
        ["a-0000.png", "a-0001.png"],
    ],
)
def test_what_is_no_whole_set_of_channels_stays_as_it_is(present: list[str], tmp_path: Path) -> None:
    for name in present:
        path = tmp_path / name
        (write_tiff if path.suffix == ".tif" else write_png)(path, np.zeros((8, 9), np.uint8))
    inputs = find_inputs([tmp_path], TWO)
    assert [len(each.files) for each in inputs] == [1] * len(present)


def test_a_model_of_one_channel_takes_every_file_by_itself(tmp_path: Path) -> None:
    grey(*(tmp_path / f"a_000{number}.png" for number in range(2)))
    assert names(find_inputs([tmp_path], ("grey",))) == {"a_0000": ["a_0000.png"], "a_0001": ["a_0001.png"]}


def test_files_of_several_channels_are_images_of_their_own(tmp_path: Path) -> None:
    for number in range(3):
        write_png(tmp_path / f"a_000{number}.png", np.zeros((8, 9, 3), np.uint8))
    for needed in (RGB, ("a", "b", "c")):
        inputs = find_inputs([tmp_path], needed)
        assert [(len(each.files), each.warning) for each in inputs] == [(1, "")] * 3


def test_unreadable_files_do_not_hinder_the_others(tmp_path: Path) -> None:
    grey(*(tmp_path / name for name in ("b_0000.png", "b_0001.png", "a_0001.png")))
    (tmp_path / "a_0000.png").write_bytes(b"")
    assert list(names(find_inputs([tmp_path], TWO))) == ["a", "b"]
    for path in tmp_path.glob("b*"):
        path.unlink()
    assert list(names(find_inputs([tmp_path], TWO))) == ["a_0000", "a_0001"]


def test_grey_files_under_a_model_of_colours_are_joined_only_on_request(tmp_path: Path) -> None:
    grey(*(tmp_path / f"a_000{number}.png" for number in range(3)))
    (first, *others) = find_inputs([tmp_path], RGB)
    assert first.id == "a_0000"
    assert "were taken for images of their own" in first.warning
    assert not any(each.warning for each in others)
    assert [each.id for each in find_inputs([tmp_path], RGB, channels=RGB)] == ["a"]
    alone = find_inputs([tmp_path], RGB, channels=("grey",))
    assert [(each.id, each.warning) for each in alone] == [(f"a_000{number}", "") for number in range(3)]


def test_given_names_say_how_many_channels_there_are(tmp_path: Path) -> None:
    grey(*(tmp_path / f"a_000{number}.png" for number in range(3)))
    assert [each.id for each in find_inputs([tmp_path], ("b",), channels=("a", "b", "c"))] == ["a"]


def test_a_joined_image_must_not_have_the_name_of_another(tmp_path: Path) -> None:
    grey(*(tmp_path / name for name in ("a_0000.png", "a_0001.png", "a.png")))
    with pytest.raises(InputError, match="have the same name 'a'"):
        find_inputs([tmp_path], TWO)


def test_equal_cases_of_two_folders_are_told_apart(tmp_path: Path) -> None:
    grey(*(tmp_path / folder / f"a_000{number}.png" for folder in "xy" for number in range(2)))
    assert list(names(find_inputs([tmp_path / "x", tmp_path / "y"], TWO))) == ["x/a", "y/a"]


def test_files_given_by_id_are_taken_one_by_one(tmp_path: Path) -> None:
    given = {f"i{number}": tmp_path / f"a_000{number}.png" for number in (1, 0)}
    assert [each.id for each in find_inputs(given, TWO)] == ["i0", "i1"]
