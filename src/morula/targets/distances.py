"""Distances and offsets measured inside and around every instance at once."""

from typing import no_type_check

import edt
import fastremap
import numpy as np
from jaxtyping import Float32
from numba import njit

from morula.types import Labels, Map, Scalar, Spacing


def axis_directions(ndim: int) -> tuple[tuple[float, ...], ...]:
    """The unit vectors of the image axes, ``(z, y, x)``: what `centroid_offsets` measures along."""
    return tuple(tuple(float(i == j) for j in range(ndim)) for i in range(ndim))


def inner_distance(labels: Labels, spacing: Spacing) -> Scalar:
    """Distance from every pixel of an instance to the nearest pixel outside that instance.

    Measured from pixel centre to pixel centre in the unit of `spacing`: the outermost pixels of an
    instance hold one pixel step. The image's edge is not an outline: an instance cut by it goes on.

    Args:
        labels: ``(*spatial)``; 0 and -1 are outside.
        spacing: Pixel size per axis.

    Returns:
        ``(*spatial)``; 0 outside.

    Examples:
        >>> inner_distance(np.array([[0, 1, 1, 1, 2, 0]], np.int32), (1.0, 1.0))
        array([[0., 1., 2., 1., 1., 0.]], dtype=float32)
    """
    distance = edt.edt(np.maximum(labels, 0), anisotropy=spacing)
    # An instance that fills the image is infinitely deep; nothing in the image is deeper than its diagonal.
    diagonal = float(np.linalg.norm(np.multiply(labels.shape, spacing)))
    return np.minimum(distance, np.float32(diagonal), out=distance)


def signed_distance(labels: Labels, spacing: Spacing, reach_px: float = 8.0) -> Scalar:
    """Height above the outline: 1 at each instance's centre, 0 on its outline, -1 far outside.

    Inside, the distance to the outline is divided by the instance's largest, so that small and large
    instances look alike; outside it is divided by `reach_px` and cut at -1. The outline runs half a
    pixel from the centres of the pixels on both its sides: those hold a small positive and a small
    negative number. Where two instances touch, both fall to that small positive number.

    Args:
        labels: ``(*spatial)``; 0 and -1 are outside.
        spacing: Pixel size per axis.
        reach_px: Distance outside at which the map reaches -1, in pixels of the finest axis.

    Returns:
        ``(*spatial)`` in [-1, 1].

    Examples:
        >>> signed_distance(np.array([[0, 0, 1, 1, 1, 0]], np.int32), (1.0, 1.0), reach_px=2.0)
        array([[-0.75      , -0.25      ,  0.33333334,  1.        ,  0.33333334,
                -0.25      ]], dtype=float32)
    """
    ids = sequential(labels)
    half = 0.5 * min(spacing)
    # Background as one more label: a single transform measures both sides of every outline.
    outside = int(ids.max(initial=0)) + 1
    distance = edt.edt(np.where(ids > 0, ids, outside), anisotropy=spacing)
    peaks = largest_per_label(ids, distance)
    return _sign(ids.ravel(), distance.ravel(), peaks, half, reach_px * min(spacing)).reshape(labels.shape)


def centroid_offsets(labels: Labels) -> Map:
    """Signed offset from the instance's centroid, from -1 to 1 per instance and axis.

    The horizontal and vertical maps of HoVer-Net in any dimension (Graham et al. 2019,
    https://arxiv.org/abs/1812.06499, section 3.1): each side of the centroid is divided by its own
    largest offset, so the first pixel of an instance along an axis holds -1 and the last holds 1.

    Args:
        labels: ``(*spatial)``; 0 and -1 are outside.

    Returns:
        ``(ndim, *spatial)``, one channel per axis in axis order; 0 outside.

    Examples:
        >>> centroid_offsets(np.array([[0, 1, 1, 1, 2, 2]], np.int32))[1]
        array([[ 0., -1.,  0.,  1., -1.,  1.]], dtype=float32)
    """
    ids = sequential(labels)
    # One kernel for both: 2D is a volume of one plane, whose offsets along z are all 0.
    volume = ids.reshape((1,) * (3 - ids.ndim) + ids.shape)
    offsets = _offsets(volume, int(ids.max(initial=0)))
    return offsets[3 - ids.ndim :].reshape(ids.ndim, *ids.shape)


def two_nearest_distances(
    labels: Labels, radius_px: int, spacing: Spacing | None = None
) -> tuple[Float32[np.ndarray, "*spatial"], Float32[np.ndarray, "*spatial"]]:
    """Distance to the nearest and to the second-nearest instance, exact up to a radius.

    Separable: one pass per axis keeps the two nearest *distinct* instances of every pixel. Two are
    enough, because a third one of a line is farther than both everywhere on the lines that follow.

    Args:
        labels: ``(*spatial)``; 0 and -1 are no instance.
        radius_px: Distances above this are reported as infinite, in pixels of the finest axis.
        spacing: Pixel size per axis; None for 1 everywhere.

    Returns:
        d1 and d2 ``(*spatial)`` in the unit of `spacing`; d1 is 0 inside instances.

    Examples:
        >>> d1, d2 = two_nearest_distances(np.array([[1, 0, 0, 2]], np.int32), 2)
        >>> d1, d2
        (array([[0., 1., 1., 0.]], dtype=float32), array([[inf,  2.,  2., inf]], dtype=float32))
    """
    spacing = spacing or (1.0,) * labels.ndim
    radius = radius_px * min(spacing) * (1 + 1e-6)
    ids = np.maximum(labels, 0)
    first, second = ids, np.zeros_like(ids)
    d1 = np.where(ids > 0, np.float32(0), np.float32(np.inf))
    d2 = np.full(labels.shape, np.inf, np.float32)
    for axis, step in enumerate(spacing):
        lines = (int(np.prod(labels.shape[:axis])), labels.shape[axis], -1)
        found = (array.reshape(lines) for array in (first, d1, second, d2))
        first, d1, second, d2 = _nearest_along(*found, step, radius)
    d1, d2 = d1.reshape(labels.shape), d2.reshape(labels.shape)
    return np.sqrt(d1), np.sqrt(d2)


