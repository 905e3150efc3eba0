"""From marker pixels to instances: the last steps that all watershed decoders share."""

from typing import no_type_check

import numpy as np
from numba import njit

from morula.decoding.watershed import watershed
from morula.labels.components import connected_components, remove_small
from morula.labels.renumber import renumber
from morula.types import Labels, Mask, Scalar


def number_markers(markers: Mask, mask: Mask, min_marker_px: int = 1) -> Labels:
    """Every marker (pixels joined by faces) under an id of its own; a piece of `mask` without one is its own.

    Args:
        markers: Marker pixels ``(*spatial)``; those outside `mask` are left out.
        mask: Where instances may be ``(*spatial)``.
        min_marker_px: Smaller markers are dropped.

    Returns:
        Marker ids ``(*spatial)``, 1 to n.

    Examples:
        >>> row = np.array([[0, 1, 1, 1, 0, 1, 1]], bool)
        >>> number_markers(np.array([[0, 0, 1, 0, 0, 0, 0]], bool), row)
        array([[0, 0, 1, 0, 0, 2, 2]], dtype=int32)
    """
    numbered = remove_small(connected_components(markers & mask), min_marker_px)
    pieces = connected_components(mask)
    marked = _marked(pieces.reshape(-1), numbered.reshape(-1), int(pieces.max(initial=0)))
    if not marked.all():
        _number_unmarked(pieces.reshape(-1), marked, numbered.reshape(-1), int(numbered.max()))
    return renumber(numbered)


def flood_markers(
    markers: Mask, elevation: Scalar, mask: Mask, min_marker_px: int = 1, min_object_px: int = 1
) -> Labels:
    """Grow every marker over `mask` by watershed, lowest elevation first.

    Args:
        markers: Marker pixels ``(*spatial)``; pixels joined by faces are one marker.
        elevation: Landscape ``(*spatial)``, any unit.
        mask: Where instances may grow ``(*spatial)``. A piece without marker becomes one instance.
        min_marker_px: Smaller markers are dropped.
        min_object_px: Smaller instances are dropped.

    Returns:
        Instances ``(*spatial)``, 1 to n.
    """
    grown = watershed(elevation, number_markers(markers, mask, min_marker_px), mask)
    return renumber(remove_small(grown, min_object_px))


@njit(cache=True, nogil=True)
@no_type_check
def _marked(pieces, numbered, count):
    """Whether each piece holds a marker; background (0) counts as marked."""
    marked = np.zeros(count + 1, np.bool_)
    marked[0] = True
    for i in range(pieces.size):
        if numbered[i] > 0:
            marked[pieces[i]] = True
    return marked


@njit(cache=True, nogil=True)
@no_type_check
def _number_unmarked(pieces, marked, numbered, highest):
    """Gives the pixels of every piece without a marker a number of their own, in place."""
    for i in range(pieces.size):
        if not marked[pieces[i]]:
            numbered[i] = highest + pieces[i]
