"""Facts about the classes (organs) of a data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32
from pydantic import Field

from morula.data.dataset import default_class_name
from morula.data.sample import Image
from morula.errors import InputError
from morula.labels.components import connected_components
from morula.spec import Spec
from morula.types import Labels

VOXELS_PER_IMAGE = 10_000
"""Intensities that are kept of an image's classes, evenly spread."""

CLIP_PERCENTILES = (0.5, 99.5)
"""Of the intensities inside classes: what lies beyond is clipped on a fixed scale (nnU-Net, system E)."""


class ClassFacts(Spec, frozen=True):
    """One class over all labelled images."""

    name: str
    label: int = Field(ge=1)
    n_images: int
    """Images that show it."""

    n_whole: int
    """Images in which it is one connected piece (across faces)."""

    share: float
    """Mean share of the pixels, in the images that show it."""


@dataclass(frozen=True)
class ClassSample:
    """The classes of one image."""

    pieces: dict[int, int]
    """Connected pieces of each class by its label."""

    shares: dict[int, float]
    """Share of the pixels of each class by its label."""

    intensities: Float32[np.ndarray, "channels _"]
    """Some of the intensities inside classes."""


def measure_classes(image: Image, labels: Labels) -> ClassSample:
    """Measure the classes of one image."""
    pieces = connected_components(labels)
    owner = np.zeros(int(pieces.max(initial=0)) + 1, np.int64)
    owner[pieces.ravel()] = np.maximum(labels, 0).ravel()
    ids, counts = np.unique(owner[1:], return_counts=True)
    sizes = np.bincount(np.searchsorted(ids, labels[labels > 0]), minlength=len(ids))
    inside = np.flatnonzero(labels > 0)
    chosen = inside[:: max(1, -(-len(inside) // VOXELS_PER_IMAGE))]
    return ClassSample(
        dict(zip(ids.tolist(), counts.tolist(), strict=True)),
        dict(zip(ids.tolist(), (sizes / labels.size).tolist(), strict=True)),
        image.pixels.reshape(len(image.pixels), -1)[:, chosen].astype(np.float32),
    )


def class_facts(samples: Sequence[ClassSample], names: Mapping[str, int]) -> tuple[ClassFacts, ...]:
    """Every class in the order of its label; without names they are called ``class 1`` and so on.

    Raises:
        InputError: A label has no name while others have one, or there is no class at all.
    """
    found = sorted({label for sample in samples for label in sample.pieces})
    known = {label: name for name, label in names.items()} or {
        label: default_class_name(label) for label in found
    }
    strange = [label for label in found if label not in known]
    if strange or not found:
        have = ", ".join(f"{label} {name}" for label, name in known.items()) or "none"
        what = f"hold the label {strange[0]}, which has no name" if strange else "hold no class"
        msg = (
            f"the labels {what}; the classes are: {have}. Mend [classes] in dataset.toml (or --set classes), "
            "or the labels."
        )
        raise InputError(msg)
    rows = []
    for label in sorted(known):
        shares = [sample.shares[label] for sample in samples if label in sample.shares]
        rows.append(
            ClassFacts(
                name=known[label],
                label=label,
                n_images=len(shares),
                n_whole=sum(sample.pieces.get(label) == 1 for sample in samples),
                share=round(float(np.mean(shares)), 6) if shares else 0.0,
            )
        )
    return tuple(rows)


def class_intensities(samples: Sequence[ClassSample]) -> tuple[tuple[float, float, float, float], ...]:
    """Per channel: the `CLIP_PERCENTILES`, mean and deviation inside classes, over all images.

    Empty when the images differ in their number of channels.
    """
    if len({len(sample.intensities) for sample in samples}) != 1:
        return ()
    rows = []
    for channel in np.concatenate([sample.intensities for sample in samples], 1):
        finite = channel[np.isfinite(channel)].astype(np.float64)
        if not len(finite):
            return ()
        low, high = np.percentile(finite, CLIP_PERCENTILES)
        row = (float(low), float(high), float(finite.mean()), float(finite.std()))
        rows.append(tuple(float(f"{value:.6g}") for value in row))
    return tuple(rows)
