"""Axes are read or told, never guessed."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from morula.data.axes import Raw, arrange_image, arrange_labels
from morula.errors import InputError
from morula.types import Spacing

SIZES = {"C": 2, "Z": 3, "Y": 4, "X": 5}


def arranged(raw: Raw, axes: str | None = None, spacing_um: Spacing | None = None) -> np.ndarray:
    return arrange_image(raw, "a.tif", axes, None, spacing_um).pixels


@given(st.sampled_from(["CZYX", "ZYX", "CYX", "YX"]).flatmap(st.permutations).map("".join), st.booleans())
def test_any_order_of_axes_gives_the_same_image(letters: str, told: bool) -> None:
    ordered = "".join(letter for letter in "CZYX" if letter in letters)
    image = np.arange(np.prod([SIZES[letter] for letter in ordered])).reshape([SIZES[c] for c in ordered])
    stored = image.transpose([ordered.index(letter) for letter in letters])
    raw = Raw(stored, "?" * len(letters)) if told else Raw(stored, letters)
    expected = image if "C" in letters else image[np.newaxis]
    np.testing.assert_array_equal(arranged(raw, letters if told else None), expected)


@pytest.mark.parametrize("shape", [(3, 8, 9), (8, 9, 3), (2, 3, 8, 9), (5, 8, 9)])
def test_more_than_two_unknown_axes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        InputError, match=r"a\.tif: nothing says what the axes .* --axes, 'axes' in dataset\.toml"
    ):
        arranged(Raw(np.zeros(shape, np.uint8), "?" * len(shape)))


def test_pages_without_a_meaning_are_refused() -> None:
    with pytest.raises(InputError, match="--axes"):
        arranged(Raw(np.zeros((3, 8, 9), np.uint8), "?YX"))


@pytest.mark.parametrize("shape", [(1, 8, 9), (8, 9, 1), (1, 1, 8, 9), (8, 1, 9), (8, 9)])
def test_unknown_axes_of_length_one_are_dropped(shape: tuple[int, ...]) -> None:
    assert arranged(Raw(np.zeros(shape, np.uint8), "?" * len(shape))).shape == (1, 8, 9)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (1, 7, 1)])
def test_narrow_images_keep_two_axes(shape: tuple[int, ...]) -> None:
    assert arranged(Raw(np.zeros(shape, np.uint8), "?" * len(shape))).ndim == 3


def test_a_single_plane_of_a_stack_is_2d_unless_the_user_says_z() -> None:
    raw = Raw(np.zeros((1, 8, 9), np.uint8), "ZYX")
    assert arranged(raw).shape == (1, 8, 9)
    assert arranged(raw, "ZYX").shape == (1, 1, 8, 9)


def test_time_is_refused_and_a_single_time_point_is_not() -> None:
    with pytest.raises(InputError, match="has 3 time points"):
        arranged(Raw(np.zeros((3, 8, 9), np.uint8), "TYX"))
    assert arranged(Raw(np.zeros((1, 8, 9), np.uint8), "TYX")).shape == (1, 8, 9)


@pytest.mark.parametrize("axes", ["", "XX", "QYX", "CY", "CZYXS1"])
def test_impossible_axes_are_refused(axes: str) -> None:
    with pytest.raises(InputError, match="--axes"):
        arranged(Raw(np.zeros((3, 8, 9), np.uint8), "???"), axes)


def test_too_few_axes_are_refused() -> None:
    with pytest.raises(InputError, match=r"has the shape \(3, 8, 9\), but --axes YX names 2 axes"):
        arranged(Raw(np.zeros((3, 8, 9), np.uint8), "???"), "YX")


def test_opaque_alpha_is_dropped_and_another_kept() -> None:
    image = np.random.default_rng(0).integers(0, 255, (8, 9, 4), dtype=np.uint8)
    varied = arrange_image(Raw(image, "YXS"), "a.png", None, None, None)
    assert varied.channels == ("red", "green", "blue", "alpha")
    image[..., 3] = 255
    opaque = arrange_image(Raw(image, "YXS"), "a.png", None, None, None)
    assert opaque.channels == ("red", "green", "blue")
    np.testing.assert_array_equal(opaque.pixels, image[..., :3].transpose(2, 0, 1))


def test_channel_names_come_from_the_file_or_the_option() -> None:
    raw = Raw(np.zeros((2, 8, 9), np.uint8), "CYX")
    assert arrange_image(raw, "a", None, None, None).channels == ("channel 0", "channel 1")
    assert arrange_image(raw, "a", None, ("n", "c"), None).channels == ("n", "c")
    with pytest.raises(InputError, match="has 2 channels, but 3 names"):
        arrange_image(raw, "a", None, ("a", "b", "c"), None)


def test_a_file_that_names_its_channels_is_never_contradicted() -> None:
    raw = Raw(np.zeros((2, 8, 9), np.uint8), "CYX", ("Actin", "DAPI"))
    assert arrange_image(raw, "a", None, None, None).channels == ("Actin", "DAPI")
    assert arrange_image(raw, "a", None, ("actin", "dapi"), None).channels == ("actin", "dapi")
    assert arrange_image(raw, "a", None, ("a", "b", "c"), None).channels == ("Actin", "DAPI")
    assert arrange_image(raw, "a", None, ("cytoplasm", "nuclei"), None).channels == ("cytoplasm", "nuclei")
    for given_names in (("DAPI", "Actin"), ("dapi", "tubulin")):
        with pytest.raises(InputError, match=r"names its channels Actin, DAPI itself.*Leave out --channels"):
            arrange_image(raw, "a", None, given_names, None)


def test_colours_keep_their_names_beside_stains() -> None:
    raw = Raw(np.zeros((8, 9, 3), np.uint8), "YXS")
    assert arrange_image(raw, "a", None, ("dapi", "actin"), None).channels == ("red", "green", "blue")
    assert arrange_image(raw, "a", None, ("x", "y", "z"), None).channels == ("x", "y", "z")


def test_axes_are_for_files_that_have_as_many() -> None:
    colour = Raw(np.zeros((8, 9, 3), np.uint8), "YXS")
    assert arranged(colour, "CYX").shape == arranged(colour, "YXC").shape == (3, 8, 9)
    stack = Raw(np.zeros((3, 8, 9), np.uint8), "ZYX")
    assert arranged(stack, "CZYX").shape == arranged(stack, "ZYX").shape == (1, 3, 8, 9)
    # A stack that is wrongly marked.
    assert arranged(stack, "CYX").shape == (3, 8, 9)
    assert arranged(Raw(np.zeros((8, 9), np.uint8), "YX"), "ZYX").shape == (1, 8, 9)
    assert arranged(Raw(np.zeros((3, 8, 9), np.uint8), "TYX"), "ZYX").shape == (1, 3, 8, 9)


def test_spacing_comes_from_the_file_or_the_option() -> None:
    raw = Raw(np.zeros((3, 8, 9), np.uint8), "ZYX", (), {"Z": 2.0, "Y": 0.5, "X": 0.25})
    assert arrange_image(raw, "a", None, None, None).spacing_um == (2.0, 0.5, 0.25)
    assert arrange_image(raw, "a", None, None, (0.5,)).spacing_um == (0.5, 0.5, 0.5)
    partly = Raw(raw.pixels, "ZYX", (), {"Y": 0.5, "X": 0.25})
    assert arrange_image(partly, "a", None, None, None).spacing_um is None
    assert arrange_image(partly, "a", None, None, (3.0, 0.5, 0.25)).spacing_um == (3.0, 0.5, 0.25)
    bare = Raw(raw.pixels, "ZYX")
    assert arrange_image(bare, "a", None, None, (1.0,)).spacing_um == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.0,), (-1.0, 1.0, 1.0), (float("nan"),)])
def test_impossible_spacing_is_refused(spacing: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match=r"expected|Give one positive number"):
        arranged(Raw(np.zeros((3, 8, 9), np.uint8), "ZYX"), None, spacing)


@pytest.mark.parametrize("axes", list(permutations("ZYX")))
def test_labels_of_three_known_axes_are_put_in_order(axes: tuple[str, ...]) -> None:
    sizes = {"Z": 3, "Y": 4, "X": 5}
    raw = Raw(np.zeros([sizes[letter] for letter in axes], np.uint16), "".join(axes))
    assert arrange_labels(raw, "a", None).shape == (3, 4, 5)


def test_labels_of_three_unknown_axes_are_a_stack() -> None:
    assert arrange_labels(Raw(np.zeros((3, 8, 9), np.uint8), "?YX"), "a", None).shape == (3, 8, 9)
    assert arrange_labels(Raw(np.zeros((8, 9, 3), np.uint8), "???"), "a", "YXZ").shape == (3, 8, 9)


def test_labels_with_channels_are_refused_and_opaque_alpha_is_not() -> None:
    for raw in (Raw(np.zeros((8, 9, 3), np.uint8), "YXS"), Raw(np.zeros((2, 8, 9), np.uint8), "CYX")):
        with pytest.raises(InputError, match=r"labels with \d channels; expected one integer id"):
            arrange_labels(raw, "a", None)
    assert arrange_labels(Raw(np.zeros((8, 9, 2), np.uint8), "YXS"), "a", None).shape == (8, 9)


def test_booleans_become_numbers_and_big_endian_native() -> None:
    assert arranged(Raw(np.ones((8, 9), bool), "YX")).dtype == np.uint8
    swapped = arranged(Raw(np.full((8, 9), 258, ">u2"), "YX"))
    assert swapped.dtype == np.uint16
    assert swapped.dtype.isnative
    assert (swapped == 258).all()
