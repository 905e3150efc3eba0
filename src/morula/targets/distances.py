"""Distances and offsets measured inside and around every instance at once."""

from typing import no_type_check

import edt
import numpy as np
from jaxtyping import Float32
from numba import njit

from morula.labels.renumber import low_ids
from morula.labels.runs import run_ends, run_room
from morula.labels.volume import as_volume
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
    distance = edt.edt(np.maximum(labels, 0) if labels.min(initial=0) < 0 else labels, anisotropy=spacing)
    if _is_endless(distance):
        # Nothing in the image is deeper than its diagonal.
        distance[:] = np.linalg.norm(np.multiply(labels.shape, spacing))
    return distance


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
    labels = low_ids(labels)[0]
    # Background as one more label: a single transform measures both sides of every outline.
    outside = int(labels.max(initial=0)) + 1
    sides = np.empty(labels.shape, np.int32)
    _with_background(labels.reshape(-1), outside, sides.reshape(-1))
    distance = edt.edt(sides, anisotropy=spacing)
    if _is_endless(distance):
        return np.full(labels.shape, -1 if sides.flat[0] == outside else 1, np.float32)
    half = 0.5 * min(spacing)
    heights = np.maximum(largest_per_label(sides, distance), 2 * half) - half
    # In float64, so that a height divided by itself comes out as 1.
    scale = np.append(1 / heights[:outside].astype(np.float64), -1 / (reach_px * min(spacing)))
    _scale(sides.reshape(-1), distance.reshape(-1), np.float32(half), scale)
    return distance


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
    ids = low_ids(labels)[0]
    volume = as_volume(ids)
    centres, below, above = _extremes(volume, int(ids.max(initial=0)))
    reach = np.stack([centres - below, above - centres])
    before, after = np.divide(1, reach, out=np.zeros_like(reach), where=reach > 1e-9)
    offsets = np.zeros((ids.ndim, *ids.shape), np.float32)
    _fill_offsets(volume, centres, before, after, offsets.reshape(ids.ndim, *volume.shape))
    return offsets


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
    # Finite, so that one comparison tells both what is too far and what is farther than found before.
    far = np.nextafter(np.float32(radius**2), np.float32(np.inf))
    lines = (labels.shape[0], labels.size // max(labels.shape[0], 1))
    ids, squares = np.zeros((2, *lines), np.int32), np.full((2, *lines), far, np.float32)
    _nearest_on_lines(np.maximum(labels, 0).reshape(lines), spacing[0], ids, squares)
    for axis, step in enumerate(spacing[1:], 1):
        before, length = int(np.prod(labels.shape[:axis])), labels.shape[axis]
        lines = (2, before, length, labels.size // max(before * length, 1))
        former = ids.reshape(lines), squares.reshape(lines)
        ids, squares = np.empty(lines, np.int32), np.empty(lines, np.float32)
        _nearest_along(*former, step, far, ids, squares)
    d1, d2 = squares
    for squares in (d1, d2):
        _take_roots(squares.reshape(-1), far)
    return d1.reshape(labels.shape), d2.reshape(labels.shape)


def sequential(labels: Labels) -> Labels:
    """Labels whose ids are small enough to index a table: themselves, or renumbered; outside is 0."""
    return np.maximum(low_ids(labels)[0], 0)


def largest_per_label(ids: Labels, values: Scalar) -> Float32[np.ndarray, " ids"]:
    """Largest value on the pixels of each id, indexed by id; `ids` as from `sequential`."""
    return _largest(ids.ravel(), values.ravel(), int(ids.max(initial=0)))


def _is_endless(distance: Scalar) -> bool:
    """Whether no outline lies in the image: one instance, or background, fills it."""
    return distance.size > 0 and bool(np.isinf(distance.flat[0]))


@njit(cache=True, nogil=True)
@no_type_check
def _largest(ids, values, highest):
    peaks = np.zeros(highest + 1, np.float32)
    for i in range(ids.size):
        # Rarely true: written for every pixel, the table would have to be waited for.
        if values[i] > peaks[ids[i]]:
            peaks[ids[i]] = values[i]
    return peaks


@njit(cache=True, nogil=True)
@no_type_check
def _with_background(labels, outside, sides):
    for i in range(labels.size):
        sides[i] = labels[i] if labels[i] > 0 else outside


@njit(cache=True, nogil=True)
@no_type_check
def _scale(sides, distance, half, scale):
    for i in range(sides.size):
        distance[i] = max((distance[i] - half) * scale[sides[i]], -1.0)


@njit(cache=True, nogil=True)
@no_type_check
def _extremes(ids, highest):
    """Centroid, first and last coordinate of every id, each ``(highest + 1, 3)``, in one pass over runs."""
    count = np.zeros(highest + 1, np.int64)
    centres = np.zeros((highest + 1, 3), np.float64)
    low = np.full((highest + 1, 3), 1 << 30, np.int64)
    high = np.full((highest + 1, 3), -1, np.int64)
    depth, height, width = ids.shape
    room = run_room(width)
    for z in range(depth):
        for y in range(height):
            row, start = ids[z, y], 0
            for end in run_ends(row, room):
                label = row[start]
                if label > 0:
                    pixels = end - start
                    count[label] += pixels
                    for axis, first, last in ((0, z, z), (1, y, y), (2, start, end - 1)):
                        centres[label, axis] += 0.5 * pixels * (first + last)
                        low[label, axis] = min(low[label, axis], first)
                        high[label, axis] = max(high[label, axis], last)
                start = end
    for label in range(1, highest + 1):
        centres[label] /= max(count[label], 1)
    return centres, low, high


@njit(cache=True, nogil=True)
@no_type_check
def _fill_offsets(ids, centres, before, after, offsets):
    """Along the last axes of ``(z, y, x)``; `before` and `after` scale each side of the centroid."""
    ndim, depth, height, width = offsets.shape
    room = run_room(width)
    for z in range(depth):
        for y in range(height):
            row, start = ids[z, y], 0
            for end in run_ends(row, room):
                label = row[start]
                if label > 0:
                    for axis in range(3 - ndim, 2):
                        delta = (z, y)[axis] - centres[label, axis]
                        side = before[label, axis] if delta < 0 else after[label, axis]
                        offsets[axis - 3 + ndim, z, y, start:end] = delta * side
                    centre, target = centres[label, 2], offsets[ndim - 1, z, y]
                    middle = min(max(start, int(np.ceil(centre))), end)
                    # Read once: the compiler cannot know that the target is no part of the table.
                    left, right = before[label, 2], after[label, 2]
                    for x in range(start, middle):
                        target[x] = (x - centre) * left
                    for x in range(middle, end):
                        target[x] = (x - centre) * right
                start = end


@njit(cache=True, nogil=True)
@no_type_check
def _take_roots(squares, far):
    for i in range(squares.size):
        squares[i] = np.sqrt(squares[i]) if squares[i] < far else np.float32(np.inf)


@njit(cache=True, nogil=True)
@no_type_check
def _nearest_on_lines(labels, step, ids, squares):
    """The first separable pass: ids and squared distances of the two nearest distinct labels on axis 0 of 2.

    What was met last on the way down, then on the way up, is nearest.
    """
    length, after = labels.shape
    (first, second), (d1, d2) = ids, squares
    for way in (1, -1):
        # Of every line: the two labels met last, and where.
        met = np.zeros((2, after), np.int32)
        where = np.zeros((2, after), np.int64)
        for line in range(length):
            i = line if way > 0 else length - 1 - line
            for a in range(after):
                label = labels[i, a]
                if label > 0:
                    if label != met[0, a]:
                        met[1, a], where[1, a] = met[0, a], where[0, a]
                        met[0, a] = label
                    where[0, a] = i
                for rank in range(2):
                    value = np.float32(((where[rank, a] - i) * step) ** 2)
                    if met[rank, a] == 0 or value >= d2[i, a]:
                        break
                    if met[rank, a] == first[i, a]:
                        d1[i, a] = min(d1[i, a], value)
                    elif value < d1[i, a]:
                        second[i, a], d2[i, a] = first[i, a], d1[i, a]
                        first[i, a], d1[i, a] = met[rank, a], value
                    else:
                        second[i, a], d2[i, a] = met[rank, a], value


@njit(cache=True, nogil=True)
@no_type_check
def _nearest_along(former_ids, former_squares, step, far, ids, squares):
    """One more separable pass, on axis 1 of 3; lines are copied, so that their pixels lie side by side."""
    (first, second), (d1, d2) = former_ids, former_squares
    before, length, after = first.shape
    reach = min(int(np.sqrt(far) / step), length - 1)
    steps = ((np.arange(reach + 1) * step) ** 2).astype(np.float32)
    for b in range(before):
        for a in range(after):
            line = first[b, :, a].copy(), d1[b, :, a].copy(), second[b, :, a].copy(), d2[b, :, a].copy()
            _search(*line, steps, ids[:, b, :, a], squares[:, b, :, a])


@njit(cache=True, nogil=True)
@no_type_check
def _search(first, d1, second, d2, squares, ids, distances):
    """Looks along one line from every pixel, away from it until nothing nearer can follow."""
    for i in range(first.size):
        l1, v1, l2, v2 = first[i], d1[i], second[i], d2[i]
        for shift in range(1, squares.size):
            square = squares[shift]
            if square >= v2:
                break
            for j in (i - shift, i + shift):
                if j < 0 or j >= first.size:
                    continue
                for label, nearest in ((first[j], d1[j]), (second[j], d2[j])):
                    value = nearest + square
                    if value >= v2:
                        break
                    if label == l1:
                        v1 = min(v1, value)
                    elif value < v1:
                        l2, v2, l1, v1 = l1, v1, label, value
                    else:
                        l2, v2 = label, value
        ids[0, i], ids[1, i], distances[0, i], distances[1, i] = l1, l2, v1, v2
