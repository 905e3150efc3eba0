"""How sure the network was of each object, from its maps and the decoded labels; no truth is needed.

The confidence of an object is the mean foreground probability of its pixels times the clarity of its outline.
Clarity is measured at every face between the object and another pixel: towards background it is the drop of
the foreground probability from one pixel before to one pixel behind the face; towards a touching object it is
the border probability there, where the representation predicts one (other such faces are not counted).
Where a `morula.prediction.scorer` chose the objects, it is the quality that this gave them.
"""

from typing import no_type_check

import numpy as np
from jaxtyping import Float32, Float64
from numba import njit

from morula.representations import Head, Representation
from morula.representations.star_convex import StarConvex
from morula.representations.union import Union
from morula.types import Labels, Maps, Scalar

BORDER_HEADS = ("borders", "border", "touching")
"""Names of sigmoid heads that are high between touching objects."""

_STAR_GAIN = 4.0
"""A star's probability falls linearly from its centre to its outline: a quarter of the way in is inside."""

Sums = Float64[np.ndarray, "_ 4"]
"""Per id: pixels, sum of foreground probability, faces, sum of clarity. Sums of parts of an image add up."""


def confidence(maps: Maps, labels: Labels, representation: Representation) -> dict[int, float]:
    """Per object, between 0 and 1, how sure the network was of it.

    Args:
        maps: Activated maps of the whole image, at least those that the representation decodes.
        labels: The instances that were decoded from them, ``(*spatial)``.
        representation: Says which map is which.
    """
    foreground, border = evidence(maps, representation, labels.shape)
    sums = evidence_sums(labels, foreground, border, (0, labels.shape[0]))
    scores = score(sums)
    return {int(id_): float(scores[id_]) for id_ in np.flatnonzero(sums[:, 0]) if id_}


def decoding_part(representation: Representation) -> Representation:
    """The representation that reads the instances back: a union's chosen part, else itself."""
    if isinstance(representation, Union):
        return representation.parts[representation.decoder]
    return representation


def needed_heads(representation: Representation, ndim: int) -> tuple[Head, ...]:
    """The heads that decoding reads; no other needs to be blended."""
    heads = representation.heads(ndim)
    if representation.task == "semantic":
        # Distances of classes are learnt for the network's own sake.
        return tuple(head for head in heads if head.activation == "softmax")
    if not isinstance(representation, Union):
        return heads
    names = representation.decoding_heads(ndim)
    return tuple(head for head in heads if head.name in names)


def evidence(
    maps: Maps, representation: Representation, shape: tuple[int, ...]
) -> tuple[Scalar, Scalar | None]:
    """The foreground probability, and the border probability where there is one, both of spatial `shape`."""
    gain = _STAR_GAIN if isinstance(decoding_part(representation), StarConvex) else 1.0
    inside: list[Scalar] = []
    between: list[Scalar] = []
    for head in needed_heads(representation, len(shape)):
        values = maps[head.name]
        if head.activation == "softmax":
            inside.append(_on_grid(1 - values[0], head.stride, shape))
            if head.channels > 2:
                between.append(_on_grid(values[-1], head.stride, shape))
        elif head.activation == "sigmoid":
            where = between if head.name.split(".")[-1] in BORDER_HEADS else inside
            if not where:
                share = values[0] if gain == 1 else np.minimum(values[0] * gain, 1)
                where.append(_on_grid(share, head.stride, shape))
        elif not head.directions:
            # A signed distance is 0 on the outline, 1 in the middle: a quarter of the way in is inside.
            inside.append(_on_grid(np.clip(2 * values[0] + 0.5, 0, 1), head.stride, shape))
    foreground = inside[0] if inside else np.ones(shape, np.float32)
    return foreground, between[0] if between else None


def _on_grid(values: Scalar, stride: int, shape: tuple[int, ...]) -> Scalar:
    if values.shape == shape:
        return np.ascontiguousarray(values, np.float32)
    for axis in range(values.ndim):
        values = np.repeat(values, stride, axis)
    return np.ascontiguousarray(values[tuple(slice(n) for n in shape)], np.float32)


def score(sums: Sums) -> np.ndarray:
    """Confidence per id, float64 ``(ids,)``, from `evidence_sums`; 0 where an id has no pixel."""
    pixels, inside, faces, clarity = sums.T
    mean = inside / np.maximum(pixels, 1)
    return np.clip(mean * np.where(faces > 0, clarity / np.maximum(faces, 1), 1.0), 0, 1)


