import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage.measure import label as sk_label

from morula.labels.outlines import outlines
from synthetic import touching_balls


def area(corners):
    y, x = corners.T
    return (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2


def test_a_pixel_is_a_square():
    labels = np.zeros((3, 3), np.int32)
    labels[1, 2] = 6
    [(label, corners)] = outlines(labels)
    assert label == 6
    assert corners.tolist() == [[1, 2], [1, 3], [2, 3], [2, 2]]


def test_one_polygon_per_object_with_its_area():
    labels = touching_balls(2)
    found = outlines(labels)
    assert [label for label, _ in found] == list(range(1, labels.max() + 1))
    assert [area(corners) for _, corners in found] == np.bincount(labels.ravel())[1:].tolist()


@settings(max_examples=60, deadline=None)
@given(arrays(np.int32, (8, 8), elements=st.sampled_from([-1, 0, 1, 1, 2])))
def test_pieces_and_holes(labels):
    pieces = sk_label(np.maximum(labels, 0), connectivity=1)
    # Objects join across faces, so a hole that opens across a corner is outside.
    expected = sorted(
        (int(labels[pieces == i][0]), float(ndimage.binary_fill_holes(pieces == i, np.ones((3, 3))).sum()))
        for i in range(1, pieces.max() + 1)
    )
    assert sorted((label, area(corners)) for label, corners in outlines(labels)) == expected


def test_volumes_are_refused():
    with pytest.raises(ValueError, match="3 axes"):
        outlines(np.zeros((2, 2, 2), np.int32))
