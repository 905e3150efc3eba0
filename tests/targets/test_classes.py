"""Signed distances of classes against whole Euclidean transforms, class by class."""

import numpy as np
import pytest
from scipy import ndimage

from morula.targets.classes import class_channels, class_distances


def organs(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Smooth regions of the labels 0, 2, 5 and 9, touching each other and the edges."""
    rng = np.random.default_rng(seed)
    fields = [ndimage.gaussian_filter(rng.normal(size=shape), 3) for _ in range(4)]
    return np.array([0, 2, 5, 9], np.int32)[np.argmax(fields, 0)]


def reference(labels: np.ndarray, label: int, spacing: tuple[float, ...], reach: float) -> np.ndarray:
    """One whole transform on either side; inside up to other labels only, not up to the edge."""
    half = 0.5 * min(spacing)
    own = labels == label
    inside = ndimage.distance_transform_edt(own, spacing) - half
    outside = ndimage.distance_transform_edt(~own, spacing) - half
    deepest = inside[own].max()
    return np.where(own, -inside / deepest, np.minimum(outside / (reach * min(spacing)), 1))


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((40, 50), (1.0, 1.0)), ((40, 50), (0.5, 0.8)), ((12, 30, 34), (4.0, 1.0, 1.5))],
)
def test_distances_are_those_of_whole_transforms(shape: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    labels = organs(shape)
    maps = class_distances(labels, (5, 2, 9), spacing, reach_px=6.0)
    for channel, label in enumerate((5, 2, 9)):
        expected = reference(labels, label, spacing, 6.0)
        np.testing.assert_allclose(maps[channel], expected, atol=1e-5)


def test_absent_and_whole_classes() -> None:
    labels = np.full((6, 7), 3, np.int32)
    absent, whole = class_distances(labels, (1, 3), (1.0, 1.0))
    assert (absent == 1).all()
    assert (whole == -1).all()
    assert (class_distances(np.zeros((4, 4), np.int32), (1,), (1.0, 1.0)) == 1).all()


def test_unannotated_and_strange_labels_are_background() -> None:
    labels = np.array([[-1, 4, 7, 0]], np.int32)
    assert class_channels(labels, (7, 2)).tolist() == [[0, 0, 1, 0]]
    known = np.array([[0, 0, 7, 0]], np.int32)
    maps = [class_distances(array, (7, 2), (1.0, 1.0)) for array in (labels, known)]
    np.testing.assert_array_equal(*maps)


def test_labels_stay_as_they_are() -> None:
    labels = organs((20, 20))
    before = labels.copy()
    labels.setflags(write=False)
    class_distances(labels, (2, 5, 9), (1.0, 1.0))
    np.testing.assert_array_equal(labels, before)