def evidence_sums(labels: Labels, foreground: Scalar, border: Scalar | None, rows: tuple[int, int]) -> Sums:
    """What `score` needs, for the part of every object that lies in `rows` of the first spatial axis.

    Args:
        labels: Ids ``(*spatial)``; those below 1 are background.
        foreground: Foreground probability ``(*spatial)``.
        border: Probability of a border between touching objects ``(*spatial)``, or None.
        rows: First row and the row after the last.
    """
    # Rows, planes, columns: 2D is a volume one plane thick, with its rows first.
    shape = (labels.shape[0], 1 if labels.ndim == 2 else labels.shape[1], labels.shape[-1])
    has_border = border is not None
    other = (border if has_border else foreground).reshape(shape)  # pyright: ignore[reportOptionalMemberAccess]
    highest = int(labels.max(initial=0))
    return _sums(labels.reshape(shape), foreground.reshape(shape), other, has_border, rows, highest)


def quality_sums(labels: Labels, quality: Float32[np.ndarray, " objects"], rows: tuple[int, int]) -> Sums:
    """Sums of which `score` makes the quality itself, weighted by area where an object lies in several parts.

    Args:
        labels: Ids ``(*spatial)`` from 1 to the number of objects; 0 is background.
        quality: Of every object, between 0 and 1.
        rows: First row and the row after the last.
    """
    sums = np.zeros((len(quality) + 1, 4))
    sums[:, 0] = _count(labels[slice(*rows)].reshape(-1), len(sums))
    sums[1:, 1] = sums[1:, 0] * quality
    return sums


def doubt_sums(
    labels: Labels, foreground: Scalar, border: Scalar | None, rows: tuple[int, int]
) -> Float64[np.ndarray, " 3"]:
    """How much foreground there is in `rows`, how much of it no object explains, and how much is undecided.

    Args:
        labels: Ids ``(*spatial)``; those below 1 are background.
        foreground: Foreground probability ``(*spatial)``.
        border: Probability of a border between touching objects ``(*spatial)``, or None.
        rows: First row and the row after the last.

    Returns:
        Sums over pixels: of the foreground probability p, of p outside objects, and of min(q, 1 - q), where q
        is the border probability (the foreground probability where no border is predicted). Sums of parts of
        an image add up.
    """
    inside = slice(*rows)
    p = foreground[inside].reshape(-1)
    q = p if border is None else border[inside].reshape(-1)
    return _doubts(np.ascontiguousarray(labels[inside]).reshape(-1), p, q)


@njit(cache=True, nogil=True)
@no_type_check
def _count(labels, n):
    counts = np.zeros(n)
    for label in labels:
        counts[label] += 1
    return counts


@njit(cache=True, nogil=True)
@no_type_check
def _doubts(labels, foreground, border):
    sums = np.zeros(3)
    for i in range(labels.size):
        sums[0] += foreground[i]
        if labels[i] <= 0:
            sums[1] += foreground[i]
        sums[2] += min(border[i], 1 - border[i])
    return sums


@njit(cache=True, nogil=True)
@no_type_check
def _sums(labels, foreground, border, has_border, rows, highest):  # noqa: C901 - one pass, six faces
    sums = np.zeros((highest + 1, 4))
    size = labels.shape
    step = np.array([(0, 0, 1), (0, 0, -1), (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0)])
    for a in range(rows[0], rows[1]):
        for b in range(size[1]):
            for c in range(size[2]):
                label = labels[a, b, c]
                if label <= 0:
                    continue
                sums[label, 0] += 1
                sums[label, 1] += foreground[a, b, c]
                for k in range(6):
                    i, j, m = a + step[k, 0], b + step[k, 1], c + step[k, 2]
                    if not (0 <= i < size[0] and 0 <= j < size[1] and 0 <= m < size[2]):
                        continue
                    other = labels[i, j, m]
                    if other == label:
                        continue
                    if other > 0:
                        if has_border:
                            sums[label, 2] += 1
                            sums[label, 3] += max(border[a, b, c], border[i, j, m])
                        continue
                    high, low = foreground[a, b, c], foreground[i, j, m]
                    p, q, r = a - step[k, 0], b - step[k, 1], c - step[k, 2]
                    inside = 0 <= p < size[0] and 0 <= q < size[1] and 0 <= r < size[2]
                    if inside and labels[p, q, r] == label:
                        high = foreground[p, q, r]
                    p, q, r = i + step[k, 0], j + step[k, 1], m + step[k, 2]
                    inside = 0 <= p < size[0] and 0 <= q < size[1] and 0 <= r < size[2]
                    if inside and labels[p, q, r] <= 0:
                        low = foreground[p, q, r]
                    sums[label, 2] += 1
                    sums[label, 3] += max(0.0, high - low)
    return sums
