"""Intensities to network input: measured once on the whole image, applied to any crop of it."""

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

    @classmethod
    def measure(cls, pixels: Pixels, normalization: Normalization) -> "Normalizer":
        """Measure an image ``(C, *spatial)`` without copying it; ``fixed`` measures nothing.

        8- and 16-bit integers are measured exactly, from a histogram; wider types on at most about
        `SAMPLES` pixels of a regular grid, so that the result is always the same.

        Raises:
            InputError: The image has no pixel, or none that is a finite number.
        """
        if normalization.kind == "fixed":
            return cls._fixed(normalization)
        if is_replicated(pixels):
            one = cls.measure(pixels[:1], normalization)
            repeat = len(pixels)
            return cls(one.offset.repeat(repeat), one.scale.repeat(repeat))
        offsets, scales, n_good = [], [], 0
        for channel in pixels:
            values, counts = _distribution(channel)
            n_good += int(counts.sum())
            low, high = _range(values, counts, normalization) if len(values) else (0.0, 0.0)
            offsets.append(low)
            scales.append(_inverse(high - low))
        if not n_good:
            msg = f"the image ({pixels.dtype}, shape {pixels.shape}) has no finite pixel; export it again."
            raise InputError(msg)
        return cls(np.array(offsets, np.float64), np.array(scales, np.float64))

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
            one = Normalizer(self.offset[:1], self.scale[:1], self.limits[:1])
            return one.apply(pixels[:1]).repeat(len(pixels), axis=0)
        exact = pixels.dtype.itemsize <= 2 or pixels.dtype == np.float32
        work = np.float32 if exact else np.float64
        shape = (-1,) + (1,) * (pixels.ndim - 1)
        finite = np.isfinite(pixels) if pixels.dtype.kind == "f" else None
        crop = pixels if finite is None or finite.all() else np.where(finite, pixels, 0)
        out = crop.astype(work) - self.offset.reshape(shape).astype(work)
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
