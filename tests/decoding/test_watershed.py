import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage.segmentation import watershed as sk_watershed

from morula.decoding.watershed import watershed
from synthetic import touching_balls


@pytest.mark.parametrize("shape", [(160, 200), (24, 40, 48)], ids=["2d", "3d"])
@pytest.mark.parametrize("steps", [255, 4000])
@pytest.mark.parametrize("radius", [0, 2])
def test_agrees_with_scikit_image(shape, steps, radius):
    rng = np.random.default_rng(len(shape))
    relief = ndimage.gaussian_filter(rng.random(shape), 3)
    relief = np.round((relief - relief.min()) / np.ptp(relief) * steps).astype(np.float32)
    seeds = np.zeros(shape, np.int32)
    seeds.ravel()[rng.choice(seeds.size, 60, replace=False)] = np.arange(1, 61)
    markers = ndimage.maximum_filter(seeds, 2 * radius + 1)
    mask = relief < 0.7 * steps
    expected = sk_watershed(relief, markers, mask=mask, connectivity=1)
    assert (watershed(relief, markers, mask) == expected).mean() >= 0.999


def test_recovers_touching_balls(labels):
    depth = -ndimage.distance_transform_edt(ndimage.morphological_gradient(labels, 3) == 0)
    markers = np.zeros_like(labels)
    for label, place in enumerate(ndimage.center_of_mass(labels > 0, labels, range(1, labels.max() + 1)), 1):
        markers[tuple(int(c) for c in place)] = label
    found = watershed(depth.astype(np.float32), markers, labels > 0)
    assert (found == labels).mean() > 0.99


@settings(max_examples=50, deadline=None)
@given(
    arrays(np.float32, (7, 9), elements=st.sampled_from([0.0, 1.0, 2.0, 5.0])),
    arrays(np.int32, (7, 9), elements=st.sampled_from([-1, 0, 0, 0, 0, 1, 2, 3])),
    arrays(np.bool_, (7, 9)),
)
def test_laws(elevation, markers, mask):
    labels = watershed(elevation, markers, mask)
    np.testing.assert_array_equal(labels, watershed(elevation, markers, mask))
    assert not labels[~mask].any()
    seeds = mask & (markers > 0)
    np.testing.assert_array_equal(labels[seeds], markers[seeds])
    pieces, count = ndimage.label(mask)
    for piece in range(1, count + 1):
        assert (labels[pieces == piece] > 0).all() == seeds[pieces == piece].any()
    # Every basin hangs together with a seed of its own.
    for label in np.unique(labels[labels > 0]):
        basins, n = ndimage.label(labels == label)
        assert all((seeds & (basins == basin)).any() for basin in range(1, n + 1))


def test_no_markers_no_mask_no_pixels():
    flat = np.zeros((4, 5), np.float32)
    assert not watershed(flat, np.zeros((4, 5), np.int32), np.ones((4, 5), bool)).any()
    assert not watershed(flat, np.ones((4, 5), np.int32), np.zeros((4, 5), bool)).any()
    assert watershed(flat[:0], np.zeros((0, 5), np.int32), np.ones((0, 5), bool)).shape == (0, 5)


def test_not_a_number_floods_last():
    elevation = np.array([[0, np.nan, 3, 2, 0]], np.float32)
    markers = np.array([[1, 0, 0, 0, 2]], np.int32)
    mask = np.ones((1, 5), bool)
    assert watershed(elevation, markers, mask).tolist() == [[1, 1, 2, 2, 2]]
    everywhere = np.full((1, 5), np.nan, np.float32)
    assert (watershed(everywhere, markers, mask) > 0).all()
    assert (watershed(np.full((1, 5), np.inf, np.float32), markers, mask) > 0).all()


def test_inputs_are_not_modified():
    labels = touching_balls(2)
    markers = np.where(labels == 3, 0, labels).astype(np.int32)
    elevation, mask = (labels * 0.5).astype(np.float32), labels >= 0
    before = elevation.copy(), markers.copy(), mask.copy()
    watershed(elevation, markers, mask)
    for array, copy in zip((elevation, markers, mask), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_bad_arguments_are_refused():
    flat, markers = np.zeros((2, 3), np.float32), np.zeros((2, 3), np.int32)
    with pytest.raises(ValueError, match="levels 1"):
        watershed(flat, markers, np.ones((2, 3), bool), levels=1)
    with pytest.raises(ValueError, match=r"mask has shape \(3, 2\)"):
        watershed(flat, markers, np.ones((3, 2), bool))
