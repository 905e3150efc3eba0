import numpy as np
import pytest

from morula.data.sample import RGB, Image
from morula.preprocessing.specimen import specimen, without_gaps


def test_pixels_without_a_value_get_the_median_of_their_channel():
    pixels = np.array([[[1, 2, np.nan], [3, 9, np.inf]], [[5, 5, 5], [5, -np.inf, 7]]], np.float32)
    before = pixels.copy()
    shown = without_gaps(Image(pixels, ("a", "b"))).pixels
    assert shown.tolist() == [[[1, 2, 2.5], [3, 9, 2.5]], [[5, 5, 5], [5, 5, 7]]]
    assert shown.dtype == np.float32
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32])
def test_images_without_gaps_stay_as_they_are(dtype: type):
    image = Image(np.arange(24).reshape(1, 4, 6).astype(dtype), ("a",))
    assert without_gaps(image) is image


def test_a_channel_without_any_value_is_left_to_those_who_refuse_it():
    pixels = np.full((2, 3, 3), np.nan)
    pixels[1] = 4
    shown = without_gaps(Image(pixels, ("a", "b"))).pixels
    assert np.isnan(shown[0]).all()
    assert (shown[1] == 4).all()


def test_only_photographs_lose_surround_and_traces():
    pixels = np.random.default_rng(0).random((3, 40, 50)) * np.array([4.0, 100.0, 200.0])[:, None, None]
    assert not specimen(Image(pixels, RGB), RGB).pixels[0].any()
    named = ("red", "far red", "blue")
    np.testing.assert_array_equal(specimen(Image(pixels, named), named).pixels, pixels)
