"""Size and bounding box of every object."""

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Int32, Int64
from numba import njit

from morula.labels.renumber import low_ids
from morula.labels.runs import run_ends, run_room
from morula.labels.volume import as_volume
from morula.types import Labels


@dataclass(frozen=True)
class Extents:
    """One row per object, in ascending order of ids."""

    ids: Int32[np.ndarray, "*_"]
    """Ids ``(n,)``, all above 0."""

    sizes: Int64[np.ndarray, "*_"]
    """Pixels of each object ``(n,)``."""

    low: Int64[np.ndarray, "_ *_"]
    """First pixel of the bounding box ``(n, ndim)``."""

    high: Int64[np.ndarray, "_ *_"]
    """One past the last pixel of the bounding box ``(n, ndim)``."""

    def window(self, row: int, margin: int = 0, shape: tuple[int, ...] | None = None) -> tuple[slice, ...]:
        """Slices of one object's bounding box.

        Args:
            row: Row of the object.
            margin: Pixels added on every side; never below 0.
            shape: Image shape that the window must not leave (slices may end outside an array, so
                it matters only for computing with `stop`).
        """
        low = np.maximum(self.low[row] - margin, 0)
        high = self.high[row] + margin
        if shape is not None:
            high = np.minimum(high, shape)
        return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


def extents(labels: Labels) -> Extents:
    """Size and bounding box of every object, in one pass.

    Args:
        labels: Ids ``(*spatial)``; 0 and -1 are no objects.

    Example:
        >>> rows = extents(np.array([[0, 5, 5], [0, 0, 5]], np.int32))
        >>> rows.ids.tolist(), rows.sizes.tolist(), rows.window(0)
        ([5], [3], (slice(0, 2, None), slice(1, 3, None)))
    """
    new, former = low_ids(labels)
    sizes, low, high = _extents(as_volume(new), former.size)
    present = np.flatnonzero(sizes)
    order = present[np.argsort(former[present], kind="stable")]
    axes = slice(3 - labels.ndim, 3)
    return Extents(former[order], sizes[order], low[order, axes], high[order, axes])


@njit(cache=True, nogil=True)
@no_type_check
def _extents(labels, count):
    depth, height, width = labels.shape
    sizes = np.zeros(count, np.int64)
    low = np.full((count, 3), max(depth, height, width), np.int64)
    high = np.zeros((count, 3), np.int64)
    room = run_room(width)
    for z in range(depth):
        for y in range(height):
            row, start = labels[z, y], 0
            for end in run_ends(row, room):
                label = row[start]
                if label > 0:
                    sizes[label] += end - start
                    low[label, 0] = min(low[label, 0], z)
                    low[label, 1] = min(low[label, 1], y)
                    low[label, 2] = min(low[label, 2], start)
                    high[label, 0] = max(high[label, 0], z + 1)
                    high[label, 1] = max(high[label, 1], y + 1)
                    high[label, 2] = max(high[label, 2], end)
                start = end
    return sizes, low, high
