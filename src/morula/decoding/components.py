"""Growth of components to the edge of a mask."""

from typing import no_type_check

import numpy as np
from numba import njit

from morula.decoding.watershed import with_rim, without_rim
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
    if mask.size == 0:
        return np.maximum(labels, 0)
    diagonal = float(np.linalg.norm(labels.shape))
    grown = with_rim(as_volume(labels), as_volume(mask | (labels > 0)))
    limit = min(float(max_distance_px), diagonal)
    _grow(grown.reshape(-1), grown.shape, limit, *np.full((2, grown.size), -1, np.int32))
    return without_rim(grown).reshape(mask.shape)


@njit(cache=True, nogil=True)
@no_type_check
def _grow(labels, shape, limit, follower, source):  # noqa: C901 - one loop; calls per pixel would halve the speed
    """Labels what can be reached of the free pixels, in place.

    `labels` is flat, with the rim; the last two hold -1 for each of its pixels.
    """
    row, plane = shape[2], shape[1] * shape[2]
    steps = np.array([-plane, -row, -1, 1, row, plane])
    if shape[0] == 1:
        steps = steps[1:5].copy()
    buckets = int(limit * _BUCKETS_PER_PIXEL) + 2
    first = np.full(buckets, -1, np.int64)
    last = np.full(buckets, -1, np.int64)
    for pixel in range(labels.size):
        if labels[pixel] > 0:
            source[pixel] = pixel
            for k in range(steps.size):
                # Pixels without a free neighbour have nothing to give.
                if labels[pixel + steps[k]] == 0:
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
            seed = source[pixel]
            labels[pixel] = labels[seed]
            seed_x, seed_y, seed_z = seed % row, seed % plane // row, seed // plane
            for k in range(steps.size):
                other = pixel + steps[k]
                if labels[other] != 0:
                    continue
                x, y, z = other % row, other % plane // row, other // plane
                squared = (x - seed_x) ** 2 + (y - seed_y) ** 2 + (z - seed_z) ** 2
                if squared > limit * limit:
                    continue
                rival = source[other]
                if rival >= 0:
                    # In the queue already: keep the nearer of the two sources.
                    dx, dy, dz = x - rival % row, y - rival % plane // row, z - rival // plane
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
