"""Intensities to network input: measured once on the whole image, applied to any crop of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, Num
from numba import njit

from morula.data.sample import is_replicated
from morula.errors import InputError
from morula.planning.plan import Normalization

LIMIT = 10.0
"""Normalised values are clipped to ``-LIMIT..LIMIT``: a hot pixel must not drive a training step."""

SAMPLES = 1 << 22
"""Float channels with more pixels than this are measured on a regular grid of about as many."""

GAP = 0.25
"""A black surround is told by a gap above it, in every channel: this share of the range of intensities, in
which lie at most"""

GAP_PIXELS = 0.02
"""this share of the pixels,"""

SURROUND_PIXELS = 0.05
"""at least this share below it, and this share"""

FRAME_PIXELS = 0.5
"""of the outermost pixels."""

FIELD_PIXELS = 0.5
"""At least this share lies above it: bright objects on black look the same. Of a colour image with all"""

COLOUR_FIELD_PIXELS = 0.2
"""channels bright, which fluorescence seldom is, less will do."""

_SLAB = 1 << 20

Pixels = Num[np.ndarray, "_ *_"] | Bool[np.ndarray, "_ *_"]


@dataclass(frozen=True)
class Normalizer:
    """``(pixels - offset) * scale`` per channel, for the image it was measured on."""

    offset: Float64[np.ndarray, " channels"]
    """Intensity that becomes 0."""

    scale: Float64[np.ndarray, " channels"]
    """One over the intensity range that becomes 1; 0 for a constant channel."""

    limits: tuple[tuple[float, float], ...] = ()
    """Normalised values that a channel is clipped to; `LIMIT` on both sides when empty."""

    surround: tuple[tuple[float, float], ...] = ()
    """Per channel, the intensity up to which pixels belong to the black surround of an eyepiece, and what is
    put there: the median of the others. Empty when there is none."""

    @classmethod
    def measure(cls, pixels: Pixels, normalization: Normalization) -> "Normalizer":
        """Measure an image ``(C, *spatial)`` without copying it; ``fixed`` measures nothing.

        8- and 16-bit integers are measured exactly, from a histogram; wider types on at most about
        `SAMPLES` pixels of a regular grid, so that the result is always the same. ``percentile`` leaves a
        black surround out.

        Raises:
            InputError: The image has no pixel, or none that is a finite number.
        """
        if normalization.kind == "fixed":
            return cls._fixed(normalization)
        if is_replicated(pixels):
            one = cls.measure(pixels[:1], normalization)
            repeat = len(pixels)
            return cls(one.offset.repeat(repeat), one.scale.repeat(repeat), surround=one.surround * repeat)
        found = [_distribution(channel) for channel in pixels]
        if not any(len(values) for values, _ in found):
            msg = f"the image ({pixels.dtype}, shape {pixels.shape}) has no finite pixel; export it again."
            raise InputError(msg)
        surround = _surround(pixels, found) if normalization.kind == "percentile" else ()
        for place, (limit, _) in enumerate(surround):
            values, counts = found[place]
            found[place] = values[values > limit], counts[values > limit]
        ranges = [_range(*each, normalization) if len(each[0]) else (0.0, 0.0) for each in found]
        offset = np.array([low for low, _ in ranges], np.float64)
        scale = np.array([_inverse(high - low) for low, high in ranges], np.float64)
        return cls(offset, scale, surround=surround)

    @classmethod
    def _fixed(cls, normalization: Normalization) -> "Normalizer":
        """Clipped to the stored range, then mean 0 and deviation 1: system E's recipe for CT."""
        low, high, mean, deviation = np.array(normalization.fixed, np.float64).T
        scale = np.array([_inverse(width) for width in deviation.tolist()])
        limits = zip(((low - mean) * scale).tolist(), ((high - mean) * scale).tolist(), strict=True)
        return cls(mean, scale, tuple(limits))

    def apply(self, pixels: Pixels) -> Float32[np.ndarray, "_ *_"]:
        """Normalise the image or a crop ``(C, *spatial)``; constant channels and bad pixels become 0."""
        if is_replicated(pixels) and len(set(self.offset)) == len(set(self.scale)) == 1:
            one = Normalizer(self.offset[:1], self.scale[:1], self.limits[:1], self.surround[:1])
            return one.apply(pixels[:1]).repeat(len(pixels), axis=0)
        exact = pixels.dtype.itemsize <= 2 or pixels.dtype == np.float32
        work = np.float32 if exact else np.float64
        shape = (-1,) + (1,) * (pixels.ndim - 1)
        finite = np.isfinite(pixels) if pixels.dtype.kind == "f" else None
        crop = pixels if finite is None or finite.all() else np.where(finite, pixels, 0)
        out = crop.astype(work)
        if self.surround:
            limit, median = np.array(self.surround, work).T
            out = np.where(out <= limit.reshape(shape), median.reshape(shape), out)
        out -= self.offset.reshape(shape).astype(work)
        out *= self.scale.reshape(shape).astype(work)
        low, high = np.array(self.limits or [(-LIMIT, LIMIT)] * len(out), work).T
        np.clip(out, low.reshape(shape), high.reshape(shape), out=out)
        if crop is not pixels:
            out[~finite] = 0  # pyright: ignore[reportOptionalOperand]
        return out.astype(np.float32, copy=False)


