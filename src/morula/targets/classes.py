"""Signed distance to the surface of every class (organ) at once."""

import edt
import numpy as np
from jaxtyping import Int64

from morula.labels.extents import extents
from morula.types import Labels, Map, Scalar, Spacing


def class_channels(labels: Labels, ids: tuple[int, ...]) -> Int64[np.ndarray, "*_"]:
    """The channel of every pixel's class: 0 is background, 1 the first of `ids`.

    Labels that are no class, and -1, are background.

    Examples:
        >>> class_channels(np.array([0, 7, 3, -1], np.int32), (3, 7)).tolist()
        [0, 2, 1, 0]
    """
    order = np.argsort(ids)
    known = np.asarray(ids)[order]
    place = np.minimum(np.searchsorted(known, labels), len(known) - 1)
    return np.where(known[place] == labels, order[place] + 1, 0)


def class_distances(labels: Labels, ids: tuple[int, ...], spacing: Spacing, reach_px: float = 16.0) -> Map:
    """Signed distance map of each class: negative inside, 0 on its surface, 1 far outside.

    Inside, the distance is divided by the largest one of that class in these labels, so that it runs to
    -1 and small organs look like large ones; outside it is divided by `reach_px` and cut at 1. The surface
    runs half a pixel from the centres of the pixels on both its sides. One transform of all classes
    measures the insides; outside only a band around each class is looked at. Compare Ma et al. 2020,
    https://proceedings.mlr.press/v121/ma20b.html, where the whole outside is scaled and surface pixels are 0.

    Args:
        labels: Class ids ``(*spatial)``; -1 is background. The image's edge is no surface.
        ids: The classes, in channel order.
        spacing: Pixel size per axis.
        reach_px: Distance outside at which a map reaches 1, in pixels of the finest axis.

    Returns:
        ``(len(ids), *spatial)`` in [-1, 1]; 1 everywhere for a class that is absent.

    Examples:
        >>> class_distances(np.array([[0, 0, 4, 4, 4, 0]], np.int32), (4,), (1.0, 1.0), reach_px=2.0)
        array([[[ 0.75      ,  0.25      , -0.33333334, -1.        ,
                 -0.33333334,  0.25      ]]], dtype=float32)
    """
    classes = class_channels(labels, ids).astype(np.int32)
    finest = min(spacing)
    half, reach = 0.5 * finest, reach_px * finest
    maps = np.ones((len(ids), *labels.shape), np.float32)
    found = extents(classes)
    if not len(found.ids):
        return maps
    # An organ that fills the image is infinitely deep; nothing in the image is deeper than its diagonal.
    diagonal = np.float32(np.linalg.norm(np.multiply(labels.shape, spacing)))
    inside = np.minimum(_distance(classes, spacing), diagonal) - np.float32(half)
    margins = [int(np.ceil(reach / step)) for step in spacing]
    for row, id_ in enumerate(found.ids.tolist()):
        window = tuple(
            slice(max(0, int(low) - margin), int(high) + margin)
            for low, high, margin in zip(found.low[row], found.high[row], margins, strict=True)
        )
        own = classes[window] == id_
        outside = (_distance(~own, spacing) - np.float32(half)) / np.float32(reach)
        depth = np.where(own, inside[window], 0)
        maps[id_ - 1][window] = np.where(own, -depth / depth.max(), np.minimum(outside, 1))
    return maps


def _distance(classes: np.ndarray, spacing: Spacing) -> Scalar:
    """From every pixel above 0 to the nearest one of another value; infinite where there is none."""
    return edt.edt(np.ascontiguousarray(classes), anisotropy=spacing)
