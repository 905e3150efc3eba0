"""What can be wrong with the labels of one image."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from morula.data.problems import Problem, problem
from morula.types import Labels

SMALL_PX = {2: 5, 3: 10}
"""Objects of fewer pixels than this are more often slips of the brush than objects, per number of axes."""

_BINARY_PIECES = 3
"""So many pieces under one and the same id are a mask rather than an object."""


@dataclass(frozen=True)
class Labelling:
    """The labels of one image, as stored and as read, with what all checks need."""

    path: Path
    """The label file."""

    stored: np.dtype
    """Number type in the file."""

    labels: Labels
    """Ids ``(*spatial)``."""

    ids: np.ndarray
    """The ids of the objects, ascending."""

    sizes: np.ndarray
    """Pixels of each object."""

    pieces: np.ndarray
    """Number of connected pieces of each object."""

    strays: np.ndarray
    """Pixels of each object outside its largest piece."""


def measure_labelling(path: Path, stored: np.dtype, labels: Labels) -> Labelling:
    """Count the pixels and pieces (touching across corners is connected) of every object."""
    from morula.labels.components import connected_components  # numba takes half a second to import

    components = connected_components(labels, labels.ndim)
    count = int(components.max(initial=0))
    owner = np.zeros(count + 1, np.int64)
    owner[components] = labels
    piece_sizes = np.bincount(components.ravel(), minlength=count + 1)[1:]
    ids, which = np.unique(owner[1:], return_inverse=True)
    sizes = np.bincount(which, piece_sizes, len(ids)).astype(np.int64)
    largest = np.zeros(len(ids), np.int64)
    np.maximum.at(largest, which, piece_sizes)
    pieces = np.bincount(which, minlength=len(ids))
    return Labelling(path, stored, labels, ids, sizes, pieces, sizes - largest)


def check_labels(labelling: Labelling, sample: str, classes: Collection[int] | None = None) -> list[Problem]:
    """The problems of the labels of one image, once they are read.

    Args:
        labelling: The labels.
        sample: Id of their image.
        classes: The labels that have a name (none: any will do) where labels are classes; None: they are ids
            of objects. A class may lie in many pieces, and be one of a few pixels.
    """
    both: tuple[Callable[[Labelling], tuple[str, str]], ...] = (_float_ids, _any_object, _background)
    objects = (_binary, _pieces, _overflow, _small)
    if classes is None:
        found = [check(labelling) for check in (*both, *objects)]
    else:
        found = [*(check(labelling) for check in both), _unnamed(labelling, classes)]
    path = labelling.path
    return [problem(kind, path, f"{path} {message}", sample) for kind, message in found if kind]


def _float_ids(labelling: Labelling) -> tuple[str, str]:
    if labelling.stored.kind != "f":
        return "", ""
    return (
        "float labels",
        f"stores its ids as {labelling.stored}. They are whole, so they are used; save integers.",
    )


def _any_object(labelling: Labelling) -> tuple[str, str]:
    if len(labelling.ids):
        return "", ""
    if (labelling.labels < 0).all():
        return (
            "nothing annotated",
            "holds nothing but the ignore label. Annotate it, or remove the label file.",
        )
    return (
        "no objects",
        "holds no object. Right if the image shows none; else annotate it, or remove the label file.",
    )


def _background(labelling: Labelling) -> tuple[str, str]:
    if not len(labelling.ids) or (labelling.labels <= 0).any():
        return "", ""
    biggest = int(labelling.ids[labelling.sizes.argmax()])
    where = np.nonzero(labelling.labels == biggest)
    spans = [int(np.ptp(along)) + 1 for along in where]
    if spans != list(labelling.labels.shape):
        return "", ""
    return (
        "labelled background",
        f"holds no 0, and id {biggest} reaches from edge to edge. Is that the background? Store it as 0.",
    )


def _unnamed(labelling: Labelling, classes: Collection[int]) -> tuple[str, str]:
    strange = sorted(set(labelling.ids.tolist()) - set(classes)) if classes else []
    if not strange:
        return "", ""
    return (
        "unnamed class",
        f"holds the label {_some(np.array(strange))}, which is no class; the data set names"
        f" {_some(np.array(sorted(classes)), 30)}. Name it in [classes] of dataset.toml (or dataset.json),"
        " or mend the labels.",
    )


def _is_binary(labelling: Labelling) -> bool:
    return len(labelling.ids) == 1 and int(labelling.pieces[0]) >= _BINARY_PIECES


def _binary(labelling: Labelling) -> tuple[str, str]:
    if not _is_binary(labelling):
        return "", ""
    return (
        "binary mask",
        f"holds a single id ({labelling.ids[0]}) in {labelling.pieces[0]} separate pieces: a mask of all"
        " objects rather than one id per object? Number the objects (connected components, if none touch).",
    )


def _pieces(labelling: Labelling) -> tuple[str, str]:
    torn = np.flatnonzero(labelling.pieces > 1)
    if not len(torn) or _is_binary(labelling):
        return "", ""
    return (
        "several pieces",
        f"has objects in several pieces: {len(torn)} (ids {_some(labelling.ids[torn])}; stray pixels:"
        f" {int(labelling.strays[torn].sum())}). Remove the strays, or give each piece an id of its own.",
    )


def _overflow(labelling: Labelling) -> tuple[str, str]:
    if labelling.stored.kind not in "ui" or labelling.stored.itemsize > 2:
        return "", ""
    top = int(np.iinfo(labelling.stored).max)
    if len(labelling.ids) < top - 1 or labelling.ids[-1] < top - 1:
        return "", ""
    return (
        "8-bit overflow",
        f"uses every id that {labelling.stored} can store, up to {labelling.ids[-1]}: further objects seem"
        " to have been folded onto these. Export the labels with more bits.",
    )


def _small(labelling: Labelling) -> tuple[str, str]:
    limit = SMALL_PX[labelling.labels.ndim]
    small = np.flatnonzero(labelling.sizes < limit)
    if not len(small):
        return "", ""
    return (
        "very small objects",
        f"has objects of fewer than {limit} pixels: {len(small)} (ids {_some(labelling.ids[small])})."
        " Remove them if they are slips of the brush.",
    )


def _some(ids: np.ndarray, most: int = 5) -> str:
    more = ", ..." if len(ids) > most else ""
    return ", ".join(str(number) for number in ids[:most]) + more
