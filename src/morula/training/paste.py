"""Objects of one patch in another: where they lie (copy-paste), or so that they touch (conglomerates)."""

import numpy as np

from morula.labels.extents import extents
from morula.types import Labels, Map, Mask

Rng = np.random.Generator

LARGEST_CONGLOMERATE = 8
"""Objects that are moved into a patch at most."""


def paste_objects(
    image: Map, labels: Labels, other: tuple[Map, Labels], rng: Rng, share: float = 0.5
) -> tuple[Map, Labels]:
    """Copy-paste: a random share of another patch's objects replaces what lies below them.

    Ghiasi et al. 2021, https://arxiv.org/abs/2012.07177.

    Args:
        image: Float32 ``(C, *spatial)``.
        labels: ``(*spatial)``.
        other: Image and labels of another patch of the same shape.
        rng: Source of all randomness.
        share: Chance of each object to be pasted.
    """
    other_image, other_labels = other
    ids = np.unique(other_labels)
    ids = ids[ids > 0]
    chosen = ids[rng.random(len(ids)) < share]
    if not len(chosen):
        return image, labels
    table = np.zeros(int(ids[-1]) + 1, np.int32)
    table[chosen] = np.arange(len(chosen), dtype=np.int32) + int(max(labels.max(), 0)) + 1
    pasted = table[np.maximum(other_labels, 0)]
    over = pasted > 0
    return np.where(over, other_image, image), np.where(over, pasted, labels).astype(np.int32)


def make_conglomerates(image: Map, labels: Labels, other: tuple[Map, Labels], rng: Rng) -> tuple[Map, Labels]:
    """Synthetic conglomerates: objects of another patch are moved up against objects of this one.

    Each is moved in a random direction away from a pixel of an object of this patch, until it just no longer
    overlaps it; where it would lie on a third one it is left out. System C names it as future work and leaves
    open how.

    Args:
        image: Float32 ``(C, *spatial)``.
        labels: ``(*spatial)``.
        other: Image and labels of another patch of the same shape; objects that its edge may cut are left.
        rng: Source of all randomness.

    Returns:
        Image and labels with up to `LARGEST_CONGLOMERATE` further objects, new arrays.
    """
    image, labels = image.copy(), labels.copy()
    hosts, guests = extents(labels), extents(other[1])
    whole = (guests.low > 0).all(1) & (guests.high < other[1].shape).all(1)
    rows = rng.permutation(np.flatnonzero(whole))[: rng.integers(1, LARGEST_CONGLOMERATE + 1)]
    for row in rows if len(hosts.ids) else ():
        window = guests.window(int(row))
        guest = other[1][window] == guests.ids[row]
        host = labels == rng.choice(hosts.ids)
        into, part = _overlap(_beside(host, guest, rng), guest.shape, labels.shape)
        shown = guest[part]
        if shown.any() and not (labels[into][shown] > 0).any():
            image[:, *into][:, shown] = other[0][:, *window][:, *part][:, shown]
            labels[into][shown] = labels.max() + 1
    return image, labels


def _beside(host: Mask, guest: Mask, rng: Rng) -> np.ndarray:
    """Where the first pixel of `guest`'s box lies when it has been moved out of `host`; may lie outside."""
    direction = rng.normal(size=host.ndim)
    direction /= np.linalg.norm(direction)
    anchor, own = (places[rng.integers(len(places))] for places in (np.argwhere(host), np.argwhere(guest)))
    corner = start = anchor - own
    for step in range(1, sum(host.shape) + sum(guest.shape)):
        into, part = _overlap(corner, guest.shape, host.shape)
        if not (host[into] & guest[part]).any():
            break
        corner = np.rint(start + step * direction).astype(int)
    return corner


def _overlap(
    corner: np.ndarray, size: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The part of an array of `shape` that a box at `corner` covers, and that part of the box."""
    low = np.clip(corner, 0, shape)
    high = np.maximum(np.clip(corner + size, 0, shape), low)
    into = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    part = tuple(slice(int(a), int(b)) for a, b in zip(low - corner, high - corner, strict=True))
    return into, part
