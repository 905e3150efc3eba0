"""Watershed without markers: peaks that stand out enough are the instances."""

from typing import no_type_check

import numpy as np
from numba import njit

from morula.labels.components import root_of
from morula.types import Labels, Mask, Scalar


def split_by_dynamics(
    height: Scalar, mask: Mask, min_dynamics: float, min_size: int = 1, levels: int = 4096
) -> Labels:
    """Cuts `mask` along the valleys of `height` so that every piece has one peak that stands out.

    Pixels are taken from the highest to the lowest. Where two peaks' pieces meet, the lower peak's
    dynamics, its height above this saddle, decides: below `min_dynamics` the two become one, else they stay
    apart (Grimaud 1992, "A new measure of contrast: the dynamics", https://doi.org/10.1117/12.60650; the
    same pieces as a watershed from the h-maxima, in one pass).

    Args:
        height: Landscape ``(*spatial)``.
        mask: Pixels that are labelled ``(*spatial)``.
        min_dynamics: Least dynamics of a peak of its own, above 0, in the unit of `height`. The highest peak
            of every connected piece of `mask` always has one.
        min_size: Pieces with fewer pixels when they meet another become part of it.
        levels: Number of equal steps between the lowest and the highest pixel.

    Returns:
        Ids ``(*spatial)``, not sequential.

    Examples:
        >>> row = np.array([[0, 3, 1, 4, 3, 5, 0]], np.float32)
        >>> split_by_dynamics(row, row > 0, 1.5)
        array([[0, 3, 1, 1, 1, 1, 0]], dtype=int32)
    """
    if not mask.any():
        return np.zeros(mask.shape, np.int32)
    padded = np.pad(mask, 1)
    pixels = np.flatnonzero(padded)
    heights = np.nan_to_num(height[mask], nan=-np.inf)
    finite = heights[np.isfinite(heights)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    scale = (levels - 1) / (high - low) if high > low else 0.0
    level = ((np.clip(heights, low, high) - low) * scale).astype(np.uint16)
    order = np.argsort(levels - 1 - level, kind="stable")
    strides = np.cumprod([1, *padded.shape[:0:-1]])
    steps = np.concatenate([-strides[::-1], strides])
    pieces = _flood(
        padded.size, pixels[order], level[order].astype(np.int64), steps, min_dynamics * scale, min_size
    )
    inner = (slice(1, -1),) * mask.ndim
    return pieces.reshape(padded.shape)[inner].copy()


@njit(cache=True, nogil=True)
@no_type_check
def _flood(size, pixels, level, steps, min_dynamics, min_size):  # noqa: C901 (one loop; calls would halve the speed)
    pieces = np.zeros(size, np.int32)
    rank = np.zeros(size, np.int32)
    parents = np.zeros(pixels.size + 1, np.int32)
    peaks = np.zeros(pixels.size + 1, np.int64)
    sizes = np.zeros(pixels.size + 1, np.int64)
    count = 0
    for i in range(pixels.size):
        pixel = pixels[i]
        # The piece of the highest neighbour takes the pixel: the direction of steepest ascent.
        chosen, earliest, summit = 0, size, 0
        for step in steps:
            neighbour = pixel + step
            if pieces[neighbour] == 0:
                continue
            piece = root_of(parents, pieces[neighbour])
            if rank[neighbour] < earliest:
                chosen, earliest = piece, rank[neighbour]
            if summit == 0 or peaks[piece] > peaks[summit]:
                summit = piece
        rank[pixel] = i
        if chosen == 0:
            count += 1
            parents[count], peaks[count], chosen = count, level[i], count
        else:
            for step in steps:
                if pieces[pixel + step] == 0:
                    continue
                piece = root_of(parents, pieces[pixel + step])
                if piece == summit:
                    continue
                if peaks[piece] - level[i] < min_dynamics or sizes[piece] < min_size:
                    parents[piece] = summit
                    sizes[summit] += sizes[piece]
            chosen = root_of(parents, chosen)
        pieces[pixel] = chosen
        sizes[chosen] += 1
    for i in range(pixels.size):
        pieces[pixels[i]] = root_of(parents, pieces[pixels[i]])
    return pieces
