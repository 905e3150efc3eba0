"""Images and labels on the working grid, normalised, as arrays that training maps into memory."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from morula.data.dataset import Dataset
from morula.data.files import write_atomic, write_text
from morula.data.sample import Image, Sample
from morula.errors import InputError
from morula.labels.measure import diameters
from morula.labels.renumber import renumber
from morula.labels.resample import resample_labels
from morula.planning.modality import FEATURES, features, modality_names
from morula.planning.plan import Plan
from morula.preprocessing.geometry import (
    nearest,
    plane_axis,
    resample,
    resample_cubic,
    select_channels,
    working_shape,
)
from morula.preprocessing.intensity import normalize
from morula.preprocessing.specimen import specimen
from morula.types import Labels

_FORMAT = 6
"""Raised when the meaning of the cached arrays changes: older ones are then written anew."""


@dataclass(frozen=True)
class Prepared:
    """One sample on the working grid."""

    id: str
    """As in the dataset."""

    image: Path
    """``.npy``, float16 ``(C, *spatial)``, normalised."""

    labels: Path | None
    """``.npy``, int32 ``(*spatial)``: ids 1 to n, or classes; -1 where not annotated. None: unlabelled."""

    attributes: dict[str, str]
    """Further columns of the dataset's index."""

    modality: str
    """From the index, else the group of images that look alike."""

    diameter_px: float
    """Median object diameter in working pixels; 0 without objects."""

    maps: Mapping[str, Path] = field(default_factory=dict)
    """``.npy``, float32 ``(1, *spatial)`` per name: what `Representation.image_maps` made of the labels."""

    features: tuple[float, ...] = ()
    """As `morula.planning.modality.features` measures them."""


def prepare(
    dataset: Dataset,
    samples: Sequence[Sample],
    plan: Plan,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Prepared, ...]:
    """Write ``image.npy``, ``labels.npy`` and the representation's ``NAME.map.npy`` into ``folder/ID``.

    What is there already, from the same files and the same decisions, is kept; an interrupted call goes
    on where it stopped.

    Args:
        dataset: Where the samples come from.
        samples: Which of them.
        plan: Only its channels, scaling, normalisation and representation matter here.
        folder: Of this run; with other decisions its arrays are written anew.
        progress: Called with (done, total) after every sample.

    Raises:
        InputError: A sample cannot be read, does not fit the plan, or its labels do not fit its image.
    """
    metas = []
    for done, sample in enumerate(samples, start=1):
        metas.append(_prepare_sample(dataset, sample, plan, folder))
        if progress is not None:
            progress(done, len(samples))
    return name_modalities(
        Prepared(
            id=sample.id,
            image=folder / sample.id / "image.npy",
            labels=folder / sample.id / "labels.npy" if sample.labels else None,
            attributes=dict(sample.attributes),
            modality="",
            diameter_px=float(meta["diameter_px"]),
            maps={name: folder / sample.id / f"{name}.map.npy" for name in meta["maps"]},
            features=tuple(map(float, meta["features"])),
        )
        for sample, meta in zip(samples, metas, strict=True)
    )


def name_modalities(samples: Iterable[Prepared]) -> tuple[Prepared, ...]:
    """The samples with their modalities named: by the index, else by groups of all those that look alike.

    ``kind 1`` means nothing beyond the samples that are named together; sets that are joined are named anew.
    """
    samples = tuple(samples)
    table = np.array([sample.features for sample in samples], np.float64).reshape(-1, len(FEATURES))
    names = modality_names([sample.attributes.get("modality", "") for sample in samples], table)
    return tuple(replace(sample, modality=name) for sample, name in zip(samples, names, strict=True))


def _prepare_sample(dataset: Dataset, sample: Sample, plan: Plan, folder: Path) -> dict[str, Any]:
    """Prepare one sample unless it lies there already; returns what its ``meta.json`` says."""
    target = folder / sample.id
    key = _key(dataset, sample, plan)
    try:
        meta = json.loads((target / "meta.json").read_text(encoding="utf-8"))
        if meta["key"] == key:
            return meta
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there, or broken: written anew
    try:
        arrays, meta = _working_arrays(dataset, sample, plan)
    except InputError as error:
        msg = f"{sample.id}: {error}"
        raise InputError(msg) from error
    _write_sample(target, arrays, {"key": key, **meta})
    return meta


def _working_arrays(
    dataset: Dataset, sample: Sample, plan: Plan
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    image = specimen(dataset.image(sample), plan.channels)
    labels = dataset.labels(sample) if sample.labels else None
    pixels, labels = to_working_grid(image, labels, plan)
    arrays = {"image": pixels.astype(np.float16)}
    maps, diameter = {}, 0.0
    if labels is not None:
        # Files may hold ids of any size; training wants tables by id, and ids that a float32 holds.
        arrays["labels"] = labels if plan.task == "semantic" else renumber(labels)
        sizes = diameters(labels)
        diameter = float(np.median(sizes)) if len(sizes) else 0.0
        maps = plan.representation.image_maps(arrays["labels"], plan.working_spacing)
    arrays |= {f"{name}.map": array for name, array in maps.items()}
    facts = {"features": features(image.pixels).tolist(), "diameter_px": diameter, "maps": list(maps)}
    return arrays, facts


def to_working_grid(image: Image, labels: Labels | None, plan: Plan) -> tuple[np.ndarray, Labels | None]:
    """Image float32 ``(C, *spatial)`` and labels as the network sees them: channels, intensity, grid.

    Raises:
        InputError: The image does not fit the plan, or the labels do not fit the image.
    """
    shape = image.pixels.shape[1:]
    if labels is not None and labels.shape != shape:
        msg = f"the labels have shape {labels.shape}, the image {shape}; export them on the same grid."
        raise InputError(msg)
    working = working_shape(shape, plan, image.spacing_um, None)
    pixels = normalize(select_channels(image, plan.channels), plan.normalization)
    if plan.scaling.interpolation == "cubic":
        across = plane_axis(plan, image.spacing_um)
        pixels = resample_cubic(pixels, working, across)
        if labels is not None and across is not None:
            # The planes that the image shows.
            labels = labels.take(nearest(shape[across], working[across]), across)
    else:
        pixels = resample(pixels, working)
    return pixels, None if labels is None else resample_labels(labels, working)


def _key(dataset: Dataset, sample: Sample, plan: Plan) -> str:
    """Changes with every decision and file that the arrays depend on."""
    facts: Mapping[str, Any] = {
        "format": _FORMAT,
        "channels": plan.channels,
        "scaling": plan.scaling.model_dump(exclude={"diameter_px"}),
        "normalization": plan.normalization.model_dump(),
        "representation": plan.representation.model_dump(),
        "task": plan.task,
        "ignore_label": dataset.ignore_label,
        "read": [dataset.axes, dataset.channels, dataset.spacing_um],
        "files": [[str(path), *_stamp(path)] for path in (*sample.image, *sample.labels)],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _stamp(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return (0, 0)  # reading it will say what is wrong
    return (stat.st_size, stat.st_mtime_ns)


def _write_sample(target: Path, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
    """Each file appears whole; ``meta.json`` goes first and comes last, so it vouches for the others."""
    try:
        (target / "meta.json").unlink(missing_ok=True)
    except OSError as error:
        msg = f"cannot write to {target}: {error}. Choose another folder."
        raise InputError(msg) from error
    for name, array in arrays.items():
        with write_atomic(target / f"{name}.npy") as part, part.open("wb") as file:
            np.save(file, array)
    write_text(target / "meta.json", json.dumps(meta))
