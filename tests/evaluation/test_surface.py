"""Normalised surface distance: by hand, and against slow references of both definitions."""

from functools import cache
from itertools import combinations

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
            area = pattern_area(own[tuple(place)], spacing)
            whole += area
            near += area * (away[tuple(place)] <= tolerance + 1e-9)
    return near / whole


@cache
def pattern_area(code: int, spacing: tuple[float, float, float]) -> float:
    """Surface in a cell of 2 x 2 x 2 voxels, from the shape of each piece of the rarer kind of corners.

    Corners that no edge of the cell joins are cut off apart, also where two of them share a face.
    """
    corners = [corner for bit, corner in enumerate(np.ndindex(2, 2, 2)) if code >> bit & 1]
    if len(corners) > 4:
        corners = [corner for corner in np.ndindex(2, 2, 2) if corner not in corners]
    area, left = 0.0, set(corners)
    while left:
        piece, reached = set(), {left.pop()}
        while reached:
            piece |= reached
            reached = {other for other in left for one in reached if joined(one, other)}
            left -= reached
        area += piece_area(piece, spacing)
    return area


def joined(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return sum(a != b for a, b in zip(one, other, strict=True)) == 1


def piece_area(piece: set[tuple[int, ...]], spacing: tuple[float, float, float]) -> float:
    """Area of the surface that cuts a piece of one to four joined corners off, half-way along the edges."""
    a, b, c = spacing
    triangle = 0.5 * np.linalg.norm(np.cross([-a / 2, b / 2, 0], [-a / 2, 0, c / 2]))
    joints = [pair for pair in combinations(piece, 2) if joined(*pair)]
    axes = [next(axis for axis in range(3) if one[axis] != other[axis]) for one, other in joints]
    # Joints at each corner, and per axis: the rectangle around an edge along it, and the plane across it.
    degrees = {corner: sum(corner in joint for joint in joints) for corner in piece}
    edge = (a * np.hypot(b, c) / 2, b * np.hypot(a, c) / 2, c * np.hypot(a, b) / 2)
    plane = (b * c, a * c, a * b)
    if len(piece) == 1:
        return triangle
    if len(piece) == 2:
        return edge[axes[0]]
    if len(piece) == 3:
        # Bent: half a plane, and half a hexagon beside it.
        return plane[3 - sum(axes)] / 2 + 3 * triangle
    if len(joints) == 4:
        return plane[3 - sum(set(axes))]
    if 3 in degrees.values():
        # A corner and its three neighbours: a hexagon.
        return 6 * triangle
    # A path along all three axes: a bent hexagon, four triangles and half a rectangle for either end.
    ends = [axis for axis, joint in zip(axes, joints, strict=True) if 1 in (degrees[c] for c in joint)]
    return 4 * triangle + sum(edge[axis] for axis in ends) / 2


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


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 3.0, 5.0), (5.0, 1.0, 1.0)])
def test_areas_of_all_patterns(spacing) -> None:
    expected = [pattern_area(code, spacing) for code in range(256)]
    np.testing.assert_allclose(patch_areas(spacing), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("code", "cube", "oblong"),
    [
        # Two and three corners that share no edge, and the same outside.
        (0b00000110, 0.433013, 4.75),
        (0b00011000, 0.433013, 4.75),
        (0b00010110, 0.649519, 7.125),
        (0b01101111, 0.433013, 4.75),
        (0b01111110, 0.433013, 4.75),
        # An edge and a corner, and the same outside; two edges.
        (0b00011001, 0.923613, 8.205952),
        (0b10101101, 0.923613, 10.452747),
        (0b00111100, 1.414214, 18.027756),
        # Three corners of a face, alone and with the one farthest from them.
        (0b00000111, 1.149519, 14.625),
        (0b00011110, 1.366025, 17.0),
        (0b01100011, 1.366025, 14.5),
        # Four corners: around one, along a path and its mirror image, and every other one.
        (0b00010111, 1.299038, 14.25),
        (0b00011011, 1.573132, 16.45435),
        (0b00011101, 1.573132, 16.922415),
        (0b01101001, 0.866025, 9.5),
    ],
)
def test_areas_of_rare_patterns_as_deepmind_has_them(code: int, cube: float, oblong: float) -> None:
    """Figures of ``surface-distance`` 0.1, which counts the corners from the last to the first."""
    assert patch_areas((1.0, 1.0, 1.0))[code] == pytest.approx(cube, rel=1e-5)
    assert patch_areas((2.0, 3.0, 5.0))[code] == pytest.approx(oblong, rel=1e-5)


def test_areas_together_are_those_of_deepmind() -> None:
    """Sums over all patterns of ``surface-distance`` 0.1."""
    assert patch_areas((1.0, 1.0, 1.0)).sum() == pytest.approx(241.34314, rel=1e-6)
    assert patch_areas((2.0, 3.0, 5.0)).sum() == pytest.approx(2608.21278, rel=1e-6)


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
