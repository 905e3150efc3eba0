import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from morula.targets.distances import (
    axis_directions,
    centroid_offsets,
    inner_distance,
    largest_per_label,
    sequential,
    signed_distance,
    two_nearest_distances,
)
from synthetic import touching_balls

small_labels = hnp.arrays(
    np.int32, hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=9), elements=st.integers(-1, 4)
)
spacings = st.sampled_from([(1.0, 1.0, 1.0), (2.0, 1.0, 1.0), (0.5, 0.25, 0.25)])
quick = settings(max_examples=60, deadline=None)


def depth_by_crops(labels: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """Distance to the nearest pixel that is not of the same id, one id at a time."""
    depth = np.zeros(labels.shape)
    for label in np.unique(labels[labels > 0]):
        inside = labels == label
        if inside.all():
            depth[inside] = np.linalg.norm(np.multiply(labels.shape, spacing))
        else:
            depth[inside] = ndimage.distance_transform_edt(inside, sampling=spacing)[inside]
    return depth


@quick
@given(small_labels, spacings)
def test_inner_distance_is_that_of_every_instance_alone(labels, spacing):
    spacing = spacing[-labels.ndim :]
    expected = depth_by_crops(labels, spacing)
    np.testing.assert_allclose(inner_distance(labels, spacing), expected, rtol=1e-5)


def test_inner_distance_of_a_row():
    row = np.array([[0, 5, 5, 5, 5, 5, 7, -1]], np.int32)
    np.testing.assert_allclose(inner_distance(row, (1.0, 0.5)), [[0, 0.5, 1, 1.5, 1, 0.5, 0.5, 0]])


def test_the_image_edge_is_no_outline():
    row = np.array([[3, 3, 3, 0]], np.int32)
    np.testing.assert_allclose(inner_distance(row, (1.0, 1.0)), [[3, 2, 1, 0]])


@quick
@given(small_labels, spacings)
def test_signed_distance_by_its_definition(labels, spacing):
    spacing, reach = spacing[-labels.ndim :], 3.0
    half = 0.5 * min(spacing)
    depth = depth_by_crops(labels, spacing)
    expected = np.full(labels.shape, -1.0)
    if (labels > 0).any():
        outside = ndimage.distance_transform_edt(labels <= 0, sampling=spacing)
        expected = -np.minimum((outside - half) / (reach * min(spacing)), 1)
    for label in np.unique(labels[labels > 0]):
        inside = labels == label
        expected[inside] = (depth[inside] - half) / (depth[inside].max() - half)
    np.testing.assert_allclose(signed_distance(labels, spacing, reach), expected, rtol=1e-4, atol=1e-5)


def test_signed_distance_has_no_bias_at_the_outline():
    # A wide object: half a pixel to either side of its outline is the same height, up and down.
    row = np.repeat(np.array([[0, 1, 0]], np.int32), 20, axis=1)
    heights = signed_distance(row, (1.0, 1.0), reach_px=9.5)[0]
    assert heights[19] == pytest.approx(-heights[20])
    assert heights.max() == 1


def test_signed_distance_of_an_empty_image_and_of_one_that_is_full():
    assert (signed_distance(np.zeros((4, 5), np.int32), (1.0, 1.0)) == -1).all()
    assert (signed_distance(np.ones((4, 5), np.int32), (1.0, 1.0)) == 1).all()


def test_touching_instances_fall_to_their_common_edge():
    labels = touching_balls(2, 64)
    heights = signed_distance(labels, (1.0, 1.0))
    for axis in (0, 1):
        first, second = np.moveaxis(labels, axis, 0)[:-1], np.moveaxis(labels, axis, 0)[1:]
        pair = (first > 0) & (second > 0) & (first != second)
        assert pair.any()
        assert np.moveaxis(heights, axis, 0)[:-1][pair].max() < 0.1


def offsets_by_crops(labels: np.ndarray) -> np.ndarray:
    offsets = np.zeros((labels.ndim, *labels.shape))
    for label in np.unique(labels[labels > 0]):
        inside = np.nonzero(labels == label)
        for axis, coordinates in enumerate(inside):
            delta = coordinates - coordinates.mean()
            low, high = max(-delta.min(), 1e-9), max(delta.max(), 1e-9)
            offsets[axis][inside] = np.where(delta < 0, delta / low, delta / high)
    return offsets


@quick
@given(small_labels)
def test_centroid_offsets_by_their_definition(labels):
    np.testing.assert_allclose(centroid_offsets(labels), offsets_by_crops(labels), atol=1e-5)


def test_centroid_offsets_span_both_sides():
    row = np.array([[0, 1, 1, 1, 1, 2, 3, 3]], np.int32)
    np.testing.assert_allclose(centroid_offsets(row)[1], [[0, -1, -1 / 3, 1 / 3, 1, 0, -1, 1]], rtol=1e-6)
    assert (centroid_offsets(row)[0] == 0).all()


def test_ids_may_be_huge():
    labels = touching_balls(2, 64)
    huge = np.where(labels > 0, labels + 2_000_000_000, 0).astype(np.int32)
    assert sequential(huge).max() <= labels.max()
    np.testing.assert_allclose(centroid_offsets(huge), centroid_offsets(labels))
    np.testing.assert_allclose(signed_distance(huge, (1.0, 1.0)), signed_distance(labels, (1.0, 1.0)))


def test_largest_per_label_is_indexed_by_id():
    ids, values = np.array([[0, 2, 2, 4]], np.int32), np.array([[9, 1, 3, 2]], np.float32)
    assert largest_per_label(ids, values).tolist() == [9, 0, 3, 0, 2]


@quick
@given(small_labels, spacings, st.integers(1, 12))
def test_two_nearest_distances_by_one_transform_per_instance(labels, spacing, radius):
    spacing = spacing[-labels.ndim :]
    each = [ndimage.distance_transform_edt(labels != i, sampling=spacing) for i in range(1, 5)]
    missing = [np.full(labels.shape, np.inf) if not (labels == i).any() else d for i, d in enumerate(each, 1)]
    expected = np.sort(missing, 0)[:2]
    expected[expected > radius * min(spacing) * (1 + 1e-6)] = np.inf
    first, second = two_nearest_distances(labels, radius, spacing)
    np.testing.assert_allclose(first, expected[0], rtol=1e-5)
    np.testing.assert_allclose(second, expected[1], rtol=1e-5)


def test_two_nearest_distances_of_many_instances():
    labels = touching_balls(2, 64, radius=4)
    ids = np.unique(labels[labels > 0])
    expected = np.sort([ndimage.distance_transform_edt(labels != i) for i in ids], 0)[:2]
    first, second = two_nearest_distances(labels, 100)
    np.testing.assert_allclose(first, expected[0], rtol=1e-5)
    np.testing.assert_allclose(second, expected[1], rtol=1e-5)


def test_axis_directions():
    assert axis_directions(2) == ((1.0, 0.0), (0.0, 1.0))
    assert len(axis_directions(3)) == 3
