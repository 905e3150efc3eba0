"""Labels lent from the truth: how good a foreground would be if it were split perfectly (system B)."""

from typing import no_type_check

import numpy as np
from numba import njit

from morula.labels.volume import as_volume
from morula.types import Labels

_FAR = np.int64(2**62)
"""Squared distance of what nothing has reached yet."""


def lend_labels(truth: Labels, predicted: Labels) -> Labels:
    """The predicted foreground with the truth's labels: an upper bound for any way of splitting it.

    Where foreground and truth meet, the true label holds; every other pixel of the foreground takes the label
    of the nearest such pixel (text of system B, section 6, steps 1 to 3). The bound is rough: a false object
    takes a label too, and is no false positive then.

    Args:
        truth: ``(*spatial)``; -1 is not annotated and lends nothing.
        predicted: ``(*spatial)``; only its foreground counts. It is returned when nothing can be lent.

    Returns:
        True ids ``(*spatial)`` inside the predicted foreground, 0 outside.

    Examples:
        >>> lend_labels(np.array([[1, 1, 2, 2, 0, 0]], np.int32), np.array([[0, 7, 7, 7, 7, 0]], np.int32))
        array([[0, 1, 2, 2, 2, 0]], dtype=int32)
    """
    foreground = predicted > 0
    lent = np.where(foreground, np.maximum(truth, 0), 0).astype(np.int32)
    if not lent.any():
        return predicted
    if np.array_equal(lent > 0, foreground):
        return lent
    volume = as_volume(lent)
    squares = np.where(volume > 0, np.int64(0), _FAR)
    for axis in range(3 - lent.ndim, 3):
        _spread(np.moveaxis(volume, axis, -1), np.moveaxis(squares, axis, -1))
    return volume.reshape(lent.shape) * foreground


@njit(cache=True, nogil=True)
@no_type_check
def _spread(labels, squares):
    """Along the last axis, gives every pixel the label that is nearest over the axes so far, in place.

    The lower envelope of parabolas, in linear time (Felzenszwalb and Huttenlocher 2012, Theory of Computing).
    """
    rows, columns, size = labels.shape
    places, begins = np.empty(size, np.int64), np.empty(size)
    for row in range(rows):
        for column in range(columns):
            ids, heights = labels[row, column].copy(), squares[row, column].copy()
            count = 0
            for i in range(size):
                if heights[i] == _FAR:
                    continue
                begin = -np.inf
                while count:
                    j = places[count - 1]
                    begin = (heights[i] + i * i - heights[j] - j * j) / (2 * (i - j))
                    if begin > begins[count - 1]:
                        break
                    count -= 1
                    begin = -np.inf
                places[count], begins[count] = i, begin
                count += 1
            if not count:
                continue
            nearest = 0
            for i in range(size):
                while nearest + 1 < count and begins[nearest + 1] < i:
                    nearest += 1
                j = places[nearest]
                labels[row, column, i] = ids[j]
                squares[row, column, i] = heights[j] + (i - j) ** 2
