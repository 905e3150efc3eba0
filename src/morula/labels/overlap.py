"""Which objects of two images overlap, and by how much: the one table behind every score."""

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Float64, Int32, Int64
from numba import njit

from morula.labels.renumber import compact
from morula.labels.runs import CHUNK, SLACK, change_flags, mark_changes, take_changes
from morula.labels.volume import as_volume, check_same_shape
from morula.types import Labels, Mask


@dataclass(frozen=True)
class Overlap:
    """Every pair of ids that share a pixel, background (0) included, sorted by truth, then predicted id."""

    truth_ids: Int32[np.ndarray, "*_"]
    """Id in the truth ``(pairs,)``; 0 is background."""

    predicted_ids: Int32[np.ndarray, "*_"]
    """Id in the prediction ``(pairs,)``; 0 is background."""

    pixels: Int64[np.ndarray, "*_"]
    """Pixels that the pair shares ``(pairs,)``."""

    truth_sizes: Int64[np.ndarray, "*_"]
    """Pixels of the pair's truth object ``(pairs,)``."""

    predicted_sizes: Int64[np.ndarray, "*_"]
    """Pixels of the pair's predicted object ``(pairs,)``."""

    @property
    def iou(self) -> Float64[np.ndarray, "*_"]:
        """Intersection over union of each pair ``(pairs,)``, pairs with background included."""
        return self.pixels / (self.truth_sizes + self.predicted_sizes - self.pixels)

    @property
    def is_object_pair(self) -> np.ndarray:
        """Boolean ``(pairs,)``: neither side is background."""
        return (self.truth_ids > 0) & (self.predicted_ids > 0)

    @property
    def truth_objects(self) -> tuple[Int32[np.ndarray, "*_"], Int64[np.ndarray, "*_"]]:
        """Ids and sizes of the truth's objects, each once, ascending."""
        return _objects(self.truth_ids, self.truth_sizes)

    @property
    def predicted_objects(self) -> tuple[Int32[np.ndarray, "*_"], Int64[np.ndarray, "*_"]]:
        """Ids and sizes of the predicted objects, each once, ascending."""
        return _objects(self.predicted_ids, self.predicted_sizes)

    @property
    def n_truth(self) -> int:
        """Number of objects in the truth."""
        return int(self.truth_objects[0].size)

    @property
    def n_predicted(self) -> int:
        """Number of predicted objects."""
        return int(self.predicted_objects[0].size)


def overlap_table(truth: Labels, predicted: Labels, *, ignore: Mask | None = None) -> Overlap:
    """Counts the pixels that every pair of objects shares.

    Pixels that are -1 in `truth` ("not annotated") and those in `ignore` are left out altogether: an
    object that lies only there does not exist for the table. -1 in `predicted` is background.

    Args:
        truth: Ids ``(*spatial)``.
        predicted: Ids ``(*spatial)``.
        ignore: Pixels to leave out, ``(*spatial)``.

    Raises:
        ValueError: The shapes differ.

    Example:
        >>> table = overlap_table(np.array([0, 1, 1, 1], np.int32), np.array([0, 0, 8, 8], np.int32))
        >>> table.truth_ids.tolist(), table.predicted_ids.tolist(), table.pixels.tolist()
        ([0, 1, 1], [0, 0, 8], [1, 1, 2])
    """
    check_same_shape(truth=truth, predicted=predicted, ignore=ignore)
    if ignore is not None:
        truth = np.where(ignore, np.int32(-1), truth)
    first, second, pixels = _sorted_pairs(as_volume(truth).reshape(-1), as_volume(predicted).reshape(-1))
    return Overlap(first, second, pixels, _sizes(first, pixels), _sizes(second, pixels))


def _sizes(ids: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    new, former = compact(ids)
    # Sums in float64 are exact up to 2^53.
    return np.bincount(new, pixels, former.size).astype(np.int64)[new]


def _objects(ids: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    unique, where = np.unique(ids, return_index=True)
    return unique[unique > 0], sizes[where[unique > 0]]


def _sorted_pairs(truth: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    keys, counts = _count_pairs(truth, predicted)
    order = np.argsort(keys)
    keys = keys[order]
    return (keys >> 32).astype(np.int32), (keys & 0xFFFFFFFF).astype(np.int32), counts[order]


@njit(cache=True, nogil=True)
@no_type_check
def _count_pairs(truth, predicted):
    """Pixels per pair of ids, unsorted; a key holds the true id above 32 bits of the predicted one."""
    table = np.full(2 * CHUNK, -1, np.int64)
    counts = np.zeros(table.size, np.int64)
    flags, ends = change_flags(CHUNK), np.zeros(CHUNK + SLACK + 1, np.int64)
    used = 0
    for begin in range(0, truth.size, CHUNK):
        some_truth, some_predicted = truth[begin : begin + CHUNK], predicted[begin : begin + CHUNK]
        mark_changes(some_truth, flags)
        mark_changes(some_predicted, flags)
        runs = take_changes(flags, ends)
        ends[runs] = some_truth.size
        if 2 * (used + runs + 1) > table.size:
            table, counts = _grown(table, counts)
        used += _count_runs(some_truth, some_predicted, ends[: runs + 1], table, counts)
    taken = np.flatnonzero(table != -1)
    return table[taken], counts[taken]


@njit(cache=True, nogil=True)
@no_type_check
def _count_runs(truth, predicted, ends, table, counts):
    """Adds runs of equal pairs to the table, which has room for them; returns how many pairs are new."""
    added, start = 0, 0
    for end in ends:
        if truth[start] >= 0:
            key = (np.int64(truth[start]) << 32) | np.int64(max(predicted[start], 0))
            slot = _slot(table, key)
            added += table[slot] == -1
            table[slot] = key
            counts[slot] += end - start
        start = end
    return added


@njit(cache=True, nogil=True)
@no_type_check
def _slot(table, key):
    # Open addressing: Fibonacci hashing spreads neighbouring ids, collisions go to the next slot. Only the
    # bits from 32 upwards depend on both ids of a key; lower ones would send whole rows to one slot.
    mask = table.size - 1
    slot = (key * np.int64(-7046029254386353131) >> np.int64(38)) & mask
    while table[slot] != -1 and table[slot] != key:
        slot = (slot + 1) & mask
    return slot


@njit(cache=True, nogil=True)
@no_type_check
def _grown(table, counts):
    new_table = np.full(4 * table.size, -1, np.int64)
    new_counts = np.zeros(4 * table.size, np.int64)
    for i in range(table.size):
        if table[i] != -1:
            slot = _slot(new_table, table[i])
            new_table[slot] = table[i]
            new_counts[slot] = counts[i]
    return new_table, new_counts