def sequential(labels: Labels) -> Labels:
    """Labels whose ids are small enough to index a table: themselves, or renumbered; outside is 0."""
    ids = np.maximum(labels, 0)
    if ids.max(initial=0) > ids.size:
        ids = fastremap.renumber(ids, preserve_zero=True)[0].astype(np.int32)
    return ids


def largest_per_label(ids: Labels, values: Scalar) -> Float32[np.ndarray, " ids"]:
    """Largest value on the pixels of each id, indexed by id; `ids` as from `sequential`."""
    return _largest(ids.ravel(), values.ravel(), int(ids.max(initial=0)))


@njit(cache=True, nogil=True)
@no_type_check
def _largest(ids, values, highest):
    peaks = np.zeros(highest + 1, np.float32)
    for i in range(ids.size):
        peaks[ids[i]] = max(peaks[ids[i]], values[i])
    return peaks


@njit(cache=True, nogil=True)
@no_type_check
def _sign(ids, distance, peaks, half, reach):
    signed = np.empty(ids.size, np.float32)
    for i in range(ids.size):
        height = distance[i] - half
        if ids[i] == 0:
            signed[i] = -min(height / reach, 1.0)
        elif np.isinf(peaks[ids[i]]):
            signed[i] = 1.0  # The instance fills the image.
        else:
            signed[i] = height / (peaks[ids[i]] - half)
    return signed


@njit(cache=True, nogil=True)
@no_type_check
def _offsets(ids, highest):  # noqa: C901 (one pass each for sums, extents and writing)
    count = np.zeros(highest + 1, np.int64)
    centre = np.zeros((3, highest + 1), np.float64)
    low = np.full((3, highest + 1), 1 << 30, np.int64)
    high = np.full((3, highest + 1), -1, np.int64)
    depth, height, width = ids.shape
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                label = ids[z, y, x]
                if label == 0:
                    continue
                count[label] += 1
                centre[0, label] += z
                centre[1, label] += y
                centre[2, label] += x
                low[0, label] = min(low[0, label], z)
                high[0, label] = max(high[0, label], z)
                low[1, label] = min(low[1, label], y)
                high[1, label] = max(high[1, label], y)
                low[2, label] = min(low[2, label], x)
                high[2, label] = max(high[2, label], x)
    before = np.zeros((3, highest + 1), np.float64)
    after = np.zeros((3, highest + 1), np.float64)
    for axis in range(3):
        for label in range(1, highest + 1):
            if count[label] == 0:
                continue
            centre[axis, label] /= count[label]
            below = centre[axis, label] - low[axis, label]
            above = high[axis, label] - centre[axis, label]
            before[axis, label] = 1 / below if below > 1e-9 else 0.0
            after[axis, label] = 1 / above if above > 1e-9 else 0.0
    offsets = np.zeros((3, depth, height, width), np.float32)
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                label = ids[z, y, x]
                if label == 0:
                    continue
                delta = z - centre[0, label]
                offsets[0, z, y, x] = delta * (before[0, label] if delta < 0 else after[0, label])
                delta = y - centre[1, label]
                offsets[1, z, y, x] = delta * (before[1, label] if delta < 0 else after[1, label])
                delta = x - centre[2, label]
                offsets[2, z, y, x] = delta * (before[2, label] if delta < 0 else after[2, label])
    return offsets


@njit(cache=True, nogil=True)
@no_type_check
def _nearest_along(first, d1, second, d2, step, radius):  # noqa: C901 (a search with early exit)
    """One separable pass: squared distances and ids of the two nearest distinct labels, on axis 1 of 3."""
    before, length, after = first.shape
    limit = np.float32(radius * radius)
    reach = min(int(radius / step), length - 1)
    squares = ((np.arange(reach + 1) * step) ** 2).astype(np.float32)
    out_first, out_d1 = np.zeros_like(first), np.full_like(d1, np.inf)
    out_second, out_d2 = np.zeros_like(first), np.full_like(d2, np.inf)
    for b in range(before):
        for i in range(length):
            for a in range(after):
                l1, v1, l2, v2 = first[b, i, a], d1[b, i, a], second[b, i, a], d2[b, i, a]
                for shift in range(1, reach + 1):
                    square = squares[shift]
                    if square >= v2:
                        break
                    for j in (i - shift, i + shift):
                        if j < 0 or j >= length:
                            continue
                        for rank in range(2):
                            label = first[b, j, a] if rank == 0 else second[b, j, a]
                            value = (d1[b, j, a] if rank == 0 else d2[b, j, a]) + square
                            if label == 0 or value >= v2 or value > limit:
                                break
                            if label == l1:
                                v1 = min(v1, value)
                            elif value < v1:
                                l2, v2, l1, v1 = l1, v1, label, value
                            else:
                                l2, v2 = label, value
                out_first[b, i, a], out_d1[b, i, a] = l1, v1
                out_second[b, i, a], out_d2[b, i, a] = l2, v2
    return out_first, out_d1, out_second, out_d2
