"""The black surround of a photograph through an eyepiece: no specimen, and out of its range of intensities.

It is told by its shape on a thumbnail: black in all colours and reaching the frame of the image, around one
convex field that is bright up to its edge, in two colours at least (purple tissue is dark in green).
Fluorescence on black is not, so that it stays as it is; so does every grey image.
"""

from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Bool

from morula.data.sample import RGB, Image
from morula.types import Mask

THUMBNAIL_PX = 256
"""Longest side of the thumbnail, at most twice that."""

BLACK = 0.2
"""Share of a colour's brightest intensity up to which it is black."""

BRIGHT = 0.4
"""Share of it that three quarters of the field's rim exceed."""

RIM_PX = 9
"""Width of the rim on the thumbnail."""

FRAME = 0.5
"""Share of the frame that is black."""

FIELD = 0.15
"""Least share of the image that is the field."""

CONVEX = 0.95
"""Least share of its convex hull that the field fills."""


def without_surround(image: Image) -> Image:
    """The image with the field's median in place of a black surround; the same image where there is none.

    Args:
        image: RGB in the plane, any number type; others are given back as they are.
    """
    if image.ndim != 2 or image.channels[:3] != RGB:
        return image
    step = max(1, max(image.pixels.shape[1:]) // THUMBNAIL_PX)
    thumbnail = image.pixels[:3, ::step, ::step]
    field = find_field(thumbnail)
    if field is None:
        return image
    height, width = image.pixels.shape[1:]
    # A little of the field's edge, where it fades into the surround, goes too.
    outside = ~_shrunk(field, 2)[np.ix_(np.arange(height) // step, np.arange(width) // step)]
    pixels = image.pixels.copy()
    pixels[:3, outside] = np.median(thumbnail[:, field], axis=1)[:, None].astype(pixels.dtype)
    return replace(image, pixels=pixels)


def find_field(thumbnail: np.ndarray) -> Bool[np.ndarray, "y x"] | None:
    """The bright field of an eyepiece in RGB ``(3, y, x)``; None where there is no such thing."""
    if min(thumbnail.shape[1:]) < 16 or _equal_colours(thumbnail):
        return None
    values = np.nan_to_num(thumbnail.astype(np.float32))
    brightest = np.percentile(values, 99.8, axis=(1, 2))
    if brightest.min() <= 0:
        return None
    shares = values / brightest[:, None, None]
    black = shares.max(0) <= BLACK
    frame = np.concatenate([black[0], black[-1], black[:, 0], black[:, -1]])
    if frame.mean() < FRAME:
        return None
    field = _largest(~_reaching_frame(black))
    rim = field & ~_shrunk(field, RIM_PX)
    if field.mean() < FIELD or np.median(np.percentile(shares[:, rim], 25, axis=1)) < BRIGHT:
        return None
    return field if field.sum() >= CONVEX * _hull(field).sum() else None


def _shrunk(mask: Mask, width: int) -> Mask:
    """A mask without a rim of this width; the image's own frame is no edge of it."""
    size = 2 * width + 1
    return cv2.erode(mask.astype(np.uint8), np.ones((size, size), np.uint8), borderValue=1).astype(bool)


def _equal_colours(pixels: np.ndarray) -> bool:
    return np.array_equal(pixels[1:], pixels[:-1])


def _reaching_frame(mask: Mask) -> Mask:
    """The parts of a mask that touch the frame."""
    _, parts = cv2.connectedComponents(mask.astype(np.uint8))
    edge = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    return np.isin(parts, edge[edge > 0])


def _largest(mask: Mask) -> Mask:
    _, parts, rows, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return parts == 1 + rows[1:, cv2.CC_STAT_AREA].argmax() if len(rows) > 1 else mask


def _hull(mask: Mask) -> Mask:
    points = np.argwhere(mask)[:, ::-1].astype(np.int32)
    filled = np.zeros(mask.shape, np.uint8)
    cv2.fillConvexPoly(filled, cv2.convexHull(points), 1)
    return filled.astype(bool)
