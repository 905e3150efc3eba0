import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from morula.errors import InputError
from morula.planning.plan import Normalization
from morula.preprocessing import intensity
from morula.preprocessing.intensity import LIMIT, Normalizer, normalize, percentiles

PERCENTILE = Normalization()
DTYPES = [np.uint8, np.int8, np.uint16, np.int16, np.int32, np.uint32, np.float32, np.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 31, 17), (1, 5, 6, 7)])
def test_percentiles_are_numpys(dtype, shape):
    pixels = (np.random.default_rng(0).gamma(2, 15, shape)).astype(dtype)
    shares = (0.0, 1.0, 37.3, 50.0, 99.8, 100.0)
    np.testing.assert_allclose(percentiles(pixels[0], shares), np.percentile(pixels[0], shares), rtol=1e-6)


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=3, max_side=9)), st.floats(0, 100))
def test_percentiles_of_small_images(channel, share):
    assert percentiles(channel, (share,))[0] == pytest.approx(np.percentile(channel, share), abs=1e-9)


def test_percentile_normalisation_by_hand():
    pixels = np.arange(101, dtype=np.uint8).reshape(1, 1, 101)
    out = normalize(pixels, Normalization(low=10, high=90))
    np.testing.assert_allclose(out[0, 0, [10, 50, 90, 0]], [0, 0.5, 1, -0.125], atol=1e-6)
    assert out.dtype == np.float32


