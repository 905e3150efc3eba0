"""Facts about the objects of one image."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from morula.data.sample import Image
from morula.labels.measure import diameters, touching_share
from morula.labels.renumber import renumber
from morula.types import Labels

HULLS_PER_IMAGE = 20
"""Convex hulls are measured for at most this many objects of an image."""


@dataclass(frozen=True)
class ObjectFacts:
    """The objects of one image; empty arrays and zeros without labels."""

    diameters_px: Float64[np.ndarray, " n"]
    """Diameter of the disc or ball of equal volume."""

    extents_px: Float64[np.ndarray, "n ndim"]
    """Bounding-box sizes."""

    solidities: Float64[np.ndarray, " sampled"]
    """Volume over that of the convex hull, of a regular sample."""

    touching: float
    """Share of objects that touch another one."""

    density: float
    """Share of the annotated pixels inside objects."""

    contrast: float
    """Mean intensity inside minus outside, in standard deviations of the image."""


def measure_objects(image: Image, labels: Labels | None) -> ObjectFacts:
    """Measure the objects of one image.

    Args:
        image: ``(C, *spatial)``.
        labels: ``(*spatial)``; -1 (not annotated) counts nowhere; None: unlabelled.
    """
    if labels is None or not (labels > 0).any():
        none = np.zeros(0)
        return ObjectFacts(none, np.zeros((0, image.ndim)), none, 0.0, 0.0, 0.0)
    # Ids may have gaps of millions: the boxes are found in sequence.
    objects = renumber(np.maximum(labels, 0))
    boxes = [box for box in ndimage.find_objects(objects) if box is not None]
    return ObjectFacts(
        diameters_px=diameters(labels),
        extents_px=np.array([[side.stop - side.start for side in box] for box in boxes], np.float64),
        solidities=_solidities(objects, boxes),
        touching=touching_share(labels),
        density=float((labels > 0).sum() / max(1, (labels >= 0).sum())),
        contrast=_contrast(image, labels),
    )


def solidity(mask: np.ndarray) -> float:
    """Volume of a mask over that of its convex hull; 1.0 for what is too thin to have a hull.

    The hull runs through the centres of the pixels' faces, as in scikit-image's ``convex_hull_image``
    with ``offset_coordinates``.
    """
    # Only boundary pixels can touch the hull; beyond the crop is outside.
    interior = np.asarray(ndimage.binary_erosion(mask), bool)
    points = np.argwhere(mask & ~interior).astype(np.float64)
    steps = np.concatenate([np.eye(mask.ndim), -np.eye(mask.ndim)]) / 2
    try:
        hull = ConvexHull((points[:, None] + steps).reshape(-1, mask.ndim))
    except QhullError:
        return 1.0
    return min(1.0, float(mask.sum()) / float(hull.volume))


def _solidities(objects: Labels, boxes: list[tuple[slice, ...]]) -> Float64[np.ndarray, " _"]:
    step = max(1, -(-len(boxes) // HULLS_PER_IMAGE))
    chosen = range(0, len(boxes), step)
    return np.array([solidity(objects[boxes[index]] == index + 1) for index in chosen], np.float64)


def _contrast(image: Image, labels: Labels) -> float:
    steps = tuple(slice(None, None, max(1, size // 512)) for size in labels.shape)
    values = np.nan_to_num(
        image.pixels[(slice(None), *steps)].astype(np.float64), posinf=0.0, neginf=0.0
    ).mean(0)
    sparse = labels[steps]
    inside, outside = values[sparse > 0], values[sparse == 0]
    deviation = float(values.std())
    if not inside.size or not outside.size or deviation == 0:
        return 0.0
    return (float(inside.mean()) - float(outside.mean())) / deviation
