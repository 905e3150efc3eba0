"""How well the edges of the foreground lie: the boundary Dice of `resnet-unet-ohem` (system B)."""

import numpy as np

from morula.labels.volume import as_volume
from morula.types import Labels, Mask

BAND_PX = 7
"""Side of the square that thickens an edge to a band, pixels."""

_WEAK, _STRONG = 100, 200
"""Canny's two thresholds; a step from 0 to 255 has a gradient far above both."""


def count_boundary(truth: Labels, predicted: Labels) -> tuple[int, int, int]:
    """Pixels of the bands around the edges of both foregrounds: shared, true, predicted.

    The edges are Canny's (1986) on the mask, dilated by a square of `BAND_PX`; borders between touching
    objects are no edges of the mask. The text (Kromp 2020 nuclei, section 4) leaves open whether Dice is
    taken of the two bands or of the masks inside one of them; ours is of the two bands, which is
    symmetric and looks at the edges alone. Volumes are taken plane by plane.

    Args:
        truth: ``(*spatial)``; -1 is not annotated and counts nowhere.
        predicted: ``(*spatial)``.
    """
    annotated = truth >= 0
    true = _bands((truth > 0) & annotated) & annotated
    found = _bands((predicted > 0) & annotated) & annotated
    return int(np.count_nonzero(true & found)), int(np.count_nonzero(true)), int(np.count_nonzero(found))


def _bands(mask: Mask) -> Mask:
    """The dilated edges of a mask ``(*spatial)``."""
    import cv2

    square = np.ones((BAND_PX, BAND_PX), np.uint8)
    planes = [
        cv2.dilate(cv2.Canny(plane.astype(np.uint8) * 255, _WEAK, _STRONG), square) > 0
        for plane in as_volume(mask)
    ]
    return np.stack(planes).reshape(mask.shape)
