import numpy as np
import pytest
from scipy import ndimage

from morula.decoding.offsets import border_strength, smooth, stretched_border_strength
from morula.targets.distances import centroid_offsets


@pytest.mark.parametrize("ndim", [2, 3])
def test_strength_is_the_steepest_fall_of_sobel(ndim):
    rng = np.random.default_rng(0)
    offsets = rng.uniform(-1, 1, (ndim, *(9, 7, 8)[:ndim])).astype(np.float32)
    mask = rng.random(offsets.shape[1:]) > 0.3
    gain = 2 * 4 ** (ndim - 1)
    falls = [-ndimage.sobel(offsets[i], i, mode="nearest") / gain for i in range(ndim)]
    expected = np.where(mask, np.clip(np.max(falls, 0), 0, 1), 1)
    np.testing.assert_allclose(border_strength(offsets, mask), expected, atol=1e-6)


def test_a_fall_from_one_to_minus_one_is_a_border_of_one():
    step = np.repeat(np.array([[1, 1, -1, -1]], np.float32), 4, 0)
    strength = border_strength(np.stack([0 * step, step]), np.ones(step.shape, bool))
    assert strength.tolist() == [[0, 1, 1, 0]] * 4


def test_borders_lie_where_instances_touch(labels):
    strength = border_strength(centroid_offsets(labels), labels > 0)
    high, low = ndimage.maximum_filter(labels, 3), ndimage.minimum_filter(labels, 3)
    inner = (labels > 0) & (high == low)
    assert strength[inner].max() < 0.05
    both = labels > 0
    for axis in range(labels.ndim):
        pair = np.diff(labels, axis=axis) != 0
        pair &= (np.delete(labels, 0, axis) > 0) & (np.delete(labels, -1, axis) > 0)
        assert np.delete(strength, 0, axis)[pair].min() > 0.3
    assert (strength[~both] == 1).all()


@pytest.mark.parametrize("ndim", [2, 3])
def test_stretched_strength_is_the_published_formula(ndim):
    """Graham et al. 2019, equation 5: offsets and their derivatives each scaled to 0..1 by their extremes."""
    rng = np.random.default_rng(0)
    offsets = rng.uniform(-1, 1, (ndim, *(9, 7, 8)[:ndim])).astype(np.float32)
    mask = rng.random(offsets.shape[1:]) > 0.3
    borders = []
    for axis, offset in enumerate(offsets):
        scaled = (offset - offset.min()) / np.ptp(offset)
        slope = ndimage.sobel(scaled.astype(np.float64), axis, mode="nearest")
        borders.append(1 - (slope - slope.min()) / np.ptp(slope))
    expected = np.where(mask, np.max(borders, 0), 1)
    np.testing.assert_allclose(stretched_border_strength(offsets, mask), expected, atol=1e-5)
    flat = np.zeros_like(offsets)
    assert not stretched_border_strength(flat, np.ones_like(mask)).any()


@pytest.mark.parametrize("shape", [(9, 7), (1, 6), (4, 1), (5, 6, 7), (1, 1)])
def test_smoothing_is_a_gaussian_of_three_pixels(shape):
    values = np.random.default_rng(0).random(shape, dtype=np.float32)
    expected = ndimage.gaussian_filter(values, 0.8, mode="nearest", radius=1)
    np.testing.assert_allclose(smooth(values), expected, rtol=1e-5)
