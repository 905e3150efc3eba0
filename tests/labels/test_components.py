import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage.measure import label as sk_label

from morula.labels.components import (
    connected_components,
    fill_enclosed,
    keep_largest_pieces,
    remove_small,
)

masks = arrays(np.bool_, st.tuples(st.integers(1, 8), st.integers(1, 8), st.integers(1, 8)))
small_labels = arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(-1, 3))


@settings(max_examples=40, deadline=None)
@given(masks, st.integers(1, 3))
def test_components_of_a_mask_agree_with_scikit_image(mask, connectivity):
    expected = sk_label(mask, connectivity=connectivity)
    np.testing.assert_array_equal(connected_components(mask, connectivity), expected)


@settings(max_examples=40, deadline=None)
@given(small_labels, st.integers(1, 2))
def test_components_of_labels_agree_with_scikit_image(labels, connectivity):
    expected = sk_label(np.maximum(labels, 0), connectivity=connectivity)
    np.testing.assert_array_equal(connected_components(labels, connectivity), expected)


@settings(max_examples=40, deadline=None)
@given(arrays(np.int32, (4, 3, 5), elements=st.integers(-1, 2)), st.integers(1, 3))
def test_components_of_labels_in_3d_agree_with_scikit_image(labels, connectivity):
    expected = sk_label(np.maximum(labels, 0), connectivity=connectivity)
    np.testing.assert_array_equal(connected_components(labels, connectivity), expected)


@pytest.mark.parametrize("shape", [(70, 300), (6, 40, 90)])
def test_components_of_noise_and_of_blobs_agree_with_scikit_image(shape):
    noise = np.random.default_rng(0).random(shape)
    for mask in (noise > 0.5, ndimage.gaussian_filter(noise, 2) > 0.5):
        for connectivity in range(1, len(shape) + 1):
            expected = sk_label(mask, connectivity=connectivity)
            np.testing.assert_array_equal(connected_components(mask, connectivity), expected)


def test_a_line_of_pixels_has_components():
    assert connected_components(np.array([True, False, True])).tolist() == [1, 0, 2]


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (2, 0, 4)])
def test_components_of_nothing(shape):
    assert connected_components(np.zeros(shape, bool)).shape == shape


def test_a_view_that_is_not_contiguous(labels):
    part = labels[::2, ::-1]
    np.testing.assert_array_equal(connected_components(part), connected_components(part.copy()))


@pytest.mark.parametrize("connectivity", [0, 3])
def test_unknown_connectivity_is_refused(connectivity):
    with pytest.raises(ValueError, match="expected 1 to 2 for 2 axes"):
        connected_components(np.ones((2, 2), bool), connectivity)


def test_more_components_than_sixteen_bits_hold():
    mask = np.zeros((600, 600), bool)
    mask[::2, ::2] = True
    assert connected_components(mask).max() == 90_000


@settings(max_examples=40, deadline=None)
@given(st.one_of(masks, arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9)))))
def test_filling_agrees_with_scipy(mask):
    np.testing.assert_array_equal(fill_enclosed(mask), ndimage.binary_fill_holes(mask))


def test_filling_nothing():
    assert fill_enclosed(np.zeros((0, 3), bool)).shape == (0, 3)


def test_small_objects_go_and_unannotated_pixels_stay():
    labels = np.array([[1, 1, 1, 0], [2, 2, 9, -1]], np.int32)
    np.testing.assert_array_equal(remove_small(labels, 2), [[1, 1, 1, 0], [2, 2, 0, -1]])
    np.testing.assert_array_equal(remove_small(labels, 1), labels)
    np.testing.assert_array_equal(remove_small(labels, 99), [[0, 0, 0, 0], [0, 0, 0, -1]])


@settings(max_examples=40, deadline=None)
@given(small_labels, st.integers(1, 12), st.sampled_from([1, 2**29]))
def test_remove_small_agrees_with_counting(labels, min_size, scale):
    labels = np.where(labels > 0, labels * scale, labels).astype(np.int32)
    ids, sizes = np.unique(labels, return_counts=True)
    expected = np.where(np.isin(labels, ids[(ids > 0) & (sizes < min_size)]), 0, labels)
    np.testing.assert_array_equal(remove_small(labels, min_size), expected)


@settings(max_examples=40, deadline=None)
@given(small_labels)
def test_every_object_keeps_its_largest_piece(labels):
    kept = keep_largest_pieces(labels)
    for label in np.unique(labels[labels > 0]):
        pieces = sk_label(labels == label, connectivity=1)
        largest = np.bincount(pieces[pieces > 0]).argmax()
        np.testing.assert_array_equal(kept == label, pieces == largest)
    np.testing.assert_array_equal(kept < 0, labels < 0)


def test_inputs_are_not_modified(labels):
    before = labels.copy()
    for function in (connected_components, keep_largest_pieces):
        function(labels)
    remove_small(labels, 10)
    np.testing.assert_array_equal(labels, before)
