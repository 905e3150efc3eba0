import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from morula.decoding.components import grow


@pytest.mark.parametrize("shape", [(90, 110), (30, 34, 38)], ids=["2d", "3d"])
def test_agrees_with_the_distance_transform_where_nothing_is_in_the_way(shape):
    rng = np.random.default_rng(0)
    labels = np.zeros(shape, np.int32)
    labels.ravel()[rng.choice(labels.size, 25, replace=False)] = np.arange(1, 26)
    distance, nearest = ndimage.distance_transform_edt(labels == 0, return_indices=True)
    grown = grow(labels, np.ones(shape, bool))
    assert (grown == labels[tuple(nearest)]).mean() > 0.98
    # Where the rule differs from the nearest pixel it is a near tie.
    places = np.array([np.argwhere(labels == i)[0] for i in range(1, 26)])
    points = np.stack(np.indices(shape), -1)
    chosen = np.linalg.norm(points - places[grown - 1], axis=-1)
    assert (chosen - distance).max() < 1
    limited = grow(labels, np.ones(shape, bool), 5.0)
    assert (distance[limited > 0]).max() <= 5
    assert (limited[distance <= 4.5] > 0).all()


@settings(max_examples=50, deadline=None)
@given(
    arrays(np.int32, (7, 9), elements=st.sampled_from([-1, 0, 0, 0, 1, 2])),
    arrays(np.bool_, (7, 9)),
)
def test_growth_fills_what_it_can_reach(labels, mask):
    grown = grow(labels, mask)
    objects = labels > 0
    np.testing.assert_array_equal(grown[objects], labels[objects])
    assert not grown[~mask & ~objects].any()
    pieces, count = ndimage.label(mask | objects)
    for piece in range(1, count + 1):
        inside = pieces == piece
        assert (grown[inside] > 0).all() == objects[inside].any()


def test_growth_does_not_jump_gaps():
    labels = np.array([[1, 0, 0, 0]], np.int32)
    assert grow(labels, np.array([[1, 1, 0, 1]], bool)).tolist() == [[1, 1, 0, 0]]


def test_shrunk_balls_grow_back(labels):
    eroded = np.where(ndimage.minimum_filter(labels, 3) == ndimage.maximum_filter(labels, 3), labels, 0)
    assert (grow(eroded.astype(np.int32), labels > 0) == labels).mean() > 0.99


def test_zero_distance_and_no_objects():
    labels = np.array([[1, 0]], np.int32)
    np.testing.assert_array_equal(grow(labels, np.ones((1, 2), bool), 0.0), labels)
    assert not grow(np.zeros((3, 3), np.int32), np.ones((3, 3), bool)).any()
