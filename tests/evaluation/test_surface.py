"""Normalised surface distance: by hand, and against slow references of both definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from morula.evaluation.surface import normalized_surface_distance, patch_areas


def box(shape: tuple[int, ...], *sides: slice) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[sides] = True
    return mask


def border_reference(truth, predicted, spacing, tolerance) -> float:
    """MONAI's definition, by whole distance transforms of the borders (erosion with a cross)."""
    borders = [mask & ~ndimage.binary_erosion(mask) for mask in (np.pad(truth, 1), np.pad(predicted, 1))]
    near = [
        ndimage.distance_transform_edt(~other, spacing)[own] <= tolerance + 1e-9
        for own, other in (borders, borders[::-1])
    ]
    return sum(part.sum() for part in near) / sum(part.size for part in near)


def area_reference(truth, predicted, spacing, tolerance) -> float:
    """DeepMind's definition: patches between 2 x 2 x 2 voxels, distances between their middles."""
    near = whole = 0.0
    patches = [cells(np.pad(mask, 1)) for mask in (truth, predicted)]
    for own, other in (patches, patches[::-1]):
        surface = (other > 0) & (other < 255)
        away = ndimage.distance_transform_edt(~surface, spacing)
        for place in np.argwhere((own > 0) & (own < 255)):
            area = patch_areas(spacing)[own[tuple(place)]]
            whole += area
            near += area * (away[tuple(place)] <= tolerance + 1e-9)
    return near / whole


def cells(mask: np.ndarray) -> np.ndarray:
    code = np.zeros([size - 1 for size in mask.shape], int)
    for place in np.ndindex(code.shape):
        window = mask[tuple(slice(start, start + 2) for start in place)]
        code[place] = int((window.ravel() << np.arange(8)).sum())
    return code


def test_a_shift_by_one_pixel_in_2d() -> None:
    # 3 x 3 squares, eight border pixels each, shifted by one column.
    one, two = box((7, 8), slice(2, 5), slice(2, 5)), box((7, 8), slice(2, 5), slice(3, 6))
    assert normalized_surface_distance(one, two, (1.0, 1.0), 1.0) == 1.0
    # At tolerance 0 the shared border pixels count: two in the first row and two in the last.
    assert normalized_surface_distance(one, two, (1.0, 1.0), 0.0) == pytest.approx(2 * 4 / 16)


def test_one_voxel_and_its_neighbour_by_area() -> None:
    # A lone voxel is an octahedron: eight patches of sqrt(3) / 8. Its neighbour shares four of their middles.
    one, two = box((5, 5, 5), 2, 2, 2), box((5, 5, 5), 2, 2, 3)
    spacing = (1.0, 1.0, 1.0)
    assert patch_areas(spacing)[1] == pytest.approx(np.sqrt(3) / 8)
    assert normalized_surface_distance(one, two, spacing, 0.5, by_area=True) == pytest.approx(0.5)
    assert normalized_surface_distance(one, two, spacing, 1.0, by_area=True) == 1.0


def test_areas_of_patterns() -> None:
    # A plane through the cell, across each axis: the face of a voxel.
    areas = patch_areas((2.0, 3.0, 5.0))
    assert areas[0b00001111] == pytest.approx(3 * 5)
    assert areas[0b00110011] == pytest.approx(2 * 5)
    assert areas[0b01010101] == pytest.approx(2 * 3)
    # One corner: the triangle between the middles of three edges.
    corner = 0.5 * np.linalg.norm(np.cross([-1, 1.5, 0], [-1, 0, 2.5]))
    assert areas[1] == pytest.approx(corner)
    assert areas[0] == areas[255] == 0
    np.testing.assert_allclose(areas, areas[::-1])


@settings(max_examples=15)
@given(st.integers(0, 1000), st.sampled_from([0.7, 1.0, 2.0, 2.5]), st.sampled_from([2, 3]))
def test_border_voxels_as_a_slow_reference_counts_them(seed: int, tolerance: float, ndim: int) -> None:
    truth, predicted, spacing = pair(seed, ndim)
    expected = border_reference(truth, predicted, spacing, tolerance)
    found = normalized_surface_distance(truth, predicted, spacing, tolerance)
    assert found == pytest.approx(expected)


@settings(max_examples=5)
@given(st.integers(0, 1000), st.sampled_from([0.7, 1.0, 2.5]))
def test_surface_area_as_a_slow_reference_counts_it(seed: int, tolerance: float) -> None:
    truth, predicted, spacing = pair(seed, 3)
    expected = area_reference(truth, predicted, spacing, tolerance)
    found = normalized_surface_distance(truth, predicted, spacing, tolerance, by_area=True)
    assert found == pytest.approx(expected)


def pair(seed: int, ndim: int) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(9, 11, 10)[:ndim]), 1.2)
    other = field + 0.3 * ndimage.gaussian_filter(rng.normal(size=field.shape), 1)
    truth, predicted = field > 0.03, other > 0.03
    truth.flat[0] = predicted.flat[-1] = True
    return truth, predicted, (2.0, 1.0, 0.7)[:ndim]


def test_absent_organs() -> None:
    nothing, something = np.zeros((4, 4), bool), box((4, 4), slice(1, 3), slice(1, 3))
    assert normalized_surface_distance(nothing, nothing, (1.0, 1.0), 1.0) is None
    assert normalized_surface_distance(something, nothing, (1.0, 1.0), 1.0) == 0.0
    assert normalized_surface_distance(nothing, something, (1.0, 1.0), 1.0, by_area=True) == 0.0


@pytest.mark.parametrize("by_area", [False, True])
def test_organs_cut_by_the_edge_are_like_any_other(by_area: bool) -> None:
    truth, predicted = box((6, 6, 6), slice(0, 3)), box((6, 6, 6), slice(0, 4))
    for tolerance in (0.5, 1.0):
        there = normalized_surface_distance(truth, predicted, (1.0,) * 3, tolerance, by_area=by_area)
        wide = [np.pad(mask, 3) for mask in (truth, predicted)]
        assert there == normalized_surface_distance(*wide, (1.0,) * 3, tolerance, by_area=by_area)


def test_a_tolerance_that_equals_a_distance_holds_in_spite_of_rounding() -> None:
    one, two = box((1, 9), 0, 1), box((1, 9), 0, 4)
    assert normalized_surface_distance(one, two, (0.1, 0.1), 0.3) == 1.0
