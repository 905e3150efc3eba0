import numpy as np

from morula.decoding.markers import flood_markers, number_markers
from morula.targets.boundaries import shrink
from synthetic import touching_balls


def test_small_markers_are_dropped_where_another_marks_the_piece():
    mask = np.ones((1, 8), bool)
    markers = np.array([[1, 0, 0, 1, 1, 1, 0, 0]], bool)
    assert number_markers(markers, mask, 2).tolist() == [[0, 0, 0, 1, 1, 1, 0, 0]]


def test_a_piece_whose_only_marker_is_too_small_is_one_instance():
    mask = np.array([[1, 1, 1, 0, 1, 1, 1]], bool)
    markers = np.array([[0, 1, 0, 0, 1, 1, 0]], bool)
    assert number_markers(markers, mask, 2).tolist() == [[1, 1, 1, 0, 2, 2, 0]]


def test_markers_outside_the_mask_do_not_count():
    assert number_markers(np.ones((3, 3), bool), np.zeros((3, 3), bool)).max() == 0


def test_flooding_gives_the_instances_back(labels):
    markers = shrink(labels, 2) > 0
    elevation = -markers.astype(np.float32)
    flooded = flood_markers(markers, elevation, labels > 0)
    assert flooded.max() == labels.max()
    assert (flooded > 0).sum() == (labels > 0).sum()


def test_small_instances_are_dropped_and_ids_stay_sequential():
    labels = touching_balls(2, 64)
    speck = labels.copy()
    speck[0, 0] = 99
    flooded = flood_markers(
        shrink(speck, 2) > 0, np.zeros(labels.shape, np.float32), speck > 0, min_object_px=2
    )
    assert flooded[0, 0] == 0
    assert set(np.unique(flooded)) == set(range(labels.max() + 1))