def test_zscore_and_minmax():
    pixels = np.random.default_rng(0).normal(50, 9, (2, 40, 30))
    scored = normalize(pixels, Normalization(kind="zscore"))
    np.testing.assert_allclose(scored.mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(scored.std((1, 2)), 1, atol=1e-5)
    scaled = normalize(pixels, Normalization(kind="minmax"))
    np.testing.assert_allclose([scaled.min(), scaled.max()], [0, 1], atol=1e-6)


def test_minmax_is_per_channel_and_empty_channels_stay_empty():
    """System A: "non-empty channels" are rescaled, each by itself."""
    pixels = np.stack([np.arange(12.0).reshape(3, 4), 1000 + np.arange(12.0).reshape(3, 4), np.zeros((3, 4))])
    scaled = normalize(pixels, Normalization(kind="minmax"))
    for channel in scaled[:2]:
        np.testing.assert_allclose(channel.ravel(), np.arange(12) / 11, atol=1e-6)
    assert not scaled[2].any()


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 100), st.floats(-1000, 1000))
def test_exposure_does_not_matter(seed, gain, offset):
    pixels = np.random.default_rng(seed).random((1, 12, 13))
    np.testing.assert_allclose(
        normalize(pixels * gain + offset, PERCENTILE), normalize(pixels, PERCENTILE), atol=1e-3
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_tiles_are_crops_of_the_whole(dtype):
    pixels = (np.random.default_rng(1).random((2, 33, 40)) * 100).astype(dtype)
    measured = Normalizer.measure(pixels, PERCENTILE)
    np.testing.assert_array_equal(
        measured.apply(pixels[:, 5:20, 7:]), normalize(pixels, PERCENTILE)[:, 5:20, 7:]
    )


def test_constant_channels_become_zero():
    pixels = np.stack([np.full((4, 4), 9), np.arange(16).reshape(4, 4)]).astype(np.uint8)
    out = normalize(pixels, PERCENTILE)
    assert not out[0].any()
    assert out[1].any()


def test_nearly_empty_images_keep_their_few_objects():
    pixels = np.zeros((1, 100, 100), np.uint16)
    pixels[0, 50, 50:53] = 4000
    assert normalize(pixels, PERCENTILE).max() == 1


def test_hot_pixels_are_clipped():
    pixels = np.random.default_rng(0).random((1, 100, 100)).astype(np.float32)
    pixels[0, 0, 0] = 1e9
    assert normalize(pixels, PERCENTILE).max() == LIMIT


def test_bad_pixels_become_zero():
    pixels = np.random.default_rng(0).random((2, 20, 20)).astype(np.float32)
    clean = normalize(pixels, PERCENTILE)
    pixels[0, 3, 4], pixels[0, 5, 5], pixels[1, 0, 0] = np.nan, np.inf, -np.inf
    out = normalize(pixels, PERCENTILE)
    assert out[0, 3, 4] == out[0, 5, 5] == out[1, 0, 0] == 0
    np.testing.assert_allclose(out[0, 10:], clean[0, 10:], atol=0.02)


def test_one_channel_may_be_bad_all_through():
    pixels = np.random.default_rng(0).random((2, 5, 5))
    pixels[0] = np.nan
    out = normalize(pixels, PERCENTILE)
    assert not out[0].any()
    assert out[1].any()


@pytest.mark.parametrize("pixels", [np.full((1, 3, 3), np.nan), np.full((2, 3, 3), np.inf, np.float32)])
def test_all_bad(pixels):
    with pytest.raises(InputError, match="no finite pixel; export it again"):
        normalize(pixels, PERCENTILE)
    with pytest.raises(InputError, match="no finite pixel"):
        percentiles(pixels[0], (50.0,))


def test_large_floats_are_measured_on_a_grid(monkeypatch):
    pixels = np.random.default_rng(0).random((1, 400, 400)).astype(np.float32)
    exact = Normalizer.measure(pixels, PERCENTILE)
    monkeypatch.setattr(intensity, "SAMPLES", 10_000)
    sampled = Normalizer.measure(pixels, PERCENTILE)
    np.testing.assert_allclose(sampled.offset, exact.offset, atol=0.01)
    np.testing.assert_array_equal(sampled.scale, Normalizer.measure(pixels, PERCENTILE).scale)


def test_odd_images():
    assert normalize(np.array([[[7]]], np.uint8), PERCENTILE).tolist() == [[[0]]]
    mask = np.array([[[True, False], [False, False]]])
    assert normalize(mask, Normalization(kind="minmax")).tolist() == [[[1, 0], [0, 0]]]
    wide = np.array([[[2**31 - 1, -(2**31)]]], np.int32)
    assert normalize(wide, Normalization(kind="minmax")).tolist() == [[[1, 0]]]


def test_the_image_is_left_alone():
    pixels = np.array([[[np.nan, 1.0, 2.0]]])
    before = pixels.copy()
    normalize(pixels, PERCENTILE)
    np.testing.assert_array_equal(pixels, before)


def test_measuring_copies_no_image():
    pixels = np.random.default_rng(0).integers(0, 60_000, (1, 3000, 3000), np.uint16)
    tracemalloc.start()
    measured = Normalizer.measure(pixels, PERCENTILE)
    measured.apply(pixels[:, :256, :256])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < pixels.nbytes


def test_replicated_channels_are_as_copied_ones():
    grey = np.random.default_rng(0).gamma(2, 20, (1, 20, 30)).astype(np.uint8)
    seen = np.broadcast_to(grey, (3, 20, 30))
    out = normalize(seen, PERCENTILE)
    np.testing.assert_array_equal(out, normalize(seen.copy(), PERCENTILE))
    assert out.flags.writeable


def test_a_fixed_scale_is_the_same_for_every_image() -> None:
    """CT as in system E: clipped to the training set's range, then mean 0 and deviation 1."""
    fixed = Normalization(kind="fixed", fixed=((-160.0, 240.0, 100.0, 50.0),))
    hounsfield = np.array([[[-1024, -160, 100, 150, 240, 3071]]], np.int16)
    expected = [[[-5.2, -5.2, 0.0, 1.0, 2.8, 2.8]]]
    np.testing.assert_allclose(normalize(hounsfield, fixed), expected, atol=1e-6)
    # A crop is normalised as the whole image is.
    np.testing.assert_allclose(normalize(hounsfield[..., 2:4], fixed), [[[0.0, 1.0]]], atol=1e-6)
    broken = np.array([[[np.nan, 100.0]]], np.float32)
    np.testing.assert_allclose(normalize(broken, fixed), [[[0.0, 0.0]]])


def test_channels_have_fixed_scales_of_their_own() -> None:
    fixed = Normalization(kind="fixed", fixed=((0.0, 10.0, 5.0, 5.0), (0.0, 100.0, 0.0, 10.0)))
    pixels = np.array([[[20.0, 5.0]], [[200.0, 50.0]]], np.float32)
    np.testing.assert_allclose(normalize(pixels, fixed), [[[1.0, 0.0]], [[10.0, 5.0]]])
