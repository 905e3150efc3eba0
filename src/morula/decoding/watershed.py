"""Seeded watershed with a bucket queue."""

from typing import no_type_check

import numpy as np
from numba import njit

from morula.labels.volume import as_volume, check_same_shape
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
        ValueError: The shapes differ, or `levels` is out of range.

    Example:
        >>> elevation = np.array([0, 1, 3, 2, 0, 0], np.float32)
        >>> markers = np.array([1, 0, 0, 0, 2, 0], np.int32)
        >>> watershed(elevation, markers, np.array([True] * 5 + [False])).tolist()
        [1, 1, 1, 2, 2, 0]
    """
    check_same_shape(elevation=elevation, markers=markers, mask=mask)
    if not 2 <= levels <= 65536:
        msg = f"levels {levels}; expected 2 to 65536"
        raise ValueError(msg)
    volume = as_volume(mask)
    level = _quantise(as_volume(elevation), volume, levels)
    labels = _blocked_markers(as_volume(markers), volume)
    _flood(level, labels, levels)
    return labels.reshape(mask.shape)


@njit(cache=True, nogil=True)
@no_type_check
def _quantise(elevation, mask, levels):
    """Elevation in `mask` as uint16, 0 to levels - 1; elsewhere 0."""
    source, inside = elevation.ravel(), mask.ravel()
    low, high = np.float32(np.inf), np.float32(-np.inf)
    for i in range(source.size):
        if inside[i] and np.isfinite(source[i]):
            low = min(low, source[i])
            high = max(high, source[i])
    level = np.zeros(elevation.shape, np.uint16)
    target = level.ravel()
    scale = (levels - 1) / (np.float64(high) - np.float64(low)) if high > low else 0.0
    for i in range(source.size):
        if inside[i]:
            if source[i] <= low:
                target[i] = 0
            elif source[i] < high:
                target[i] = np.uint16((np.float64(source[i]) - low) * scale + 0.5)
            elif source[i] > high or high > low or np.isnan(source[i]):
                target[i] = levels - 1
    return level


@njit(cache=True, nogil=True)
@no_type_check
def _blocked_markers(markers, mask):
    """Markers inside `mask`, 0 where free, -1 outside: the flood then asks one array only."""
    labels = np.empty(markers.shape, np.int32)
    source, inside, target = markers.ravel(), mask.ravel(), labels.ravel()
    for i in range(source.size):
        target[i] = max(source[i], 0) if inside[i] else -1
    return labels


@njit(cache=True, nogil=True)
@no_type_check
def _flood(level, labels, levels):  # noqa: C901 - one loop; calls per pixel would halve the speed
    """Labels every free pixel in place; turns -1 into 0."""
    depth, height, width = labels.shape
    plane, size = height * width, labels.size
    level, labels = level.ravel(), labels.ravel()
    # One linked list per level: first and last pixel, and each pixel's follower.
    first = np.full(levels, -1, np.int64)
    last = np.full(levels, -1, np.int64)
    follower = np.full(size, -1, np.int32)
    steps = np.array([-plane, -width, -1, 1, width, plane])
    begin, end = (0, 6) if depth > 1 else (1, 5)
    for pixel in range(size):
        if labels[pixel] > 0:
            x = pixel % width
            y = pixel // width % height
            for k in range(begin, end):
                other = pixel + steps[k]
                if other < 0 or other >= size:
                    continue
                if (k == 2 and x == 0) or (k == 3 and x == width - 1):
                    continue
                if (k == 1 and y == 0) or (k == 4 and y == height - 1):
                    continue
                # Seeds without a free neighbour have nothing to give.
                if labels[other] == 0:
                    at = np.int64(level[pixel])
                    if last[at] < 0:
                        first[at] = pixel
                    else:
                        follower[last[at]] = pixel
                    last[at] = pixel
                    break
    for now in range(levels):
        while first[now] >= 0:
            pixel = first[now]
            first[now] = follower[pixel]
            if first[now] < 0:
                last[now] = -1
            label = labels[pixel]
            x = pixel % width
            y = pixel // width % height
            for k in range(begin, end):
                other = pixel + steps[k]
                if other < 0 or other >= size or labels[other] != 0:
                    continue
                if (k == 2 and x == 0) or (k == 3 and x == width - 1):
                    continue
                if (k == 1 and y == 0) or (k == 4 and y == height - 1):
                    continue
                labels[other] = label
                # The flood never falls below the level it has reached.
                at = max(np.int64(level[other]), now)
                if last[at] < 0:
                    first[at] = other
                else:
                    follower[last[at]] = other
                last[at] = other
    for pixel in range(size):
        labels[pixel] = max(labels[pixel], 0)
