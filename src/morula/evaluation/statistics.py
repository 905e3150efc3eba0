"""How sure a score is: bootstrap intervals and paired tests over images.

Every score of a data set is a ratio of two sums over its images (a mean has ones below the line), so
one vectorised routine serves them all.
"""

from dataclasses import dataclass

import numpy as np

from morula.errors import InputError

EXACT_LIMIT = 13
"""Up to this many images that differ every one of the 2^n sign patterns is tried."""

CELLS_AT_ONCE = 4_000_000
"""Random numbers held in memory at a time."""


@dataclass(frozen=True)
class Interval:
    """A score with its confidence interval; NaN where it is not defined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedTest:
    """Whether one prediction beats another on the same images."""

    difference: float
    """First minus second."""

    low: float
    """Lower end of the bootstrap interval of the difference."""

    high: float
    """Upper end."""

    p_value: float
    """Two-sided; small when the sign of the images' differences could hardly be chance. NaN, as all of it,
    where a score is not defined."""

    n_images: int
    """Images compared."""


def bootstrap_intervals(
    numerators: np.ndarray,
    denominators: np.ndarray,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> list[Interval]:
    """Percentile bootstrap over images of ``sum(numerator) / sum(denominator)`` (Efron 1979), score by score.

    Args:
        numerators: One number per image and score ``(images, scores)``; the values themselves for a mean.
        denominators: The same; ones for a mean.
        level: Share of resamples that the interval holds.
        resamples: Number of resamples.
        seed: Same seed, same intervals.

    Raises:
        InputError: No images, or the two differ in shape.
    """
    if not len(numerators) or numerators.shape != denominators.shape:
        shapes = f"{numerators.shape} and {denominators.shape}"
        msg = f"a bootstrap needs one pair of numbers per image and score; found {shapes}."
        raise InputError(msg)
    values = _ratio(numerators.sum(0), denominators.sum(0))
    spread = _resampled(numerators, denominators, resamples, seed)
    ends = [_ends(column, level) for column in spread.T]
    return [Interval(float(value), *pair) for value, pair in zip(values, ends, strict=True)]


def gap_of_means(
    first: np.ndarray, second: np.ndarray, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Mean of `first` minus mean of `second`, two groups of different images, with its bootstrap interval.

    Args:
        first: One score per image.
        second: The same for the other group.
        level: Share of resamples that the interval holds.
        resamples: Number of resamples, of each group by itself.
        seed: Same seed, same interval.

    Raises:
        InputError: A group is empty.
    """
    if not len(first) or not len(second):
        msg = f"a gap needs images on both sides; found {len(first)} and {len(second)}."
        raise InputError(msg)
    spread = [
        _resampled(group[:, None], np.ones((len(group), 1)), resamples, seed + place)[:, 0]
        for place, group in enumerate((first, second))
    ]
    return Interval(float(first.mean() - second.mean()), *_ends(spread[0] - spread[1], level))


def paired_test(
    first: tuple[np.ndarray, np.ndarray],
    second: tuple[np.ndarray, np.ndarray],
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> PairedTest:
    """Sign-flip permutation test between two predictions of the same images.

    Under the hypothesis that both are equally good, their results on an image could be swapped. For a
    mean the swap flips the sign of the image's difference; for a pooled score it swaps its counts. The
    p-value is the share of swaps with a difference at least as large (Good 2005, section 3.3): exact up to
    `EXACT_LIMIT` images that differ, otherwise estimated with the observed one counted in.

    Args:
        first: Numerator and denominator per image, ``(images,)`` each.
        second: The same for the other prediction, image by image.
        level: Share of bootstrap resamples that the interval of the difference holds.
        resamples: Number of random swaps, and of bootstrap resamples.
        seed: Same seed, same result.

    Raises:
        InputError: The four arrays differ in length, or are empty.
    """
    lengths = {len(part) for part in (*first, *second)}
    if len(lengths) != 1 or lengths == {0}:
        msg = f"a paired test needs the same images on both sides; found lengths {sorted(lengths)}."
        raise InputError(msg)
    tops, bottoms = np.stack([first[0], second[0]], 1), np.stack([first[1], second[1]], 1)
    whole = _ratio(tops.sum(0), bottoms.sum(0))
    observed = float(whole[0] - whole[1])
    spread = _resampled(tops, bottoms, resamples, seed)
    differences = spread[:, 0] - spread[:, 1]
    known = differences[np.isfinite(differences)]
    tail = 50 * (1 - level)
    low, high = np.percentile(known, [tail, 100 - tail]) if len(known) else (np.nan, np.nan)
    p_value = _swap_p_value(first, second, observed, resamples, seed)
    return PairedTest(observed, low, high, p_value, len(first[0]))


def _ends(spread: np.ndarray, level: float) -> tuple[float, float]:
    """The two percentiles between which the share `level` of a resampled score lies."""
    known = spread[np.isfinite(spread)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)


def _swap_p_value(
    first: tuple[np.ndarray, np.ndarray],
    second: tuple[np.ndarray, np.ndarray],
    observed: float,
    resamples: int,
    seed: int,
) -> float:
    if not np.isfinite(observed):
        return float("nan")
    top, bottom = first[0] - second[0], first[1] - second[1]
    differs = np.flatnonzero((top != 0) | (bottom != 0))
    exact = len(differs) <= EXACT_LIMIT
    rows = 2 ** len(differs) if exact else resamples
    rng = np.random.default_rng(seed)
    at_least = 0
    for start, size in _chunks(rows, len(differs)):
        if exact:
            swaps = ((np.arange(start, start + size)[:, None] >> np.arange(len(differs))) & 1).astype(float)
        else:
            swaps = rng.integers(0, 2, (size, len(differs))).astype(float)
        moved_top, moved_bottom = swaps @ top[differs], swaps @ bottom[differs]
        swapped = _ratio(first[0].sum() - moved_top, first[1].sum() - moved_bottom)
        swapped -= _ratio(second[0].sum() + moved_top, second[1].sum() + moved_bottom)
        # Rounding must not turn an equal difference into a smaller one.
        at_least += int((np.abs(swapped) >= abs(observed) - 1e-12).sum())
    return at_least / rows if exact else (at_least + 1) / (rows + 1)


def _resampled(numerators: np.ndarray, denominators: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Ratios of the resampled sums, ``(resamples, scores)``."""
    n_images = len(numerators)
    rng = np.random.default_rng(seed)
    parts = []
    for _, size in _chunks(resamples, n_images):
        weights = rng.multinomial(n_images, np.full(n_images, 1 / n_images), size).astype(float)
        parts.append(_ratio(weights @ numerators, weights @ denominators))
    return np.concatenate(parts)


def _chunks(rows: int, columns: int) -> list[tuple[int, int]]:
    """(start, size) of slices of `rows` that keep ``size * columns`` within `CELLS_AT_ONCE`."""
    step = max(1, CELLS_AT_ONCE // max(1, columns))
    return [(start, min(step, rows - start)) for start in range(0, rows, step)]


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Quotient with NaN where nothing lies below the line."""
    empty = bottom == 0
    return np.where(empty, np.nan, top / np.where(empty, 1, bottom))
