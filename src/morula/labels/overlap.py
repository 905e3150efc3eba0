"""Which objects of two images overlap, and by how much: the one table behind every score."""

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Float64, Int32, Int64
from numba import njit

from morula.labels.renumber import compact
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
    first, second, pixels = _count_pairs(as_volume(truth).ravel(), as_volume(predicted).ravel())
    order = np.lexsort((second, first))
    first, second, pixels = first[order], second[order], pixels[order]
    return Overlap(first, second, pixels, _sizes(first, pixels), _sizes(second, pixels))


def _sizes(ids: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    new, former = compact(ids)
    total = np.zeros(former.size, np.int64)
    np.add.at(total, new, pixels)
    return total[new]


def _objects(ids: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    unique, where = np.unique(ids, return_index=True)
    return unique[unique > 0], sizes[where[unique > 0]]


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


@njit(cache=True, nogil=True)
@no_type_check
def _count_until_full(truth, predicted, table, counts, start):
    """Counts from pixel `start` on, one hash access per run of equal pairs; returns where it stopped."""
    used = 0
    for slot in range(table.size):
        used += table[slot] != -1
    for i in range(start + 1, truth.size + 1):
        first, second = truth[start], predicted[start]
        if i < truth.size and truth[i] == first and predicted[i] == second:
            continue
        if first >= 0:
            key = (np.int64(first) << 32) | np.int64(max(second, 0))
            slot = _slot(table, key)
            used += table[slot] == -1
            table[slot] = key
            counts[slot] += i - start
        start = i
        if 2 * used > table.size:
            break
    return start


@njit(cache=True, nogil=True)
@no_type_check
def _count_pairs(truth, predicted):
    """Pixels per pair of ids, unsorted."""
    table = np.full(4096, -1, np.int64)
    counts = np.zeros(4096, np.int64)
    # Growing inside the loop over pixels would make the compiler reload both tables for each of them.
    done = _count_until_full(truth, predicted, table, counts, 0)
    while done < truth.size:
        table, counts = _grown(table, counts)
        done = _count_until_full(truth, predicted, table, counts, done)
    taken = np.flatnonzero(table != -1)
    keys = table[taken]
    return (keys >> 32).astype(np.int32), (keys & 0xFFFFFFFF).astype(np.int32), counts[taken]
