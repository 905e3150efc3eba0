"""Pieces of objects: finding and dropping."""

from typing import no_type_check

import numpy as np
from numba import njit

from morula.labels.renumber import compact
from morula.labels.runs import CHUNK, SLACK, fill_run, run_ends, run_room
from morula.labels.volume import as_volume
from morula.types import Labels, Mask


def connected_components(labels_or_mask: Labels | Mask, connectivity: int = 1) -> Labels:
    """Numbers the connected pieces: of a mask, or of every object on its own.

    Args:
        labels_or_mask: ``(*spatial)``; two touching objects of `labels` never become one piece;
            -1 counts as background.
        connectivity: 1: pixels that share a face are connected; up to the number of axes: all neighbours.

    Returns:
        Piece ids ``(*spatial)``, 1 to n in the C order of the pieces' first pixels.

    Raises:
        ValueError: `connectivity` is not between 1 and the number of axes.

    Example:
        >>> connected_components(np.array([[1, 1, 0, 1, 2]], np.int32)).tolist()
        [[1, 1, 0, 2, 3]]
    """
    ndim = labels_or_mask.ndim
    if not 1 <= connectivity <= ndim:
        msg = f"connectivity {connectivity}; expected 1 to {ndim} for {ndim} axes"
        raise ValueError(msg)
    volume = as_volume(labels_or_mask)
    pieces = np.empty(volume.size + SLACK, np.int32)
    _number_pieces(volume.view(np.uint8) if volume.dtype == np.bool_ else volume, connectivity, pieces)
    return pieces[: volume.size].reshape(labels_or_mask.shape)


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
        kept = np.empty(labels.shape, np.int32)
        _drop_small(as_volume(labels).reshape(-1), highest, min_size, kept.reshape(-1))
        return kept
    # Ids so high that a table by id would not fit.
    new, former = compact(labels)
    kept = remove_small(new, min_size)
    return np.where(kept < 0, kept, former[np.maximum(kept, 0)]).astype(np.int32)


def fill_enclosed(mask: Mask) -> Mask:
    """Fills the background from which no path across faces leaves the image.

    Args:
        mask: ``(*spatial)``.

    Example:
        >>> fill_enclosed(np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)).all()
        np.True_
    """
    gaps = connected_components(~mask)
    enclosed = np.ones(int(gaps.max(initial=0)) + 1, bool)
    for axis in range(mask.ndim):
        for face in (0, -1):
            enclosed[gaps.take([face] if gaps.size else [], axis)] = False
    # The number 0 is the mask itself.
    enclosed[0] = True
    filled = np.empty(mask.shape, bool)
    _look_up(gaps.reshape(-1), enclosed, filled.reshape(-1))
    return filled


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
    sizes = np.bincount(pieces.ravel(), minlength=1)
    owner = np.zeros(sizes.size, np.int32)
    owner[pieces.ravel()] = labels.ravel()
    owner[0] = 0
    order = np.lexsort((-sizes, owner))
    kept = np.zeros(sizes.size, bool)
    kept[order[np.append(True, np.diff(owner[order]) > 0)]] = True
    return np.where(kept[pieces] | (labels < 0), labels, 0).astype(np.int32)


@njit(cache=True, nogil=True)
@no_type_check
def _drop_small(labels, highest, min_size, kept):
    sizes = np.zeros(highest + 1, np.int64)
    room = run_room(CHUNK)
    for begin in range(0, labels.size, CHUNK):
        some, start = labels[begin : begin + CHUNK], 0
        for end in run_ends(some, room):
            sizes[max(some[start], 0)] += end - start
            start = end
    for i in range(labels.size):
        label = labels[i]
        kept[i] = 0 if label > 0 and sizes[label] < min_size else label


@njit(cache=True, nogil=True)
@no_type_check
def _look_up(ids, table, found):
    for i in range(ids.size):
        found[i] = table[ids[i]]


@njit(cache=True, nogil=True)
@no_type_check
def _number_pieces(values, connectivity, pieces):
    """Two passes over runs of equal pixels along x, with a union-find between them, into flat `pieces`."""
    depth, height, width = values.shape
    rows = values.reshape(-1, width)
    first = np.zeros(depth * height + 1, np.int64)
    runs = _object_runs(rows, first)
    parents = np.arange(runs.shape[1]).astype(np.int32)
    for line in range(depth * height):
        z, y = line // height, line % height
        for dz, dy in ((0, -1), (-1, 0), (-1, -1), (-1, 1)):
            across = abs(dz) + abs(dy)
            if across <= connectivity and z + dz >= 0 and 0 <= y + dy < height:
                other = line + dz * height + dy
                here, there = (first[line], first[line + 1]), (first[other], first[other + 1])
                _join(runs, parents, here, there, int(across < connectivity))
    _number_roots(parents)
    _paint(pieces, width, first, runs, parents)


@njit(cache=True, nogil=True)
@no_type_check
def _object_runs(rows, first):
    """Start, end and label of object pixels' runs, int32 ``(3, runs)``; `first` gets each row's first run."""
    width = rows.shape[1]
    room = run_room(width)
    runs = np.empty((3, 2 * width + rows.size // 32), np.int32)
    count = 0
    for line in range(rows.shape[0]):
        row, start = rows[line], 0
        ends = run_ends(row, room)
        if count + ends.size > runs.shape[1]:
            larger = np.empty((3, 2 * runs.shape[1]), np.int32)
            larger[:, :count] = runs[:, :count]
            runs = larger
        for end in ends:
            label = row[start]
            runs[0, count], runs[1, count], runs[2, count] = start, end, label
            count += label > 0
            start = end
        first[line + 1] = count
    return runs[:, :count]


@njit(cache=True, nogil=True)
@no_type_check
def _join(runs, parents, here, there, reach):
    """Unites the runs of one row with those of an earlier row that overlap, or are `reach` pixels away."""
    starts, ends, labels = runs
    earlier = there[0]
    for run in range(here[0], here[1]):
        while earlier < there[1] and ends[earlier] + reach <= starts[run]:
            earlier += 1
        other = earlier
        while other < there[1] and starts[other] < ends[run] + reach:
            if labels[run] == labels[other]:
                one, two = root_of(parents, run), root_of(parents, other)
                parents[max(one, two)] = min(one, two)
            other += 1


@njit(cache=True, nogil=True)
@no_type_check
def root_of(parents, run):
    """The first of the joined pieces that `run` belongs to (union-find); the way there is shortened."""
    while parents[run] != run:
        parents[run] = parents[parents[run]]
        run = parents[run]
    return run


@njit(cache=True, nogil=True)
@no_type_check
def _number_roots(parents):
    """Puts the number of its piece in place of each run's parent; parents come before their children."""
    count = 0
    for run in range(parents.size):
        if parents[run] == run:
            count += 1
            parents[run] = count
        else:
            parents[run] = parents[parents[run]]


@njit(cache=True, nogil=True)
@no_type_check
def _paint(flat, width, first, runs, numbers):
    """Fills every run with its number, the gaps with 0."""
    x = 0
    for line in range(first.size - 1):
        begin = line * width
        for run in range(first[line], first[line + 1]):
            fill_run(flat, x, begin + runs[0, run], 0)
            x = begin + runs[1, run]
            fill_run(flat, begin + runs[0, run], x, numbers[run])
    fill_run(flat, x, flat.size - SLACK, 0)
