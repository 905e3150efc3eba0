import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from morula.labels.outlines import outlines
from rings import fill


@settings(deadline=None, max_examples=100)
@given(arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(-1, 3)))
def test_filled_again_they_are_the_same_pixels(labels: np.ndarray):
    found = outlines(labels)
    objects = found.objects()
    assert list(objects) == np.unique(labels[labels > 0]).tolist()
    for id_, rings in objects.items():
        filled = fill([found.ring(ring) for ring in rings], labels.shape)
        np.testing.assert_array_equal(filled, labels == id_)
        assert found.areas[rings].sum() == (labels == id_).sum()
        # One outline per 4-connected piece.
        assert (found.areas[rings] > 0).sum() == ndimage.label(labels == id_)[1]


def test_a_ring_with_its_hole():
    labels = np.ones((3, 3), np.int32)
    labels[1, 1] = 0
    found = outlines(labels)
    assert found.areas.tolist() == [9, -1]
    assert found.ring(0).tolist() == [[0, 0], [0, 3], [3, 3], [3, 0]]
    assert sorted(found.ring(1).tolist()) == [[1, 1], [1, 2], [2, 1], [2, 2]]


def test_every_edge_gives_the_whole_perimeter(labels: np.ndarray):
    plane = labels if labels.ndim == 2 else labels[len(labels) // 2]
    found = outlines(plane, every_edge=True)
    steps = [np.abs(found.ring(i) - np.roll(found.ring(i), 1, 0)).sum(1) for i in range(len(found.ids))]
    assert (np.concatenate(steps) == 1).all()


def test_areas_are_those_of_opencv():
    labels = np.zeros((20, 20), np.int32)
    cv2.circle(labels, (9, 10), 7, 1, -1)
    found = outlines(labels)
    assert found.areas[0] == (labels == 1).sum()
    assert cv2.contourArea(found.ring(0)) == found.areas[0]


def test_volumes_are_refused():
    with pytest.raises(ValueError, match="one plane at a time"):
        outlines(np.zeros((2, 2, 2), np.int32))


def test_nothing_there():
    assert outlines(np.zeros((4, 4), np.int32)).objects() == {}
