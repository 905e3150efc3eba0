"""Outlines of objects along the edges between pixels: filled again they give back exactly the same pixels.

A ring runs on pixel corners with the object on its right: clockwise on the screen around the object,
counter-clockwise around a hole. Pixels that touch only at a corner are different pieces; rings never cross.
"""

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Int32, Int64
from numba import njit

from morula.types import Labels


@dataclass(frozen=True)
class Outlines:
    """All rings of a 2D label image, in the order of their topmost left pixels."""

    ids: Int32[np.ndarray, " rings"]
    """The object of each ring."""

    areas: Int64[np.ndarray, " rings"]
    """Pixels that a ring encloses; negative for a hole."""

    ends: Int64[np.ndarray, " rings"]
    """One past each ring's last corner in `corners`."""

    corners: Int32[np.ndarray, "corners 2"]
    """``(y, x)`` of pixel corners; the first pixel lies between (0, 0) and (1, 1)."""

    def ring(self, index: int) -> Int32[np.ndarray, "_ 2"]:
        """Corners ``(n, 2)`` of one ring; the first is not repeated at the end."""
        return self.corners[self.ends[index - 1] if index else 0 : self.ends[index]]

    def objects(self) -> dict[int, list[int]]:
        """Rings of each object in ascending order of ids: its outlines and its holes."""
        rings: dict[int, list[int]] = {}
        for index in np.argsort(self.ids, kind="stable").tolist():
            rings.setdefault(int(self.ids[index]), []).append(index)
        return rings


def outlines(labels: Labels, *, every_edge: bool = False) -> Outlines:
    """Trace every object and every hole of a 2D image, in one pass.

    Args:
        labels: Ids ``(y, x)``; those below 1 are background.
        every_edge: Give a corner for every pixel edge, not only where the outline turns.

    Raises:
        ValueError: The labels are not 2D.

    Example:
        >>> outlines(np.array([[0, 5, 5]], np.int32)).ring(0).tolist()
        [[0, 1], [0, 3], [1, 3], [1, 1]]
    """
    if labels.ndim != 2:
        msg = f"labels have {labels.ndim} axes; outlines need 2, one plane at a time"
        raise ValueError(msg)
    return Outlines(*_trace(np.ascontiguousarray(labels), every_edge))


@njit(cache=True, nogil=True)
@no_type_check
def _grown(array):
    new = np.empty((2 * len(array), *array.shape[1:]), array.dtype)
    new[: len(array)] = array
    return new


@njit(cache=True, nogil=True)
@no_type_check
def _trace(labels, every_edge):  # noqa: C901 - one walk along the edges
    height, width = labels.shape
    # Directions: up, right, down, left; the pixel to the right of an edge, and the one to its left, when
    # standing on the corner (y, x) and looking along the direction.
    dy = np.array([-1, 0, 1, 0])
    dx = np.array([0, 1, 0, -1])
    right_y, right_x = np.array([-1, 0, 0, -1]), np.array([0, 0, -1, -1])
    left_y, left_x = np.array([-1, -1, 0, 0]), np.array([-1, 0, 0, -1])
    seen = np.zeros((height, width), np.bool_)
    ids, areas, ends = np.empty(256, np.int32), np.empty(256, np.int64), np.empty(256, np.int64)
    corners = np.empty((4096, 2), np.int32)
    rings, used = 0, 0
    for row in range(height):
        for column in range(width):
            label = labels[row, column]
            if label <= 0 or seen[row, column] or (column > 0 and labels[row, column - 1] == label):
                continue
            # Up along the left edge of this pixel.
            y, x, way = row + 1, column, 0
            twice_area = 0
            while True:
                if way == 0:
                    if seen[y - 1, x]:
                        break
                    seen[y - 1, x] = True
                y, x = y + dy[way], x + dx[way]
                # Shoelace, with the object on the right.
                twice_area += dx[way] * -y + dy[way] * x
                ry, rx = y + right_y[way], x + right_x[way]
                ly, lx = y + left_y[way], x + left_x[way]
                turn = 0
                if not (0 <= ry < height and 0 <= rx < width and labels[ry, rx] == label):
                    turn = 1
                elif 0 <= ly < height and 0 <= lx < width and labels[ly, lx] == label:
                    turn = 3
                if turn or every_edge:
                    if used == len(corners):
                        corners = _grown(corners)
                    corners[used, 0], corners[used, 1] = y, x
                    used += 1
                way = (way + turn) % 4
            if rings == len(ids):
                ids, areas, ends = _grown(ids), _grown(areas), _grown(ends)
            ids[rings], areas[rings], ends[rings] = label, twice_area // 2, used
            rings += 1
    return ids[:rings].copy(), areas[:rings].copy(), ends[:rings].copy(), corners[:used].copy()
