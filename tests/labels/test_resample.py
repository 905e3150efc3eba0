import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from morula.labels.matching import match
from morula.labels.resample import resample_labels
from synthetic import touching_balls

small_labels = arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(-1, 4))


def test_there_and_back(labels):
    finer = resample_labels(labels, tuple(int(1.7 * n) for n in labels.shape))
    assert match(labels, resample_labels(finer, labels.shape), (0.95,))[0].ap == 1


@settings(max_examples=60, deadline=None)
@given(small_labels, st.integers(1, 15), st.integers(1, 15))
def test_no_id_is_made_up_and_finer_grids_lose_none(labels, height, width):
    result = resample_labels(labels, (height, width))
    assert set(np.unique(result)) <= set(np.unique(labels))
    if height >= labels.shape[0] and width >= labels.shape[1]:
        assert set(np.unique(result[result > 0])) == set(np.unique(labels[labels > 0]))


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_mirroring_commutes(labels, factor):
    shape = tuple(n // factor for n in labels.shape)
    for axis in range(labels.ndim):
        flipped = resample_labels(np.flip(labels, axis).copy(), shape)
        assert (flipped == np.flip(resample_labels(labels, shape), axis)).mean() > 0.995


def test_agrees_with_linear_interpolation_of_each_object():
    labels = touching_balls(2, 48)
    shape = (77, 60)
    points = np.meshgrid(*[(np.arange(n) + 0.5) * 48 / n - 0.5 for n in shape], indexing="ij")
    ids = np.unique(labels)
    votes = [ndimage.map_coordinates((labels == i) * 1.0, points, order=1, mode="nearest") for i in ids]
    chosen = np.searchsorted(ids, resample_labels(labels, shape))
    np.testing.assert_allclose(np.take_along_axis(np.array(votes), chosen[None], 0)[0], np.max(votes, 0))


def test_tiny_objects_survive():
    labels = np.zeros((64, 64), np.int32)
    labels[4::8, 4::8] = np.arange(1, 65).reshape(8, 8)
    result = resample_labels(labels, (16, 16))
    assert np.unique(result).size == 65


def test_smaller_objects_do_not_oust_the_last_pixel_of_others():
    labels = np.arange(1, 17, dtype=np.int32).reshape(4, 4)
    result = resample_labels(labels, (2, 2))
    assert np.unique(result).size == 4


def test_the_same_shape_is_a_copy(labels):
    result = resample_labels(labels, labels.shape)
    assert result is not labels
    np.testing.assert_array_equal(result, labels)


@pytest.mark.parametrize("shape", [(3,), (3, 0)])
def test_impossible_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="expected one positive length per axis"):
        resample_labels(np.ones((2, 2), np.int32), shape)
