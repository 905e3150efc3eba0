"""Sequential ids."""

from typing import no_type_check

import numpy as np
from numba import njit

from morula.labels.volume import as_volume
from morula.types import Labels

# A look-up table by id may be this many times longer than the image has pixels.
_TABLE_PER_PIXEL = 4


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


def compact(labels: Labels) -> tuple[Labels, np.ndarray]:
    """As `renumber`, with the former id of each new one.

    Args:
        labels: Ids ``(*spatial)``, gaps allowed.

    Returns:
        New ids ``(*spatial)``, and int32 ``(n + 1,)``: position k holds the former id of k (0 for 0).

    Example:
        >>> compact(np.array([0, 7, 3], np.int32))[1].tolist()
        [0, 7, 3]
    """
    if labels.size == 0:
        return labels.copy(), np.zeros(1, np.int32)
    highest = max(int(labels.max()), 0)
    if highest > _TABLE_PER_PIXEL * labels.size + 65536:
        return _compact_sparse(labels)
    new, former = _renumber(as_volume(labels), highest)
    return new.reshape(labels.shape), former


def _compact_sparse(labels: Labels) -> tuple[Labels, np.ndarray]:
    # Ids so high that a table by id would not fit: through ranks first.
    ids, ranks = np.unique(labels, return_inverse=True)
    ranks = ranks.reshape(labels.shape) - np.count_nonzero(ids <= 0)
    ranks = np.where(labels > 0, ranks + 1, labels).astype(np.int32)
    new, former = _renumber(as_volume(ranks), int(ranks.max()))
    ids = np.append(0, ids[ids > 0])
    return new.reshape(labels.shape), ids[former].astype(np.int32)


@njit(cache=True, nogil=True)
@no_type_check
def _renumber(labels, highest):
    table = np.zeros(highest + 1, np.int32)
    former = np.zeros(min(highest, labels.size) + 1, np.int32)
    new = np.empty(labels.shape, np.int32)
    source, target = labels.ravel(), new.ravel()
    last, last_new, count = 0, 0, 0
    for i in range(source.size):
        label = source[i]
        # Neighbours mostly share their id: the table is asked once per run.
        if label != last:
            last = label
            if label <= 0:
                last_new = label
            else:
                if table[label] == 0:
                    count += 1
                    table[label] = count
                    former[count] = label
                last_new = table[label]
        target[i] = last_new
    return new, former[: count + 1].copy()
