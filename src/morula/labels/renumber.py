"""Sequential ids."""

from typing import no_type_check

import numpy as np
from numba import njit

from morula.labels.volume import as_volume
from morula.types import Labels

# Tables of this length are tried first; up to here the highest id need not be known.
_USUAL_HIGHEST = 8191
# A table by id may be this many times longer than the image has pixels.
_TABLE_PER_PIXEL = 4
# Ids are low up to here, and up to one for so many pixels: tables of some hundred bytes a row stay small.
_LOW = 1023
_PIXELS_PER_ROW = 16


def renumber(labels: Labels) -> Labels:
    """Ids 1 to n in order of first appearance (C order); 0 and -1 stay.

    Args:
        labels: Ids ``(*spatial)``, gaps allowed.

    Returns:
        New ids ``(*spatial)``.

    Example:
        >>> renumber(np.array([0, 7, 7, -1, 3, 7], np.int32)).tolist()
        [0, 1, 1, -1, 2, 1]
    """
    return compact(labels)[0]


def compact(labels: Labels, *, in_place: bool = False) -> tuple[Labels, np.ndarray]:
    """As `renumber`, with the former id of each new one.

    Args:
        labels: Ids ``(*spatial)``, gaps allowed.
        in_place: Write the new ids over the former ones; for labels that nobody else holds.

    Returns:
        New ids ``(*spatial)``, and int32 ``(n + 1,)``: position k holds the former id of k (0 for 0).

    Example:
        >>> compact(np.array([0, 7, 3], np.int32))[1].tolist()
        [0, 7, 3]
    """
    flat = as_volume(labels).reshape(-1)
    new = flat if in_place else np.empty(flat.size, np.int32)
    highest = int(labels.max(initial=0)) if in_place else _USUAL_HIGHEST
    done, former = _renumber(flat, new, highest)
    if not done:
        highest = int(labels.max())
        if highest > _TABLE_PER_PIXEL * labels.size + _USUAL_HIGHEST:
            return _compact_sparse(labels)
        _, former = _renumber(flat, new, highest)
    return new.reshape(labels.shape), former


def low_ids(labels: Labels) -> tuple[Labels, np.ndarray]:
    """Ids that are low enough to index a table by: themselves, only to be read, or as from `compact`.

    Args:
        labels: Ids ``(*spatial)``, gaps allowed.

    Returns:
        Low ids ``(*spatial)``, and int32 ``(highest + 1,)``: position k holds the former id of k.

    Example:
        >>> [low_ids(np.array([0, i, 3], np.int32))[1].tolist() for i in (5, 9000)]
        [[0, 1, 2, 3, 4, 5], [0, 9000, 3]]
    """
    highest = max(int(labels.max(initial=0)), 0)
    if highest <= max(_LOW, labels.size // _PIXELS_PER_ROW):
        return labels, np.arange(highest + 1, dtype=np.int32)
    return compact(labels)


def _compact_sparse(labels: Labels) -> tuple[Labels, np.ndarray]:
    # Ids so high that a table by id would not fit: through the ranks of the runs' ids first.
    flat = as_volume(labels).reshape(-1)
    starts = np.append(0, np.flatnonzero(flat[1:] != flat[:-1]) + 1)
    ids, ranks = np.unique(flat[starts], return_inverse=True)
    # An id that is no object keeps its own number, an object's rank counts from 1.
    ranks = np.where(flat[starts] > 0, ranks + 1 - np.count_nonzero(ids <= 0), flat[starts]).astype(np.int32)
    new, former = compact(ranks)
    ids = np.append(0, ids[ids > 0])
    new = np.repeat(new, np.diff(starts, append=flat.size))
    return new.reshape(labels.shape), ids[former].astype(np.int32)


@njit(cache=True, nogil=True)
@no_type_check
def _renumber(labels, new, highest):
    """Write new ids; whether no id was above `highest`, and former ids; one look into a table for each pixel.

    Position i + 1 of the table is for id i, so that -1 needs no branch of its own.
    """
    former = np.zeros(min(highest, labels.size) + 1, np.int32)
    table = np.full(highest + 2, -2, np.int32)
    table[0], table[1], count = -1, 0, 0
    for i in range(labels.size):
        label = labels[i]
        if not -1 <= label <= highest:
            if label > highest:
                return False, former
            new[i] = label
            continue
        if table[label + 1] == -2:
            count += 1
            table[label + 1] = count
            former[count] = label
        new[i] = table[label + 1]
    return True, former[: count + 1].copy()
