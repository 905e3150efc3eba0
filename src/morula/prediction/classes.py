"""Class labels on the image's own grid, without ever holding all probabilities there.

Probabilities arrive in bands on the working grid. They are brought to the image's grid a slab of planes at a
time and one class after the other, keeping only the best so far: whatever the number of classes, two numbers
per voxel of the slab.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float32

from morula.prediction.large import Window
from morula.prediction.segmentation import Segmentation
from morula.preprocessing.geometry import Matrix, along_axis, interpolation_matrix
from morula.representations.class_distance import ClassDistance
from morula.types import Map, Maps

SLAB = 1 << 22
"""Pixels of the image that are decided at a time."""


def decode_classes(
    bands: Iterator[tuple[int, Maps]],
    working: tuple[int, ...],
    shape: tuple[int, ...],
    representation: ClassDistance,
    across: int | None,
) -> Segmentation:
    """The most probable class of every pixel, from bands of probabilities.

    Probabilities are interpolated linearly, and taken from the nearest plane along `across` (nnU-Net).

    Args:
        bands: ``(first row, maps)`` in order, as `morula.prediction.tiles.stitch` yields them.
        working: Spatial shape of the maps.
        shape: Spatial shape of the image.
        representation: Says what the classes are called in labels, and which keep one piece.
        across: The axis across which planes are taken whole; None without one.

    Returns:
        Labels of classes; the confidence of a class is the mean probability of its pixels.
    """
    window = Window(bands, {"classes": 1})
    first, *others = [
        interpolation_matrix(old, new, 0 if axis == across else 1)
        for axis, (old, new) in enumerate(zip(working, shape, strict=True))
    ]
    matrices = [
        None if old == new else matrix
        for matrix, old, new in zip(others, working[1:], shape[1:], strict=True)
    ]
    labels = np.zeros(shape, np.int32)
    ids = np.array((0, *representation.ids), np.int32)
    sums, counts = np.zeros((2, len(ids)))
    step = max(1, SLAB // int(np.prod(shape[1:])))
    for start in range(0, shape[0], step):
        rows = first[start : start + step]
        low, high = int(rows.indices.min()), int(rows.indices.max()) + 1
        probabilities = window.take(low, high)["classes"]
        channels, best = best_class(probabilities, [rows[:, low:high], *matrices])
        labels[start : start + step] = ids[channels]
        sums += np.bincount(channels.ravel(), best.ravel(), len(ids))
        counts += np.bincount(channels.ravel(), minlength=len(ids))
    tidy = representation.tidy(labels)
    present = np.isin(ids, tidy)
    scores = {int(ids[i]): float(sums[i] / counts[i]) for i in range(1, len(ids)) if present[i]}
    return Segmentation(tidy, scores)


def best_class(
    probabilities: Map, matrices: Sequence[Matrix | None]
) -> tuple[np.ndarray, Float32[np.ndarray, "*_"]]:
    """Channel of the highest probability on a new grid, uint8 or uint16 ``(*spatial)``, and that probability.

    Args:
        probabilities: ``(channel, *spatial)``; of equals the first wins.
        matrices: What the pixels of the new grid take from the old ones, per axis; None: as they are.
    """
    best = channels = None
    for channel, values in enumerate(probabilities):
        for axis, matrix in enumerate(matrices):
            values = values if matrix is None else along_axis(matrix, values, axis)
        if best is None or channels is None:
            # A copy: the maps are not ours to overwrite.
            best = np.array(values, np.float32)
            channels = np.zeros(best.shape, np.uint8 if len(probabilities) < 256 else np.uint16)
            continue
        higher = values > best
        channels[higher] = channel
        np.maximum(best, values, out=best)
    if best is None or channels is None:
        msg = "no probabilities: expected at least one channel"
        raise ValueError(msg)
    return channels, best
