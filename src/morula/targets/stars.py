"""Star-convex targets: rays, and the distance from every pixel to its instance's edge along them."""

from typing import no_type_check

import numpy as np
from jaxtyping import Float32
from numba import njit

from morula.errors import InputError
from morula.targets.distances import inner_distance
from morula.types import Labels, Map, Scalar, Spacing


def star_directions(ndim: int, rays: int) -> Float32[np.ndarray, "_ *_"]:
    """Unit vectors spread evenly over all directions, a set that every mirroring maps onto itself.

    2D: equal angles beginning at the x axis, as in Schmidt et al. 2018. 3D: golden-angle points on one
    octant, mirrored into the other seven (Weigert et al. 2020 take a Fibonacci sphere, which no mirror maps
    onto itself, so that flipped predictions could not be averaged).

    Args:
        ndim: 2 or 3.
        rays: Number of rays, a multiple of 4 in 2D and of 8 in 3D.

    Returns:
        ``(rays, ndim)`` in axis order.

    Raises:
        InputError: `rays` is no positive multiple of 2 ** ndim.

    Examples:
        >>> star_directions(2, 4).round().astype(int).tolist()
        [[0, 1], [1, 0], [0, -1], [-1, 0]]
    """
    if rays < 1 or rays % 2**ndim:
        msg = f"{rays} rays in {ndim}D; expected a positive multiple of {2**ndim}, so that flips are exact."
        raise InputError(msg)
    if ndim == 2:
        angle = np.arange(rays) * 2 * np.pi / rays
        return np.stack([np.sin(angle), np.cos(angle)], 1).astype(np.float32)
    count = rays // 8
    index = np.arange(count)
    height = (index + 0.5) / count
    turn = (index * (np.sqrt(5) - 1) / 2 + 0.5) % 1 * np.pi / 2
    flat = np.sqrt(1 - height**2)
    octant = np.stack([height, flat * np.sin(turn), flat * np.cos(turn)], 1)
    signs = np.stack(np.meshgrid(*[(1.0, -1.0)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    return (signs * octant).reshape(-1, 3).astype(np.float32)


def star_distances(
    labels: Labels,
    directions: Float32[np.ndarray, "_ *_"],
    spacing: Spacing,
    stride: int = 1,
    weights: Scalar | None = None,
) -> Map:
    """Distance from every pixel of an instance to the instance's edge, along every ray.

    Schmidt et al. 2018, https://arxiv.org/abs/1806.03535, section 2.1, in any dimension: a ray visits one
    pixel per step along its longest axis; the edge lies half a step before the first pixel outside.
    The image's edge ends a ray.

    Args:
        labels: ``(*spatial)``; 0 and -1 are outside.
        directions: Unit vectors ``(rays, ndim)`` in the unit of `spacing`.
        spacing: Pixel size per axis.
        stride: Grid step of the result. A grid point lies in the middle of its block of pixels, so that
            mirroring maps grid points onto grid points; its distances are the mean of its pixels'.
        weights: Weight of each pixel in that mean ``(*spatial)``; None for 1 everywhere.

    Returns:
        ``(rays, *spatial / stride)``, rounded up, in the unit of `spacing`; 0 outside.

    Examples:
        >>> right = np.array([[0, 1]], np.float32)
        >>> star_distances(np.array([[0, 1, 1, 1, 2]], np.int32), right, (1.0, 1.0))[0]
        array([[0. , 2.5, 1.5, 0.5, 0.5]], dtype=float32)
    """
    ids = np.maximum(labels, 0)
    pixels = np.nonzero(ids)
    grid = tuple(-(-size // stride) for size in labels.shape)
    cells = np.ravel_multi_index(tuple(axis // stride for axis in pixels), grid)
    share = np.ones(len(cells)) if weights is None else weights[pixels].astype(np.float64)
    total = np.bincount(cells, share, minlength=int(np.prod(grid)))
    share /= np.maximum(total[cells], np.finfo(np.float64).tiny)

    # One pixel of background around stops every ray: no step needs to ask where the image ends.
    padded = np.pad(ids, 1)
    strides = np.cumprod([1, *padded.shape[:0:-1]])[::-1]
    start = np.stack(pixels, 1) @ strides + strides.sum()
    shifts, lengths = _walks(directions, spacing, strides, max(padded.shape))
    # Whatever is nearer than the nearest pixel outside is inside: most steps need no look.
    safe = inner_distance(padded, spacing).ravel()[start] - 0.5 * float(np.linalg.norm(spacing))
    distances = np.zeros((len(lengths), len(total)), np.float32)
    _march(padded.ravel(), start, (cells, share, safe), shifts, lengths, distances)
    return distances.reshape(-1, *grid)


def _walks(
    directions: np.ndarray, spacing: Spacing, strides: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Flat offset of the first `count` pixels of every ray, ``(rays, count)``, and the length of one step."""
    steps = np.asarray(directions, np.float64) / np.array(spacing)
    longest = np.abs(steps).max(1)
    position = np.arange(count)[:, None] * (steps / longest[:, None])[:, None]
    # Halves go towards the start in both directions, so that mirrored rays visit mirrored pixels.
    pixel = np.ceil(np.abs(position) - 0.5 - 1e-6) * np.sign(position)
    return pixel.astype(np.int64) @ strides, 1 / longest


@njit(cache=True, nogil=True)
@no_type_check
def _march(padded, start, where, shifts, lengths, distances):
    cells, share, safe = where
    for ray in range(shifts.shape[0]):
        shift, length, row = shifts[ray], lengths[ray], distances[ray]
        for i in range(start.size):
            here = start[i]
            label = padded[here]
            count = max(1, int(safe[i] / length))
            while padded[here + shift[count]] == label:
                count += 1
            row[cells[i]] += share[i] * (count - 0.5) * length
