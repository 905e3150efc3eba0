"""Centroid offsets (HoVer maps) to borders between instances."""

from typing import no_type_check

import numpy as np
from numba import njit
from scipy import ndimage

from morula.labels.volume import as_volume
from morula.types import Map, Mask, Scalar


def border_strength(offsets: Map, mask: Mask) -> Scalar:
    """How steeply an offset falls along its own axis, highest over the axes.

    Inside an instance offsets rise from -1 to 1; where another instance begins they fall from 1 to -1.
    Sobel's derivative, 3 wide: Graham et al. 2019, https://arxiv.org/abs/1812.06499, equation 5. The
    published decoder stretches each derivative to 0..1 by its own extremes, which makes an instance depend
    on what else is in the image; this scale is fixed.

    Args:
        offsets: ``(ndim, *spatial)``, channel i along axis i.
        mask: Where it is wanted ``(*spatial)``.

    Returns:
        ``(*spatial)`` from 0 inside instances to 1 at a fall from 1 to -1; 1 outside `mask`.

    Examples:
        >>> row = np.array([[-1, 0, 1, -1, 0, 1]], np.float32)
        >>> border_strength(np.stack([row * 0, row]), np.ones(row.shape, bool))
        array([[0. , 0. , 0.5, 0.5, 0. , 0. ]], dtype=float32)
    """
    padded = np.pad(offsets, [(0, 0), *[(1, 1)] * mask.ndim], mode="edge")
    strides = np.cumprod([1, *padded.shape[:1:-1]])[::-1]
    steps = np.stack(np.meshgrid(*[np.arange(-1, 2)] * mask.ndim, indexing="ij"), -1).reshape(-1, mask.ndim)
    # A slope of Sobel's: the difference along the axis, smoothed by 1 2 1 along the others.
    smooth = (2.0 - np.abs(steps)).prod(1)
    slopes = np.stack(
        [smooth[steps[:, axis] != 0] * steps[steps[:, axis] != 0, axis] for axis in range(mask.ndim)]
    )
    shifts = np.stack([steps[steps[:, axis] != 0] @ strides for axis in range(mask.ndim)])
    slopes /= np.abs(slopes).sum(1, keepdims=True)
    inside = as_volume(mask)
    strength = np.zeros(inside.shape, np.float32)
    pitch = np.append(np.zeros(3 - mask.ndim, np.int64), strides)
    # Taps are counted from the corner of the padding, so that none is negative.
    taps = (pitch, shifts + strides.sum(), slopes.astype(np.float32))
    _steepest_fall(padded.reshape(mask.ndim, -1), inside, *taps, strength)
    return strength.reshape(mask.shape)


def stretched_border_strength(offsets: Map, mask: Mask) -> Scalar:
    """As `border_strength`, but every derivative is stretched to 0..1 by its extremes in the image.

    That is the published decoder's scale, on which system D gives its threshold: 0 where an offset rises most
    steeply, 1 where it falls most steeply.

    Args:
        offsets: ``(ndim, *spatial)``, channel i along axis i.
        mask: Where it is wanted ``(*spatial)``.

    Returns:
        ``(*spatial)`` from 0 to 1, highest over the axes; 1 outside `mask`.

    Examples:
        >>> row = np.array([[-1, 0, 1, -1, 0, 1]], np.float32)
        >>> stretched_border_strength(np.stack([row * 0, row]), np.ones(row.shape, bool)).round(2)
        array([[0.33, 0.  , 1.  , 1.  , 0.  , 0.33]], dtype=float32)
    """
    strength = np.zeros(mask.shape, np.float32)
    for axis, offset in enumerate(offsets):
        slope = ndimage.sobel(offset, axis, mode="nearest")
        steepest, span = slope.max(), max(float(np.ptp(slope)), 1e-6)
        np.maximum(strength, (steepest - slope) / np.float32(span), out=strength)
    return np.where(mask, strength, np.float32(1))


def smooth(values: Scalar) -> Scalar:
    """A Gaussian of 3 pixels per axis (sigma 0.8), as in HoVer-Net's decoder; pixels at the edge repeat.

    Args:
        values: ``(*spatial)``.
    """
    side = np.exp(-0.5 / 0.8**2)
    middle, side = np.float32(1 / (1 + 2 * side)), np.float32(side / (1 + 2 * side))
    for axis in range(values.ndim):
        step = int(np.prod(values.shape[axis + 1 :]))
        smoothed = _three_taps(values.reshape(-1), step, middle, side).reshape(values.shape)
        source, target = np.moveaxis(values, axis, 0), np.moveaxis(smoothed, axis, 0)
        # The first and the last along the axis: there the flat array goes on with another line.
        for edge, inner in ((0, 1), (-1, -2)) if len(source) > 1 else ((0, 0),):
            target[edge] = (middle + side) * source[edge] + side * source[inner]
        values = smoothed
    return values


@njit(cache=True, nogil=True)
@no_type_check
def _three_taps(values, step, middle, side):
    smoothed = np.empty_like(values)
    inner = smoothed[step : values.size - step]
    here, behind, ahead = values[step:], values, values[2 * step :]
    for i in range(inner.size):
        inner[i] = middle * here[i] + side * (behind[i] + ahead[i])
    return smoothed


@njit(cache=True, nogil=True)
@no_type_check
def _steepest_fall(offsets, mask, pitch, shifts, slopes, strength):
    """Row by row, tap by tap: loops without branches run on several pixels at once."""
    depth, height, width = mask.shape
    for z in range(depth):
        for y in range(height):
            row, inside = strength[z, y], mask[z, y]
            for axis in range(offsets.shape[0]):
                fall = np.zeros(width, np.float32)
                for tap in range(shifts.shape[1]):
                    start = z * pitch[0] + y * pitch[1] + shifts[axis, tap]
                    source = offsets[axis, start : start + width]
                    slope = slopes[axis, tap]
                    for x in range(width):
                        fall[x] -= slope * source[x]
                for x in range(width):
                    row[x] = max(row[x], fall[x])
            for x in range(width):
                row[x] = min(row[x], np.float32(1)) if inside[x] else np.float32(1)
