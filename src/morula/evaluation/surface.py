"""Normalised surface distance (NSD): which share of two surfaces lies within a tolerance of the other.

Nikolov et al. 2018, https://arxiv.org/abs/1809.04430. Two definitions of the surface are in use, and they
give different figures: the border voxels of an organ, each counting 1 (MONAI), or the patches of surface
between voxel centres, each counting its area (DeepMind's ``surface-distance``, the FLARE challenges).
"""

from functools import lru_cache
from typing import no_type_check

import numpy as np
from jaxtyping import Float64, Int64
from numba import njit
from scipy import ndimage

from morula.labels.volume import as_volume
from morula.types import Mask, Spacing

Surface = tuple[Mask, Float64[np.ndarray, "*_"]]
"""Where the surface is, on a grid, and what each place of it counts (0 elsewhere)."""


def normalized_surface_distance(
    truth: Mask, predicted: Mask, spacing: Spacing, tolerance: float, *, by_area: bool = False
) -> float | None:
    """The share of both surfaces that lies within `tolerance` of the other one.

    Args:
        truth: One organ ``(*spatial)``.
        predicted: The same organ as it was found.
        spacing: Pixel size per axis.
        tolerance: In the unit of `spacing`; a distance equal to it counts as within.
        by_area: Surface patches weighted by their area (in 2D: contour pieces by their length), instead of
            border voxels.

    Returns:
        Between 0 and 1; 0 when one of the two is empty, None when both are.

    Examples:
        >>> one, two = np.zeros((2, 5, 5), bool)
        >>> one[2, 1], two[2, 3] = True, True
        >>> normalized_surface_distance(one, two, (1.0, 1.0), 1.0)
        0.0
        >>> normalized_surface_distance(one, two, (1.0, 1.0), 2.0)
        1.0
    """
    if not truth.any() and not predicted.any():
        return None
    if not truth.any() or not predicted.any():
        return 0.0
    window = _bounding_box(truth | predicted)
    pair = [np.pad(mask[window], 1) for mask in (truth, predicted)]
    surfaces = [_patches(mask, spacing) if by_area else _border(mask) for mask in pair]
    offsets = _ball(spacing, tolerance)
    near = whole = 0.0
    for (own, weights), (other, _) in (surfaces, surfaces[::-1]):
        reached = _within(as_volume(own), as_volume(other), offsets)
        near += float(weights[own][reached].sum())
        whole += float(weights[own].sum())
    return near / whole


def _bounding_box(mask: Mask) -> tuple[slice, ...]:
    axes = range(mask.ndim)
    sides = [np.flatnonzero(mask.any(tuple(other for other in axes if other != axis))) for axis in axes]
    return tuple(slice(int(side[0]), int(side[-1]) + 1) for side in sides)


def _border(mask: Mask) -> Surface:
    """Pixels with a face neighbour outside; beyond the image's edge is outside."""
    border = mask & ~np.asarray(ndimage.binary_erosion(mask), bool)
    return border, border.astype(np.float64)


def _patches(mask: Mask, spacing: Spacing) -> Surface:
    """Places between 2 x 2 (x 2) pixels that are not all alike, and the area of the surface in each."""
    ndim = mask.ndim
    codes = np.zeros([size - 1 for size in mask.shape], np.int64)
    for bit, corner in enumerate(np.ndindex((2,) * ndim)):
        window = tuple(slice(start, start + size) for start, size in zip(corner, codes.shape, strict=True))
        codes += mask[window].astype(np.int64) << bit
    areas = patch_areas(spacing)[codes]
    return (codes > 0) & (codes < 2**2**ndim - 1), areas


@lru_cache(maxsize=32)
def patch_areas(spacing: Spacing) -> Float64[np.ndarray, " _"]:
    """Area of the surface (length of the contour) in a cell of 2 x 2 x 2 (2 x 2) pixels, for each pattern.

    Bit i of a pattern is the i-th corner in C order. The surface is that of marching cubes (Lorensen and
    Cline 1987) with its points half-way between pixels.

    Examples:
        >>> patch_areas((3.0, 4.0))[[0, 1, 3, 5, 9, 15]].tolist()
        [0.0, 2.5, 4.0, 3.0, 5.0, 0.0]
    """
    ndim = len(spacing)
    areas = np.zeros(2**2**ndim)
    for code in range(1, len(areas) - 1):
        cell = (code >> np.arange(2**ndim) & 1).reshape((2,) * ndim)
        areas[code] = _length(cell, spacing) if ndim == 2 else _area(cell, spacing)
    return areas


def _length(cell: Int64[np.ndarray, "2 2"], spacing: Spacing) -> float:
    """Contour in a cell of 2 x 2 pixels: straight between two halves, a cut corner each otherwise."""
    if cell.sum() == 2:
        if (cell[0] == cell[1]).all():
            return spacing[0]
        if (cell[:, 0] == cell[:, 1]).all():
            return spacing[1]
        return float(np.hypot(spacing[0], spacing[1]))
    return float(np.hypot(spacing[0], spacing[1])) / 2


def _area(cell: Int64[np.ndarray, "2 2 2"], spacing: Spacing) -> float:
    from skimage.measure import marching_cubes, mesh_surface_area

    # The pattern with fewer corners inside: a pattern and its complement have the same surface.
    inside = cell if cell.sum() <= 4 else 1 - cell
    points, triangles, _, _ = marching_cubes(
        inside.astype(np.float64), 0.5, spacing=spacing, method="lorensen", allow_degenerate=False
    )
    return float(mesh_surface_area(points, triangles))


def _ball(spacing: Spacing, tolerance: float) -> Int64[np.ndarray, "_ 3"]:
    """Steps to all pixels within `tolerance`, the nearest first."""
    steps = np.array((*[1.0] * (3 - len(spacing)), *spacing))
    reach = np.floor(tolerance / steps + 1e-9).astype(np.int64)
    reach[: 3 - len(spacing)] = 0
    grid = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in reach], indexing="ij"), -1).reshape(-1, 3)
    squares = ((grid * steps) ** 2).sum(1)
    # Rounding must not push a distance beyond a tolerance that it equals.
    grid, squares = grid[squares <= tolerance**2 * (1 + 1e-9)], squares[squares <= tolerance**2 * (1 + 1e-9)]
    return grid[np.argsort(squares, kind="stable")]


@njit(cache=True, nogil=True)
@no_type_check
def _within(own, other, offsets):
    """For every place of `own`, in C order, whether one of `other` is among the steps from it."""
    size = own.shape
    reached = np.zeros(own.sum(), np.bool_)
    at = 0
    for z in range(size[0]):
        for y in range(size[1]):
            for x in range(size[2]):
                if not own[z, y, x]:
                    continue
                for k in range(len(offsets)):
                    i, j, m = z + offsets[k, 0], y + offsets[k, 1], x + offsets[k, 2]
                    inside = 0 <= i < size[0] and 0 <= j < size[1] and 0 <= m < size[2]
                    if inside and other[i, j, m]:
                        reached[at] = True
                        break
                at += 1
    return reached
