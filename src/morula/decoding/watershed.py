"""Seeded watershed with a bucket queue."""

from typing import no_type_check

import numpy as np
from numba import njit

from morula.labels.volume import as_volume, check_indexable, check_same_shape
from morula.types import Labels, Mask, Scalar


def watershed(elevation: Scalar, markers: Labels, mask: Mask, levels: int = 4096) -> Labels:
    """Floods `elevation` from the markers, lowest pixels first, inside `mask`.

    Meyer's algorithm (1991) as scikit-image has it: the lowest pixel on the front goes next, of equally low
    ones the one that was reached first; neighbours share a face. Its heap is replaced by one
    first-in-first-out queue per level, which is exact for the quantised elevation. Deterministic.

    Args:
        elevation: Landscape ``(*spatial)``, any unit; NaN floods last.
        markers: Seed ids ``(*spatial)``; 0 is free, -1 counts as 0; seeds outside `mask` are dropped.
        mask: Pixels that may be labelled ``(*spatial)``.
        levels: Number of equal steps between the lowest and highest elevation in `mask`, 2 to 65536.

    Returns:
        The seed's id of every pixel of `mask` that a path inside it joins to a seed, else 0.

    Raises:
        ValueError: The shapes differ, there are 2^31 pixels or more, or `levels` is out of range.

    Example:
        >>> elevation = np.array([0, 1, 3, 2, 0, 0], np.float32)
        >>> markers = np.array([1, 0, 0, 0, 2, 0], np.int32)
        >>> watershed(elevation, markers, np.array([True] * 5 + [False])).tolist()
        [1, 1, 1, 2, 2, 0]
    """
    check_same_shape(elevation=elevation, markers=markers, mask=mask)
    check_indexable(mask.shape)
    if not 2 <= levels <= 65536:
        msg = f"levels {levels}; expected 2 to 65536"
        raise ValueError(msg)
    if mask.size == 0:
        return np.zeros(mask.shape, np.int32)
    volume = as_volume(mask)
    labels = with_rim(as_volume(markers), volume)
    level = np.zeros(labels.shape, np.uint16)
    _quantise(as_volume(elevation), volume, levels, level)
    room = np.count_nonzero(mask)
    _flood(level.reshape(-1), labels.reshape(-1), labels.shape, levels, *np.empty((2, room), np.int32))
    return without_rim(labels).reshape(mask.shape)


def without_rim(labels: np.ndarray) -> np.ndarray:
    """The inside of what `with_rim` made, ``(z, y, x)``, 0 where it was blocked or stayed free."""
    return np.maximum(labels[1:-1, 1:-1, 1:-1] if len(labels) > 1 else labels[:, 1:-1, 1:-1], 0)


def with_rim(markers: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Markers inside `mask`, 0 where free, -1 outside and on a rim: a front asks for nothing else.

    Args:
        markers: Seed ids ``(z, y, x)``; -1 counts as 0.
        mask: Pixels that may be labelled ``(z, y, x)``.
    """
    labels = np.full(rimmed(markers.shape), -1, np.int32)
    _seed(markers, mask, labels)
    return labels


def rimmed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape ``(z, y, x)`` with a rim of one pixel: along y and x, and in 3D along z."""
    depth, height, width = shape
    return depth + 2 * (depth > 1), height + 2, width + 2


@njit(cache=True, nogil=True)
@no_type_check
def _quantise(elevation, mask, levels, level):
    """Elevation in `mask`, 0 to levels - 1, into `level` with a rim."""
    source, inside = elevation.ravel(), mask.ravel()
    low, high = np.float32(np.inf), np.float32(-np.inf)
    for i in range(source.size):
        if inside[i] and np.isfinite(source[i]):
            low = min(low, source[i])
            high = max(high, source[i])
    depth, height, width = elevation.shape
    rim = (level.shape[0] - depth) // 2
    scale = (levels - 1) / (np.float64(high) - np.float64(low)) if high > low else 0.0
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                here = elevation[z, y, x]
                # Not a number fails every comparison: it goes on top.
                if mask[z, y, x] and not here <= low:
                    step = levels - 1
                    if here < high:
                        step = int((np.float64(here) - low) * scale + 0.5)
                    level[z + rim, y + 1, x + 1] = step


@njit(cache=True, nogil=True)
@no_type_check
def _seed(markers, mask, labels):
    depth, height, width = markers.shape
    rim = (labels.shape[0] - depth) // 2
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                if mask[z, y, x]:
                    labels[z + rim, y + 1, x + 1] = max(markers[z, y, x], 0)


@njit(cache=True, nogil=True)
@no_type_check
def _flood(level, labels, shape, levels, waiting, late):  # noqa: C901 - a call for each queued pixel costs a third
    """Labels every free pixel in place; the first two are flat, with the rim; the last two hold the front."""
    row, plane = shape[2], shape[1] * shape[2]
    steps = np.array([-plane, -row, -1, 1, row, plane])
    if shape[0] == 1:
        steps = steps[1:5].copy()
    # Pixels wait in one array with room for all pixels of each level, from the lowest level on: unlike in
    # linked lists, those that follow each other lie side by side.
    begin = np.zeros(levels + 1, np.int64)
    for pixel in range(labels.size):
        if labels[pixel] >= 0:
            begin[level[pixel] + 1] += 1
    begin = np.cumsum(begin)
    end = begin[:-1].copy()
    for pixel in range(labels.size):
        if labels[pixel] > 0:
            for k in range(steps.size):
                # Seeds without a free neighbour have nothing to give.
                if labels[pixel + steps[k]] == 0:
                    waiting[end[level[pixel]]] = pixel
                    end[level[pixel]] += 1
                    break
    for now in range(levels):
        # The flood never falls below the level it has reached: what is as low joins the end of this level.
        taken, latest, joined = begin[now], 0, 0
        while taken < end[now] or latest < joined:
            if taken < end[now]:
                pixel = waiting[taken]
                taken += 1
            else:
                pixel = late[latest]
                latest += 1
            label = labels[pixel]
            for k in range(steps.size):
                other = pixel + steps[k]
                if labels[other] == 0:
                    labels[other] = label
                    at = np.int64(level[other])
                    if at > now:
                        waiting[end[at]] = other
                        end[at] += 1
                    else:
                        late[joined] = other
                        joined += 1
