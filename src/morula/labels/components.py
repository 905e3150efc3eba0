"""Pieces of objects: finding, dropping, filling."""

from typing import no_type_check

import cc3d
import fill_voids
import numpy as np
from numba import njit

from morula.labels.extents import extents
from morula.labels.renumber import compact
from morula.labels.volume import as_volume
from morula.types import Labels, Mask

# What cc3d calls a connectivity, per number of axes: neighbours across faces, edges, corners.
_NEIGHBOURS = {1: (4,), 2: (4, 8), 3: (6, 18, 26)}


def connected_components(labels_or_mask: Labels | Mask, connectivity: int = 1) -> Labels:
    """Numbers the connected pieces: of a mask, or of every object on its own.

    Args:
        labels_or_mask: ``(*spatial)``; two touching objects of `labels` never become one piece;
            -1 counts as background.
        connectivity: 1: pixels that share a face are connected; up to the number of axes: all neighbours.

    Returns:
        Piece ids ``(*spatial)``, 1 to n.

    Raises:
        ValueError: `connectivity` is not between 1 and the number of axes.

    Example:
        >>> connected_components(np.array([[1, 1, 0, 1, 2]], np.int32)).tolist()
        [[1, 1, 0, 2, 3]]
    """
    shape = labels_or_mask.shape
    known = _NEIGHBOURS[len(shape)]
    if not 1 <= connectivity <= len(known):
        msg = f"connectivity {connectivity}; expected 1 to {len(known)} for {len(shape)} axes"
        raise ValueError(msg)
    if labels_or_mask.size == 0:
        return np.zeros(shape, np.int32)
    source = labels_or_mask if len(shape) > 1 else labels_or_mask[None]
    if source.dtype != np.bool_ and source.min() < 0:
        source = np.maximum(source, 0)
    pieces = cc3d.connected_components(
        source,
        connectivity=known[connectivity - 1],
        out_dtype=np.uint32,
        binary_image=source.dtype == np.bool_,
    )
    return np.ascontiguousarray(pieces).view(np.int32).reshape(shape)


def remove_small(labels: Labels, min_size: int) -> Labels:
    """Objects of fewer than `min_size` pixels become background; -1 stays.

    Args:
        labels: Ids ``(*spatial)``.
        min_size: Smallest size that is kept, in pixels.

    Example:
        >>> remove_small(np.array([4, 4, 0, 9, -1], np.int32), 2).tolist()
        [4, 4, 0, 0, -1]
    """
    if min_size <= 1 or labels.size == 0:
        return labels.copy()
    highest = max(int(labels.max()), 0)
    if highest <= 4 * labels.size + 65536:
        return _drop_small(as_volume(labels).reshape(-1), highest, min_size).reshape(labels.shape)
    # Ids so high that a table by id would not fit.
    new, former = compact(labels)
    kept = remove_small(new, min_size)
    return np.where(kept < 0, kept, former[np.maximum(kept, 0)]).astype(np.int32)


def fill_holes(labels: Labels) -> Labels:
    """Fills the background enclosed by one object with its id.

    A hole is background from which no path across faces leaves the object. Other objects in it, and
    -1, stay as they are; where holes are nested, the smaller object fills first.

    Args:
        labels: Ids ``(*spatial)``.

    Example:
        >>> fill_holes(np.array([[2, 2, 2], [2, 0, 2], [2, 2, 2]], np.int32)).tolist()
        [[2, 2, 2], [2, 2, 2], [2, 2, 2]]
    """
    filled = labels.copy()
    rows = extents(labels)
    for row in _rows_with_gaps(labels, rows.low, rows.high, np.argsort(rows.sizes, kind="stable")):
        window = rows.window(int(row))
        inside = fill_voids.fill(labels[window] == rows.ids[row]).astype(bool)
        part = filled[window]
        part[inside & (part == 0)] = rows.ids[row]
    return filled


def _rows_with_gaps(labels: Labels, low: np.ndarray, high: np.ndarray, order: np.ndarray) -> np.ndarray:
    # Most objects have no hole. Only background pieces that stay clear of the image edge can lie in
    # one, and only of objects whose box encloses theirs; the others need no flood fill.
    gaps = extents(connected_components(labels == 0))
    enclosed = (gaps.low > 0).all(1) & (gaps.high < labels.shape).all(1)
    chosen = np.zeros(len(low), bool)
    for first, last in zip(gaps.low[enclosed], gaps.high[enclosed], strict=True):
        chosen |= (low < first).all(1) & (high > last).all(1)
    return order[chosen[order]]


def keep_largest_pieces(labels: Labels) -> Labels:
    """Keeps the largest connected piece (across faces) of every object; the others become background.

    Of equally large pieces the first in C order stays; -1 stays.

    Args:
        labels: Ids ``(*spatial)``.

    Example:
        >>> keep_largest_pieces(np.array([[5, 0, 5, 5, 6]], np.int32)).tolist()
        [[0, 0, 5, 5, 6]]
    """
    pieces = connected_components(labels)
    sizes = np.bincount(pieces.ravel())
    owner = np.zeros(sizes.size, np.int32)
    owner[pieces.ravel()] = labels.ravel()
    owner[0] = 0
    order = np.lexsort((-sizes, owner))
    kept = np.zeros(sizes.size, bool)
    kept[order[np.append(True, np.diff(owner[order]) > 0)]] = True
    return np.where(kept[pieces] | (labels < 0), labels, 0).astype(np.int32)


@njit(cache=True, nogil=True)
@no_type_check
def _drop_small(labels, highest, min_size):
    sizes = np.zeros(highest + 1, np.int64)
    start = 0
    for i in range(1, labels.size + 1):
        if i == labels.size or labels[i] != labels[start]:
            sizes[max(labels[start], 0)] += i - start
            start = i
    kept = np.empty(labels.size, np.int32)
    for i in range(labels.size):
        label = labels[i]
        kept[i] = 0 if label > 0 and sizes[label] < min_size else label
    return kept
