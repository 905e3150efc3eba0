"""Outlines of objects as polygons, for exports."""

from typing import no_type_check

import numpy as np
from jaxtyping import Float64
from numba import njit

from morula.labels.components import connected_components
from morula.labels.extents import extents
from morula.types import Labels

Outline = tuple[int, Float64[np.ndarray, "_ 2"]]
"""Id, and corners ``(n, 2)`` as y, x."""


def outlines(labels: Labels) -> list[Outline]:
    """Outer outline of every object along the edges of its pixels, ascending by id.

    Pixel i spans i to i + 1, as in ImageJ and QuPath, so a polygon's area is exactly the number
    of pixels (holes counted in). An object in several pieces (across faces) gives one polygon each.

    Args:
        labels: Ids ``(y, x)``.

    Returns:
        Id and corners y, x ``(n, 2)``, clockwise on the screen, first corner not repeated.

    Raises:
        ValueError: `labels` is not 2D.

    Example:
        >>> [(label, corners)] = outlines(np.array([[0, 4, 4]], np.int32))
        >>> label, corners.tolist()
        (4, [[0.0, 1.0], [0.0, 3.0], [1.0, 3.0], [1.0, 1.0]])
    """
    if labels.ndim != 2:
        msg = f"labels of {labels.ndim} axes have no outlines; give one plane (y, x)"
        raise ValueError(msg)
    pieces = connected_components(labels)
    rows = extents(pieces)
    found: list[Outline] = []
    for piece, low, high in zip(rows.ids.tolist(), rows.low.tolist(), rows.high.tolist(), strict=True):
        window = np.pad(pieces[low[0] : high[0], low[1] : high[1]] == piece, 1)
        start = int(window[1].argmax())
        corners = _trace(window, start) + np.array(low) - 1
        found.append((int(labels[low[0], low[1] + start - 1]), corners.astype(np.float64)))
    return sorted(found, key=lambda outline: outline[0])


@njit(cache=True, nogil=True)
@no_type_check
def _trace(inside, start):
    """Walks the pixel edges clockwise, object on the right, from the first pixel's upper left corner.

    `inside` is padded by one pixel; `start` is the first column of its row 1 that is set.
    """
    corners = []
    # Directions: right, down, left, up. The pixels ahead of a corner, on the right and left hand.
    steps = np.array([[0, 1], [1, 0], [0, -1], [-1, 0]])
    right = np.array([[0, 0], [0, -1], [-1, -1], [-1, 0]])
    left = np.array([[-1, 0], [0, 0], [0, -1], [-1, -1]])
    y, x, direction = 1, start, 0
    corners.append((y, x))
    while True:
        y += steps[direction, 0]
        x += steps[direction, 1]
        if not inside[y + right[direction, 0], x + right[direction, 1]]:
            turn = 1
        elif inside[y + left[direction, 0], x + left[direction, 1]]:
            turn = 3
        else:
            continue
        if y == 1 and x == start:
            return np.array(corners)
        corners.append((y, x))
        direction = (direction + turn) % 4