def normalize(pixels: Pixels, normalization: Normalization) -> Float32[np.ndarray, "_ *_"]:
    """Normalise a whole image ``(C, *spatial)`` per channel.

    Raises:
        InputError: The image has no finite pixel.
    """
    return Normalizer.measure(pixels, normalization).apply(pixels)


def _surround(
    pixels: Pixels, distributions: Sequence[tuple[np.ndarray, np.ndarray]]
) -> tuple[tuple[float, float], ...]:
    """`Normalizer.surround` of an image with these distributions; see `GAP`."""
    (first, counts), *others = distributions
    grey = all(np.array_equal(first, v) and np.array_equal(counts, c) for v, c in others)
    least = FIELD_PIXELS if grey or len(pixels) < 3 else COLOUR_FIELD_PIXELS
    found = []
    for channel, (values, counts) in zip(pixels, distributions, strict=True):
        limit = _limit(values, counts, least)
        if limit is None or _frame_share(channel, limit) < FRAME_PIXELS:
            return ()
        above = values > limit
        found.append((limit, _percentile(values[above], counts[above], 50.0)))
    return tuple(found)


def _limit(values: np.ndarray, counts: np.ndarray, least: float) -> float | None:
    """The middle of the lowest gap above a surround, if at least this share of the pixels lies above it."""
    if len(values) < 2:
        return None
    below = np.cumsum(counts) / counts.sum()
    low, high = np.interp((0.001, 0.998), below, values)
    gap = GAP * (high - low)
    within = below[np.searchsorted(values, values + gap) - 1] - below
    fits = (below >= SURROUND_PIXELS) & (within <= GAP_PIXELS) & (below + within <= 1 - least)
    return float(values[fits.argmax()] + gap / 2) if gap and fits.any() else None


def _frame_share(channel: np.ndarray, limit: float) -> float:
    """Share of the outermost pixels that are no brighter than `limit`."""
    faces = [channel.take((0, -1), axis).ravel() for axis in range(channel.ndim)]
    return float((np.concatenate(faces) <= limit).mean())


def percentiles(channel: np.ndarray, shares: tuple[float, ...]) -> tuple[float, ...]:
    """Percentiles (0 to 100) of one channel's finite pixels, in the order asked for.

    Raises:
        InputError: No pixel is finite.
    """
    values, counts = _distribution(channel)
    if not len(values):
        msg = f"a channel ({channel.dtype}, shape {channel.shape}) has no finite pixel; export it again."
        raise InputError(msg)
    return tuple(_percentile(values, counts, share) for share in shares)


def _distribution(channel: np.ndarray) -> tuple[np.ndarray, Int64[np.ndarray, " _"]]:
    """The finite values of a channel in rising order, and how often each occurs."""
    if channel.dtype.kind in "bui" and channel.dtype.itemsize <= 2:
        counts = _histogram(channel)
        present = np.flatnonzero(counts)
        least = np.iinfo(channel.dtype).min if channel.dtype.kind == "i" else 0
        return (present + least).astype(np.float64), counts[present]
    step = max(1, int(np.ceil((channel.size / SAMPLES) ** (1 / max(channel.ndim, 1)))))
    values = channel[(slice(None, None, step),) * channel.ndim].ravel()
    finite = values[np.isfinite(values)]
    return np.sort(finite).astype(np.float64), np.ones(len(finite), np.int64)


def _histogram(channel: np.ndarray) -> Int64[np.ndarray, " _"]:
    levels = 1 << (8 * channel.dtype.itemsize)
    counts = np.zeros(levels, np.int64)
    # In slabs: what does not lie in one piece is copied.
    rows = max(1, _SLAB // max(1, channel[:1].size))
    for start in range(0, len(channel), rows):
        _count(channel[start : start + rows].ravel(), levels // 2 if channel.dtype.kind == "i" else 0, counts)
    return counts


@njit(cache=True, nogil=True)
@no_type_check
def _count(values, flip, counts):
    for value in values:
        counts[np.int64(value) + flip] += 1


def _range(values: np.ndarray, counts: np.ndarray, normalization: Normalization) -> tuple[float, float]:
    """The intensities that become 0 and 1."""
    if normalization.kind == "minmax":
        return float(values[0]), float(values[-1])
    if normalization.kind == "zscore":
        mean = float(np.average(values, weights=counts))
        deviation = float(np.sqrt(np.average((values - mean) ** 2, weights=counts)))
        return mean, mean + deviation
    low, high = (_percentile(values, counts, share) for share in (normalization.low, normalization.high))
    if high > low:
        return low, high
    # Nearly all pixels are equal (a few small objects on black): the full range still shows the others.
    return float(values[0]), float(values[-1])


def _percentile(values: np.ndarray, counts: np.ndarray, share: float) -> float:
    """The percentile that ``numpy.percentile`` gives for the expanded values (linear interpolation)."""
    below = np.cumsum(counts)
    position = (below[-1] - 1) * share / 100
    first = int(np.floor(position))
    at = np.searchsorted(below, [first, min(first + 1, int(below[-1]) - 1)], side="right")
    left, right = values[at]
    return float(left + (right - left) * (position - first))


def _inverse(width: float) -> float:
    return 1.0 / width if np.isfinite(width) and width > 1e-12 else 0.0
