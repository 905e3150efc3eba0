"""Boundaries inside instances, borders between touching ones, and shrunk instances."""

import numpy as np

from morula.errors import InputError
from morula.targets.distances import inner_distance, largest_per_label, sequential, two_nearest_distances
from morula.types import Labels, Mask, Spacing


def inner_boundaries(labels: Labels, width: float = 1, spacing: Spacing | None = None) -> Mask:
    """Pixels of an instance within `width` of anything that is not this instance.

    Args:
        labels: ``(*spatial)``; 0 and -1 are outside.
        width: Thickness in pixels (Euclidean, of the finest axis), counted inside the instance.
        spacing: Pixel size per axis; None for 1 everywhere.

    Returns:
        True on the boundary; False outside. The image's edge is no boundary.

    Raises:
        InputError: `width` is below 1.

    Examples:
        >>> inner_boundaries(np.array([[0, 1, 1, 1, 2, 2]], np.int32)).astype(int)
        array([[0, 1, 0, 1, 1, 0]])
    """
    distance = inner_distance(labels, _checked(labels, width, spacing))
    return (labels > 0) & (distance <= width * (1 + 1e-6))


def touching_borders(labels: Labels, reach: int = 2, spacing: Spacing | None = None) -> Mask:
    """Pixels, in or between instances, that have two different instances within `reach`.

    Args:
        labels: ``(*spatial)``; 0 and -1 are no instance.
        reach: Distance in pixels (Euclidean, of the finest axis) to the second-nearest instance.
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
    scaled = _checked(labels, reach, spacing)
    return np.isfinite(two_nearest_distances(labels, reach, scaled)[1])


def shrink(labels: Labels, width: float, spacing: Spacing | None = None) -> Labels:
    """Every instance without its outermost `width` pixels; small ones lose less and never vanish.

    An instance loses at most half of its depth, so its deepest pixels always stay.

    Args:
        labels: ``(*spatial)``; 0 and -1 become 0.
        width: Pixels (Euclidean, of the finest axis) taken off all around.
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
    taken = np.minimum(0.5 * largest_per_label(ids, distance), np.float32(width * (1 + 1e-6)))
    return np.where((ids > 0) & (distance > taken[ids]), labels, np.int32(0))


def _checked(labels: Labels, width: float, spacing: Spacing | None) -> Spacing:
    """Pixel size per axis in units of the finest one."""
    if width < 1:
        msg = f"a width is at least 1 pixel; found {width}."
        raise InputError(msg)
    spacing = spacing or (1.0,) * labels.ndim
    return tuple(step / min(spacing) for step in spacing)
