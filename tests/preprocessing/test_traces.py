import numpy as np
import pytest

from morula.data.sample import RGB, Image
from morula.preprocessing.traces import without_traces


def stained(red: float, green: float, blue: float, dtype: type = np.uint8) -> np.ndarray:
    rng = np.random.default_rng(0)
    levels = np.array([red, green, blue])[:, None, None]
    return (rng.random((3, 40, 50)) * levels + 5).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_traces_beside_a_bright_stain_are_emptied(dtype: type):
    pixels = stained(4, 0, 200, dtype)
    before = pixels.copy()
    shown = without_traces(Image(pixels, RGB)).pixels
    np.testing.assert_array_equal(pixels, before)
    assert shown.dtype == dtype
    assert not shown[0].any()
    np.testing.assert_array_equal(shown[1:], pixels[1:])


def test_what_can_be_seen_stays():
    for levels in ((200, 200, 200), (25, 60, 200), (0, 0, 200), (0, 0, 0), (3, 3, 3)):
        image = Image(stained(*levels), RGB)
        assert without_traces(image) is image


def test_a_few_bright_spots_stay():
    pixels = stained(4, 4, 200)
    pixels[0, 7, 7] = 150
    shown = without_traces(Image(pixels, RGB)).pixels
    np.testing.assert_array_equal(shown[0], pixels[0])
    assert not shown[1].any()


def test_alpha_stays_and_other_channels_are_not_looked_at():
    pixels = np.concatenate([stained(4, 100, 200), stained(3, 3, 3)[:1]])
    shown = without_traces(Image(pixels, (*RGB, "alpha"))).pixels
    np.testing.assert_array_equal(shown[1:], pixels[1:])
    assert not shown[0].any()
    named = Image(pixels[:3], ("a", "b", "c"))
    assert without_traces(named) is named


def test_a_channel_without_a_number_changes_nothing():
    pixels = stained(4, 100, 200, np.float32)
    pixels[1] = np.nan
    image = Image(pixels, RGB)
    assert without_traces(image) is image
