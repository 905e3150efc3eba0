"""Which images look alike: given by the index, else found from simple intensity and colour features."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64, Num

from morula.data.sample import is_replicated

FEATURES = ("colour", "skew", "median", "spread")
"""What `features` measures; each lies roughly between -1 and 1."""

APPEARANCE = (*FEATURES, "steepness")
"""What `appearance` measures."""

MAX_CLUSTERS = 4
"""More kinds of image than this are not told apart."""

_PIXELS = 1 << 16
_LINES = 1 << 18


def features(pixels: Num[np.ndarray, "_ *_"]) -> Float64[np.ndarray, " _"]:
    """Four numbers that tell kinds of microscopy apart, whatever the bit depth and the image size.

    Colour is the mean difference between the channels; skew says on which side of the median the rare
    intensities lie (bright objects on dark: near 1); median and spread are taken on the scale from
    the 0.1 to the 99.9 percentile.

    Args:
        pixels: ``(C, *spatial)``; large images are looked at on a regular grid.
    """
    pixels = _seen_once(pixels)
    side = round(_PIXELS ** (1 / (pixels.ndim - 1)))
    steps = tuple(slice(None, None, max(1, size // side)) for size in pixels.shape[1:])
    values = _finite(pixels[(slice(None), *steps)])
    low, high = np.percentile(values, (0.1, 99.9))
    if high <= low:
        return np.zeros(len(FEATURES))
    values = np.clip((values - low) / (high - low), 0, 1)
    colour = float(np.ptp(values, axis=0).mean()) if len(values) > 1 else 0.0
    p5, p50, p95 = np.percentile(values.mean(0), (5, 50, 95))
    skew = (p95 + p5 - 2 * p50) / max(p95 - p5, 1e-6)
    return np.array([2 * colour, skew, p50, p95 - p5])


def appearance(pixels: Num[np.ndarray, "_ *_"]) -> Float64[np.ndarray, " _"]:
    """`features` and steepness: what tells images of another kind, a photograph, say, or a page of text.

    Steepness is the 99 percentile of the difference between neighbours along the last axis, as a share of the
    range from the 0.1 to the 99.9 percentile. A microscope's optics blur every edge over several pixels (0.05
    to 0.25), noise and print are not blurred (0.5 to 1).

    Args:
        pixels: ``(C, *spatial)``; of large images every few lines are looked at.
    """
    pixels = _seen_once(pixels)
    flat = pixels.reshape(-1, *pixels.shape[-2:])
    lines = flat[:, :: max(1, flat.shape[1] * flat.shape[2] * len(flat) // _LINES)]
    values = _finite(lines)
    low, high = np.percentile(values, (0.1, 99.9))
    steps = np.abs(np.diff(np.clip(values, low, high)))
    steepness = float(np.percentile(steps, 99)) / (high - low) if high > low and steps.size else 0.0
    return np.array([*features(pixels), steepness])


def _finite(pixels: Num[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
    """With the median in place of what is no finite number; 0 where nothing is."""
    values = pixels.astype(np.float64)
    good = np.isfinite(values)
    return values if good.all() else np.where(good, values, np.median(values[good]) if good.any() else 0.0)


def _seen_once(pixels: Num[np.ndarray, "_ *_"]) -> Num[np.ndarray, "_ *_"]:
    """One channel of a grey image that fills several; other images as they are."""
    return pixels[:1] if is_replicated(pixels) else pixels


def inverted(row: Float64[np.ndarray, " _"]) -> Float64[np.ndarray, " _"]:
    """`appearance` of the negative of an image, from that of the image."""
    colour, skew, median, spread, steepness = row
    return np.array([colour, -skew, 1 - median, spread, steepness])


def cluster(table: Float64[np.ndarray, "n _"], *, worth: float = 0.5) -> Int64[np.ndarray, " n"]:
    """Group rows of `features` by k-means with as many groups as pay, deterministically.

    A further group must lower the squared distances to the centres by the share `worth`, and no group
    may hold less than 2 % of the rows. Starts from the farthest points (no random draw).

    Returns:
        Group of each row, 0 to k - 1, the largest group first.
    """
    groups = np.zeros(len(table), np.int64)
    cost = _cost(table, groups)
    for k in range(2, min(MAX_CLUSTERS, len(table)) + 1):
        candidate = _k_means(table, k)
        sizes = np.bincount(candidate, minlength=k)
        new_cost = _cost(table, candidate)
        # Below a deviation of 0.1 the rows are one kind of image with ordinary scatter.
        if cost < 0.01 * len(table) or new_cost > (1 - worth) * cost or sizes.min() < 0.02 * len(table):
            break
        groups, cost = candidate, new_cost
    order = np.argsort(-np.bincount(groups, minlength=groups.max(initial=0) + 1), kind="stable")
    return np.argsort(order)[groups].astype(np.int64)


def modality_names(given: Sequence[str], table: Float64[np.ndarray, "n _"]) -> tuple[str, ...]:
    """One modality name per image: as given, else ``kind 1``, ``kind 2`` ... by `cluster`.

    Args:
        given: The index's name per image, "" where it says nothing.
        table: `features` per image.
    """
    missing = np.array([not name for name in given], bool)
    names = list(given)
    if missing.any():
        for position, group in zip(np.flatnonzero(missing), cluster(table[missing]), strict=True):
            names[position] = f"kind {group + 1}"
    return tuple(names)


def _k_means(table: np.ndarray, k: int, rounds: int = 30) -> np.ndarray:
    centres = table[[int(np.argmin(((table - table.mean(0)) ** 2).sum(1)))]]
    while len(centres) < k:
        distances = ((table[:, None] - centres) ** 2).sum(-1).min(1)
        centres = np.concatenate([centres, table[[int(distances.argmax())]]])
    groups = np.zeros(len(table), np.int64)
    for _ in range(rounds):
        groups = ((table[:, None] - centres) ** 2).sum(-1).argmin(1)
        present = [table[groups == g].mean(0) if (groups == g).any() else centres[g] for g in range(k)]
        if np.allclose(present, centres):
            break
        centres = np.array(present)
    return groups


def _cost(table: np.ndarray, groups: np.ndarray) -> float:
    return float(
        sum(((table[groups == g] - table[groups == g].mean(0)) ** 2).sum() for g in np.unique(groups))
    )
