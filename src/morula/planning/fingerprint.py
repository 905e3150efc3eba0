"""Facts about a dataset: everything that planning may look at, and no decision."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from pydantic import Field

from morula.data.dataset import Dataset
from morula.data.sample import Image, Sample
from morula.errors import InputError
from morula.planning.classes import (
    ClassFacts,
    ClassSample,
    class_facts,
    class_intensities,
    measure_classes,
)
from morula.planning.machine import has_bfloat16
from morula.planning.modality import features, modality_names
from morula.planning.objects import ObjectFacts, measure_objects
from morula.representations import Task
from morula.spec import Spec, validate
from morula.types import Spacing


class Distribution(Spec, frozen=True):
    """How a number is distributed; all zero when there is none."""

    n: int = 0
    """How many values there are."""

    p1: float = 0.0
    p5: float = 0.0
    p25: float = 0.0
    p50: float = 0.0
    p75: float = 0.0
    p95: float = 0.0
    p99: float = 0.0

    largest: float = 0.0
    """The largest value."""

    @classmethod
    def of(cls, values: Sequence[float] | Sequence[int] | np.ndarray) -> "Distribution":
        """Percentiles of some values."""
        if not len(values):
            return cls()
        shares = np.percentile(np.asarray(values, np.float64), (1, 5, 25, 50, 75, 95, 99, 100))
        names = ("p1", "p5", "p25", "p50", "p75", "p95", "p99", "largest")
        numbers = {name: round(float(value), 4) for name, value in zip(names, shares, strict=True)}
        return cls.model_validate({"n": len(values), **numbers})


class ImageFacts(Spec, frozen=True):
    """One image."""

    id: str
    shape: tuple[int, ...]
    """``(*spatial)`` in pixels."""

    channels: tuple[str, ...]
    dtype: str
    spacing_um: tuple[float, ...] | None = None
    modality: str = ""
    intensity: tuple[tuple[float, float, float], ...] = ()
    """1, 50 and 99.8 percentile per channel."""

    labelled: bool = False
    n_objects: int = 0
    diameter_px: float = 0.0
    """Median equivalent diameter; 0 without objects."""

    touching: float = 0.0
    """Share of objects that touch another one."""

    density: float = 0.0
    """Share of the annotated pixels inside objects."""

    contrast: float = 0.0
    """Mean intensity inside minus outside the objects, in standard deviations; negative: dark objects."""


class ModalityFacts(Spec, frozen=True):
    """All images of one modality."""

    name: str
    n_images: int
    n_labelled: int
    n_objects: int
    channels: tuple[str, ...]
    """Channel names, joined by ``+``, that occur."""

    diameter_px: Distribution
    """Of every object."""

    touching: float
    density: float
    contrast: float
    """Median over the labelled images."""


class Ceiling(Spec, frozen=True):
    """What one representation keeps of the labels when it encodes and decodes them, without a network."""

    representation: str
    ap50: float
    """AP at IoU 0.5, pooled over the images."""

    ap75: float
    ap90: float
    dsb_score: float
    """Mean over images of the mean AP over IoU 0.50 to 0.95."""

    ms_per_megapixel: float
    """Encoding and decoding, on the machine that measured."""


class Fingerprint(Spec, frozen=True):
    """Everything that planning may look at."""

    ndim: int = Field(ge=2, le=3)
    n_images: int
    n_labelled: int
    n_unlabelled: int
    n_objects: int

    shape_median: tuple[int, ...]
    """Per axis, in pixels."""

    shape_smallest: tuple[int, ...]
    shape_largest: tuple[int, ...]

    channels: dict[str, int]
    """Channel names, joined by ``+``, to number of images."""

    dtypes: dict[str, int]
    spacing_um: tuple[float, ...] | None = None
    """Median per axis; None unless every image has a spacing."""

    spacing_spread: float = 1.0
    """Largest over smallest spacing of an axis among the images, the worst axis."""

    diameter_px: Distribution
    """Equivalent diameters of all objects."""

    image_diameter_px: Distribution
    """Median object diameter per image that has objects."""

    objects_per_image: Distribution
    touching: float
    """Share of all objects that touch another one."""

    density: float
    """Mean share of pixels inside objects."""

    solidity: Distribution
    """Volume over that of the convex hull, of a regular sample of objects."""

    extent_px: tuple[Distribution, ...]
    """Bounding-box sizes of all objects, per axis."""

    task: Task | None = None
    """What the labels mean, as the data set says; None when it does not."""

    classes: tuple[ClassFacts, ...] = ()
    """``semantic``: every class, in the order of its label."""

    class_intensities: tuple[tuple[float, float, float, float], ...] = ()
    """``semantic``: 0.5 and 99.5 percentile, mean and deviation inside classes, per channel."""

    modalities: tuple[ModalityFacts, ...]
    bfloat16: bool = False
    """The machine that measured multiplies in bfloat16 natively."""

    ceilings: tuple[Ceiling, ...] = ()
    """Representations measured on these labels; empty when that was not asked for."""

    images: tuple[ImageFacts, ...]

    def dumps(self) -> str:
        """As JSON."""
        return self.model_dump_json(indent=1) + "\n"

    @classmethod
    def load(cls, path: Path) -> "Fingerprint":
        """Read ``fingerprint.json``.

        Raises:
            InputError: The file is missing or broken.
        """
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            msg = f"{path} does not exist; `morula plan` writes it."
            raise InputError(msg) from None
        except ValueError as error:
            msg = f"{path} is not JSON: {error}. Delete it and run `morula plan` again."
            raise InputError(msg) from error
        return validate(cls, table)


@dataclass(frozen=True)
class _Measured:
    """One image before its modality is known."""

    facts: ImageFacts
    features: Float64[np.ndarray, " _"]
    objects: ObjectFacts
    classes: ClassSample | None
    """Where labels are classes."""


def fingerprint(
    dataset: Dataset,
    samples: Sequence[Sample] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Fingerprint:
    """Measure a dataset, image by image.

    Args:
        dataset: Where the images lie.
        samples: Which of them; all when None.
        progress: Called with (done, total) after every image.

    Raises:
        InputError: There is no image, an image cannot be read, or 2D and 3D are mixed.
    """
    chosen = tuple(dataset.samples if samples is None else samples)
    if not chosen:
        msg = f"{dataset.root} holds no image to plan for; check the folder and the selection."
        raise InputError(msg)
    measured = []
    for done, sample in enumerate(chosen, start=1):
        measured.append(_measure(dataset, sample))
        if progress is not None:
            progress(done, len(chosen))
    facts = _summarise(measured)
    organs = [item.classes for item in measured if item.classes is not None]
    if not organs:
        return facts.model_copy(update={"task": dataset.task})
    semantic = {
        "task": dataset.task,
        "classes": class_facts(organs, dataset.classes),
        "class_intensities": class_intensities(organs),
    }
    return facts.model_copy(update=semantic)


def axes_of(dataset: Dataset) -> int | None:
    """Spatial axes of the first labelled image that can be read; None when there is none."""
    for sample in dataset.labelled:
        with suppress(InputError):
            return dataset.image(sample).ndim
    return None


def _measure(dataset: Dataset, sample: Sample) -> _Measured:
    image = dataset.image(sample)
    shape = tuple(int(size) for size in image.pixels.shape[1:])
    labels = dataset.labels(sample) if sample.labels else None
    if labels is not None and labels.shape != shape:
        msg = (
            f"{sample.id}: the labels have shape {labels.shape}, the image {shape}; export both on one grid "
            "or run `morula check`."
        )
        raise InputError(msg)
    objects = measure_objects(image, labels)
    facts = ImageFacts(
        id=sample.id,
        shape=shape,
        channels=image.channels,
        dtype=str(image.pixels.dtype),
        spacing_um=image.spacing_um,
        modality=sample.attributes.get("modality", ""),
        intensity=_intensity(image),
        labelled=labels is not None,
        n_objects=len(objects.diameters_px),
        diameter_px=round(float(np.median(objects.diameters_px)), 3) if len(objects.diameters_px) else 0.0,
        touching=round(objects.touching, 4),
        density=round(objects.density, 4),
        contrast=round(objects.contrast, 4),
    )
    classes = None
    if dataset.task == "semantic" and labels is not None:
        classes = measure_classes(image, labels)
    return _Measured(facts, features(image.pixels), objects, classes)


def _intensity(image: Image) -> tuple[tuple[float, float, float], ...]:
    steps = tuple(slice(None, None, max(1, size // 512)) for size in image.pixels.shape[1:])
    rows = []
    for channel in image.pixels:
        values = channel[steps].astype(np.float64)
        finite = values[np.isfinite(values)]
        low, middle, high = np.percentile(finite, (1, 50, 99.8)) if finite.size else (0.0, 0.0, 0.0)
        rows.append((round(float(low), 4), round(float(middle), 4), round(float(high), 4)))
    return tuple(rows)


def _summarise(measured: Sequence[_Measured]) -> Fingerprint:
    dimensions = Counter(len(item.facts.shape) for item in measured)
    if len(dimensions) > 1:
        msg = (
            f"{dimensions[2]} images are 2D and {dimensions[3]} are 3D; a model is trained on one of them. "
            "Put them in two folders, or name their axes with 'axes' in dataset.toml."
        )
        raise InputError(msg)
    ndim = next(iter(dimensions))
    names = modality_names(
        [item.facts.modality for item in measured], np.stack([item.features for item in measured])
    )
    facts = [
        item.facts.model_copy(update={"modality": name}) for item, name in zip(measured, names, strict=True)
    ]
    objects = [item.objects for item in measured]
    shapes = np.array([item.shape for item in facts])
    labelled = [item for item in facts if item.labelled]
    extents = np.concatenate([item.extents_px for item in objects])
    spacing, spread = _spacing([item.spacing_um for item in facts])
    return Fingerprint(
        ndim=ndim,
        n_images=len(facts),
        n_labelled=len(labelled),
        n_unlabelled=len(facts) - len(labelled),
        n_objects=sum(item.n_objects for item in facts),
        shape_median=tuple(int(size) for size in np.median(shapes, 0)),
        shape_smallest=tuple(int(size) for size in shapes.min(0)),
        shape_largest=tuple(int(size) for size in shapes.max(0)),
        channels=_count("+".join(item.channels) for item in facts),
        dtypes=_count(item.dtype for item in facts),
        spacing_um=spacing,
        spacing_spread=spread,
        diameter_px=Distribution.of(np.concatenate([item.diameters_px for item in objects])),
        image_diameter_px=Distribution.of([item.diameter_px for item in facts if item.n_objects]),
        objects_per_image=Distribution.of([item.n_objects for item in labelled]),
        touching=_share_of_objects(labelled),
        density=_mean([item.density for item in labelled]),
        solidity=Distribution.of(np.concatenate([item.solidities for item in objects])),
        extent_px=tuple(Distribution.of(extents[:, axis]) for axis in range(ndim)),
        modalities=tuple(_modality(name, facts, objects) for name in dict.fromkeys(sorted(names))),
        bfloat16=has_bfloat16(),
        images=tuple(facts),
    )


def _modality(name: str, facts: Sequence[ImageFacts], objects: Sequence[ObjectFacts]) -> ModalityFacts:
    own = [(item, found) for item, found in zip(facts, objects, strict=True) if item.modality == name]
    labelled = [item for item, _ in own if item.labelled]
    return ModalityFacts(
        name=name,
        n_images=len(own),
        n_labelled=len(labelled),
        n_objects=sum(item.n_objects for item in labelled),
        channels=tuple(_count("+".join(item.channels) for item, _ in own)),
        diameter_px=Distribution.of(np.concatenate([found.diameters_px for _, found in own])),
        touching=_share_of_objects(labelled),
        density=_mean([item.density for item in labelled]),
        contrast=round(float(np.median([item.contrast for item in labelled])), 4) if labelled else 0.0,
    )


def _spacing(spacings: Sequence[Spacing | None]) -> tuple[Spacing | None, float]:
    known = [item for item in spacings if item is not None]
    if len(known) < len(spacings):
        return None, 1.0
    table = np.array(known)
    spread = float((table.max(0) / table.min(0)).max())
    return tuple(round(float(size), 6) for size in np.median(table, 0)), round(spread, 4)


def _share_of_objects(labelled: Sequence[ImageFacts]) -> float:
    total = sum(item.n_objects for item in labelled)
    return round(sum(item.touching * item.n_objects for item in labelled) / total, 4) if total else 0.0


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4) if values else 0.0


def _count(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items(), key=lambda item: (-item[1], item[0])))
