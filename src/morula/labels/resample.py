"""Labels on another grid."""

from typing import no_type_check

import numpy as np
from numba import njit

from morula.labels.extents import Extents, extents
from morula.labels.volume import as_volume
from morula.types import Labels


def resample_labels(labels: Labels, shape: tuple[int, ...]) -> Labels:
    """The same objects with the same ids on a finer or coarser grid over the same field.

    Pixel centres are aligned: pixel i of n lies at ``(i + 0.5) / n`` of the field. Every new pixel takes
    the id that has most weight under it, in the linear interpolation of the objects' masks, widened
    by the zoom factor when the grid gets coarser: outlines stay smooth, no id is made up. 0 and -1 vote
    like the others. An object that would vanish keeps the pixel at its middle, as long as there
    is one to be had without another object vanishing for it.

    Args:
        labels: Ids ``(*spatial)``.
        shape: Shape of the new grid, one positive number per axis.

    Returns:
        Ids ``(*shape)``.

    Raises:
        ValueError: `shape` has another number of axes, or a length below 1.

    Example:
        >>> resample_labels(np.array([[0, 0, 5, 5, 5, 5, 0, 7]], np.int32), (1, 4)).tolist()
        [[0, 5, 5, 7]]
    """
    if len(shape) != labels.ndim or min(shape) < 1:
        msg = f"shape {shape} for labels of shape {labels.shape}; expected one positive length per axis"
        raise ValueError(msg)
    if tuple(shape) == labels.shape:
        return labels.copy()
    missing = 3 - labels.ndim
    sizes = zip((1,) * missing + labels.shape, (1,) * missing + tuple(shape), strict=True)
    along_z, along_y, along_x = (_taps(old, new) for old, new in sizes)
    resampled = np.empty(shape, np.int32)
    _vote(as_volume(labels), along_z, along_y, along_x, as_volume(resampled))
    _restore_lost(labels, resampled)
    return resampled


def _taps(old: int, new: int) -> tuple[np.ndarray, np.ndarray]:
    """One axis: first source pixel int64 ``(new,)``, weights float64 ``(new, taps)``, 0 beyond the edge."""
    zoom = old / new
    reach = max(zoom, 1.0)
    position = (np.arange(new) + 0.5) * zoom - 0.5
    first = np.ceil(position - reach).astype(np.int64)
    sources = first[:, None] + np.arange(int(2 * reach) + 1)
    weights = np.maximum(1 - np.abs(sources - position[:, None]) / reach, 0)
    weights[(sources < 0) | (sources >= old)] = 0
    return first, weights


def _restore_lost(labels: Labels, resampled: Labels) -> None:
    before, after = extents(labels), extents(resampled)
    lost = np.flatnonzero(~np.isin(before.ids, after.ids, assume_unique=True))
    if lost.size == 0:
        return
    pixels = dict(zip(after.ids.tolist(), after.sizes.tolist(), strict=True))
    zoom = np.divide(resampled.shape, labels.shape)
    for row in lost:
        middle = (_middle(labels, before, int(row)) + 0.5) * zoom - 0.5
        place = _free_pixel(resampled, middle, pixels)
        if place is not None:
            former = int(resampled[place])
            if former > 0:
                pixels[former] -= 1
            label = int(before.ids[row])
            resampled[place] = label
            pixels[label] = 1


def _middle(labels: Labels, rows: Extents, row: int) -> np.ndarray:
    """The object's pixel that is nearest to its centroid ``(ndim,)``."""
    window = rows.window(row)
    points = np.argwhere(labels[window] == rows.ids[row])
    nearest = ((points - points.mean(0)) ** 2).sum(1).argmin()
    return points[nearest] + rows.low[row]


def _free_pixel(resampled: Labels, middle: np.ndarray, pixels: dict[int, int]) -> tuple[int, ...] | None:
    """The nearest pixel, at most two away, that no object needs: it would not be the last one of it."""
    centre = np.clip(np.rint(middle), 0, np.array(resampled.shape) - 1).astype(int)
    low = np.maximum(centre - 2, 0)
    window = resampled[tuple(slice(a, b + 3) for a, b in zip(low, centre, strict=True))]
    points = np.argwhere(np.ones(window.shape, bool)) + low
    for point in points[((points - middle) ** 2).sum(1).argsort(kind="stable")]:
        place = tuple(point.tolist())
        if resampled[place] <= 0 or pixels[int(resampled[place])] > 1:
            return place
    return None


@njit(cache=True, nogil=True)
@no_type_check
def _vote(labels, along_z, along_y, along_x, resampled):
    depth, height, width = labels.shape
    (first_z, weights_z), (first_y, weights_y), (first_x, weights_x) = along_z, along_y, along_x
    most = weights_z.shape[1] * weights_y.shape[1] * weights_x.shape[1]
    ids = np.empty(most, np.int32)
    votes = np.empty(most)
    for z in range(len(first_z)):
        z0, z1 = max(first_z[z], 0), min(first_z[z] + weights_z.shape[1], depth)
        for y in range(len(first_y)):
            y0, y1 = max(first_y[y], 0), min(first_y[y] + weights_y.shape[1], height)
            for x in range(len(first_x)):
                x0, x1 = max(first_x[x], 0), min(first_x[x] + weights_x.shape[1], width)
                source = labels[z0:z1, y0:y1, x0:x1]
                if _is_uniform(source):
                    resampled[z, y, x] = source[0, 0, 0]
                    continue
                across = (
                    weights_z[z, z0 - first_z[z] :],
                    weights_y[y, y0 - first_y[y] :],
                    weights_x[x, x0 - first_x[x] :],
                )
                resampled[z, y, x] = _winner(source, across, ids, votes)


@njit(cache=True, nogil=True)
@no_type_check
def _is_uniform(source):
    label = source[0, 0, 0]
    for k in range(source.shape[0]):
        for j in range(source.shape[1]):
            for i in range(source.shape[2]):
                if source[k, j, i] != label:
                    return False
    return True


@njit(cache=True, nogil=True)
@no_type_check
def _winner(source, weights, ids, votes):
    """The id of most weight; of equals an object rather than background, then the first met."""
    count = 0
    for k in range(source.shape[0]):
        for j in range(source.shape[1]):
            across = weights[0][k] * weights[1][j]
            for i in range(source.shape[2]):
                at = 0
                while at < count and ids[at] != source[k, j, i]:
                    at += 1
                if at == count:
                    ids[at] = source[k, j, i]
                    votes[at] = 0.0
                    count += 1
                votes[at] += across * weights[2][i]
    best = 0
    for at in range(1, count):
        # Rounding must not decide between equals.
        margin = 1e-9 if ids[best] > 0 else -1e-9
        if votes[at] > votes[best] + margin:
            best = at
    return ids[best]
