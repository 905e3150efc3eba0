"""Star-convex targets: rays, and the distance from every pixel to its instance's edge along them."""

import numpy as np
from jaxtyping import Float32
from numba import njit

from morula.errors import InputError
from morula.types import Labels, Map, Spacing


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


def star_distances(labels: Labels, directions: Float32[np.ndarray, "_ *_"], spacing: Spacing) -> Map:
    """Distance from every pixel of an instance to the instance's edge, along every ray.

    Schmidt et al. 2018, https://arxiv.org/abs/1806.03535, section 2.1, in any dimension: a ray visits one
    pixel per step along its longest axis; the edge lies half a step before the first pixel outside.
    The image's edge ends a ray.

    Args:
        labels: ``(*spatial)``; 0 and -1 are outside.
        directions: Unit vectors ``(rays, ndim)`` in the unit of `spacing`.
        spacing: Pixel size per axis.

    Returns:
        ``(rays, *spatial)`` in the unit of `spacing`; 0 outside.

    Examples:
        >>> right = np.array([[0, 1]], np.float32)
        >>> star_distances(np.array([[0, 1, 1, 1, 2]], np.int32), right, (1.0, 1.0))[0]
        array([[0. , 2.5, 1.5, 0.5, 0.5]], dtype=float32)
    """
    # One pixel of background around stops every ray: no step needs to ask where the image ends.
    padded = np.pad(np.maximum(labels, 0), 1)
    steps = np.asarray(directions, np.float64) / np.array(spacing)
    longest = np.abs(steps).max(1)
    strides = np.cumprod([1, *padded.shape[:0:-1]])[::-1]
    shifts = np.empty((len(steps), max(padded.shape)), np.int64)
    for ray, step in enumerate(steps / longest[:, None]):
        position = np.arange(shifts.shape[1])[:, None] * step
        # Halves go towards the start in both directions, so that mirrored rays visit mirrored pixels.
        pixel = np.ceil(np.abs(position) - 0.5 - 1e-9) * np.sign(position)
        shifts[ray] = pixel.astype(np.int64) @ strides
    # Only pixels of instances are visited; the padding never is.
    start = np.flatnonzero(padded)
    lengths = _march(padded.ravel(), start, shifts, 1 / longest)
    distances = np.zeros((len(steps), labels.size), np.float32)
    distances[:, np.flatnonzero(labels > 0)] = lengths
    return distances.reshape(-1, *labels.shape)


@njit(cache=True, nogil=True)
def _march(padded, start, shifts, lengths):
    distances = np.empty((shifts.shape[0], start.size), np.float32)
    for ray in range(shifts.shape[0]):
        shift, length = shifts[ray], lengths[ray]
        for i in range(start.size):
            here = start[i]
            label = padded[here]
            count = 1
            while count < shift.size and padded[here + shift[count]] == label:
                count += 1
            distances[ray, i] = (count - 0.5) * length
    return distances
