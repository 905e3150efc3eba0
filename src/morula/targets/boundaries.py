"""Borders between touching instances, and shrunk instances."""

from typing import no_type_check

import numpy as np
from numba import njit

from morula.errors import InputError
from morula.targets.distances import inner_distance, largest_per_label, sequential
from morula.types import Labels, Mask, Spacing


def touching_borders(labels: Labels, reach: int | float = 2, spacing: Spacing | None = None) -> Mask:
    """Pixels, in or between instances, that have two different instances within `reach`.

    Args:
        labels: ``(*spatial)``; 0 and -1 are no instance.
        reach: Distance in pixels (Euclidean, of the finest axis) to the second-nearest instance; at least
            one pixel along every axis.
        spacing: Pixel size per axis; None for 1 everywhere.

    Returns:
        True on the border.

    Raises:
        InputError: `reach` is below 1.

    Examples:
        >>> touching_borders(np.array([[1, 1, 0, 2, 2, 2]], np.int32), reach=1).astype(int)
        array([[0, 0, 1, 0, 0, 0]])
        >>> touching_borders(np.array([[1, 1, 1, 2, 2, 2]], np.int32), reach=1).astype(int)
        array([[0, 0, 1, 1, 0, 0]])
    """
    ball = _ball(reach, _checked(labels, reach, spacing))
    margin = np.abs(ball).max(0)
    # A margin of background lets whole shifted images be compared without asking where the image ends.
    padded = np.pad(np.maximum(labels, 0), [(int(m), int(m)) for m in margin]).view(np.uint32)
    strides = np.cumprod([1, *padded.shape[:0:-1]])[::-1]
    found = _see_two(padded.ravel(), (ball @ strides).tolist(), int(margin @ strides)).reshape(padded.shape)
    return found[tuple(slice(m, m + n) for m, n in zip(margin, labels.shape, strict=True))].copy()


def shrink(labels: Labels, width: int | float, spacing: Spacing | None = None) -> Labels:
    """Every instance without its outermost `width` pixels; small ones lose less and never vanish.

    An instance loses at most half of its depth, so its deepest pixels always stay.

    Args:
        labels: ``(*spatial)``; 0 and -1 become 0.
        width: Pixels (Euclidean, of the finest axis) taken off all around; at least one along every axis.
        spacing: Pixel size per axis; None for 1 everywhere.

    Returns:
        ``(*spatial)`` with the ids of `labels`. The image's edge takes nothing off.

    Raises:
        InputError: `width` is below 1.

    Examples:
        >>> shrink(np.array([[0, 1, 1, 1, 1, 1, 2, 2, 0]], np.int32), 1)
        array([[0, 0, 1, 1, 1, 0, 2, 2, 0]], dtype=int32)
    """
    ids = sequential(labels)
    distance = inner_distance(ids, _checked(labels, width, spacing))
    taken = np.minimum(0.5 * largest_per_label(ids, distance), width * (1 + 1e-6))
    kept = np.zeros(labels.shape, labels.dtype)
    _deeper(labels.ravel(), ids.ravel(), distance.ravel(), taken, kept.reshape(-1))
    return kept


def _checked(labels: Labels, width: int | float, spacing: Spacing | None) -> Spacing:
    """Pixel size per axis in units of the finest one, cut at `width`.

    One pixel step along a coarse axis may be longer than `width`; cut, it still counts as within.
    """
    if width < 1:
        msg = f"a width is at least 1 pixel; found {width}."
        raise InputError(msg)
    spacing = spacing or (1.0,) * labels.ndim
    return tuple(float(min(step / min(spacing), width)) for step in spacing)


def _ball(radius: int | float, spacing: Spacing) -> np.ndarray:
    """Offsets ``(n, ndim)`` of all pixels within `radius`, itself included, nearest first."""
    reach = [int(radius / step) for step in spacing]
    axes = np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij")
    offsets = np.stack(axes, -1).reshape(-1, len(spacing))
    squares = np.sum((offsets * np.array(spacing)) ** 2, 1)
    within = squares <= radius**2 * (1 + 1e-6)
    return offsets[within][np.argsort(squares[within], kind="stable")]


def _see_two(padded: np.ndarray, ball: list[int], margin: int) -> np.ndarray:
    """Where the highest and the lowest id within the ball differ; plain shifts run at memory speed."""
    inner = padded.size - 2 * margin
    # Background must be the lowest of the ids for one search and the highest for the other: 0 - 1 wraps.
    below = padded - np.uint32(1)
    highest = padded[margin : margin + inner].copy()
    lowest = below[margin : margin + inner].copy()
    for shift in ball:
        start = margin + shift
        np.maximum(highest, padded[start : start + inner], out=highest)
        np.minimum(lowest, below[start : start + inner], out=lowest)
    seen = np.zeros(padded.size, np.bool_)
    seen[margin : margin + inner] = (highest > 0) & (highest - np.uint32(1) != lowest)
    return seen


@njit(cache=True, nogil=True)
@no_type_check
def _deeper(labels, ids, distance, taken, kept):
    for i in range(labels.size):
        if ids[i] > 0 and distance[i] > taken[ids[i]]:
            kept[i] = labels[i]
