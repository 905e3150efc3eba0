"""Growth of components to the edge of a mask."""

from typing import no_type_check

import numpy as np
from numba import njit

from morula.labels.volume import as_volume, check_indexable, check_same_shape
from morula.types import Labels, Mask

# Buckets of the queue per pixel of distance: pixels are taken in order of distance to 1/4 pixel.
_BUCKETS_PER_PIXEL = 4


def grow(labels: Labels, mask: Mask, max_distance_px: float = np.inf) -> Labels:
    """Grows every object over the free pixels of `mask`, each pixel to the nearest object.

    Objects spread across faces and inside `mask` only, so they never jump a gap; the distance of
    a pixel is the straight line to the object's pixel it was reached from (Danielsson's vector
    propagation 1980, in order of distance). Ties go to the object that comes first in C order.

    Args:
        labels: Objects to grow ``(*spatial)``; they stay as they are, inside `mask` or not; -1 counts as 0.
        mask: Pixels that may be added ``(*spatial)``.
        max_distance_px: Largest distance grown, in pixels.

    Returns:
        The grown objects ``(*spatial)``, with the same ids.

    Raises:
        ValueError: The shapes differ, or there are 2^31 pixels or more.

    Example:
        >>> labels = np.array([1, 0, 0, 0, 0, 2], np.int32)
        >>> grow(labels, np.ones(6, bool), 1.0).tolist()
        [1, 1, 0, 0, 2, 2]
    """
    check_same_shape(labels=labels, mask=mask)
    check_indexable(mask.shape)
    diagonal = float(np.linalg.norm(labels.shape))
    limit = min(float(max_distance_px), diagonal)
    grown = np.maximum(labels, 0)
    _grow(as_volume(grown).reshape(-1), as_volume(mask), limit)
    return grown


@njit(cache=True, nogil=True)
@no_type_check
def _grow(labels, mask, limit):  # noqa: C901, PLR0915 - one loop; calls per pixel would halve the speed
    """Grows `labels` (flat) in place."""
    depth, height, width = mask.shape
    plane, size = height * width, mask.size
    mask = mask.ravel()
    buckets = int(limit * _BUCKETS_PER_PIXEL) + 2
    first = np.full(buckets, -1, np.int64)
    last = np.full(buckets, -1, np.int64)
    follower = np.full(size, -1, np.int32)
    source = np.full(size, -1, np.int32)
    done = np.zeros(size, np.bool_)
    steps = np.array([-plane, -width, -1, 1, width, plane])
    begin, end = (0, 6) if depth > 1 else (1, 5)
    for pixel in range(size):
        if labels[pixel] > 0:
            source[pixel] = pixel
            done[pixel] = True
            x = pixel % width
            y = pixel // width % height
            for k in range(begin, end):
                other = pixel + steps[k]
                if other < 0 or other >= size or labels[other] != 0 or not mask[other]:
                    continue
                if (k == 2 and x == 0) or (k == 3 and x == width - 1):
                    continue
                if (k == 1 and y == 0) or (k == 4 and y == height - 1):
                    continue
                if last[0] < 0:
                    first[0] = pixel
                else:
                    follower[last[0]] = pixel
                last[0] = pixel
                break
    for now in range(buckets):
        while first[now] >= 0:
            pixel = first[now]
            first[now] = follower[pixel]
            if first[now] < 0:
                last[now] = -1
            done[pixel] = True
            seed = source[pixel]
            label = labels[seed]
            labels[pixel] = label
            x = pixel % width
            y = pixel // width % height
            seed_x = seed % width
            seed_y = seed // width % height
            seed_z = seed // plane
            for k in range(begin, end):
                other = pixel + steps[k]
                if other < 0 or other >= size or done[other] or not mask[other]:
                    continue
                if (k == 2 and x == 0) or (k == 3 and x == width - 1):
                    continue
                if (k == 1 and y == 0) or (k == 4 and y == height - 1):
                    continue
                dx = other % width - seed_x
                dy = other // width % height - seed_y
                dz = other // plane - seed_z
                squared = dx * dx + dy * dy + dz * dz
                if squared > limit * limit:
                    continue
                rival = source[other]
                if rival >= 0:
                    # In the queue already: keep the nearer of the two sources.
                    dx = other % width - rival % width
                    dy = other // width % height - rival // width % height
                    dz = other // plane - rival // plane
                    if squared < dx * dx + dy * dy + dz * dz:
                        source[other] = seed
                    continue
                source[other] = seed
                at = max(now, int(np.sqrt(squared) * _BUCKETS_PER_PIXEL))
                if last[at] < 0:
                    first[at] = other
                else:
                    follower[last[at]] = other
                last[at] = other
