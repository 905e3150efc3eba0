"""Does a trained network see whole objects? Its effective receptive field beside the largest one.

System B: "we validate that the effective receptive field of an output pixel is larger than the largest cell".
The field is measured as Luo et al. 2016 do, https://arxiv.org/abs/1701.04128.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from morula.data.files import write_atomic
from morula.errors import InputError
from morula.labels.extents import extents
from morula.planning.fingerprint import Fingerprint
from morula.planning.plan import Plan
from morula.planning.rules import working_zoom
from morula.types import Map, Mask

if TYPE_CHECKING:
    from morula.networks.receptive_field import Sensitivity

SHARE = 0.95
"""Share of the gradient's magnitude inside the effective field. For a Gaussian field of deviation s that is a
radius of 2.45 s, about where Luo et al. end it (2.49 s)."""

PEAK_SHARE = 0.0455
"""Luo et al. count the pixels whose gradient is above this share of the largest."""

PATCHES = 8
"""Patches that the gradient is averaged over."""


@dataclass(frozen=True)
class FieldLevel:
    """The effective field at one level; lengths in working pixels of the finest axis."""

    name: str
    """``image``, or its size as a share of the image's, per axis where they differ."""

    effective_px: float
    """Diameter of the ball that holds `SHARE` of the gradient's magnitude."""

    luo_px: float
    """Side of a square (cube) as large as what is above `PEAK_SHARE` of the largest gradient."""

    theoretical_px: float
    """Longest side of the theoretical field; as long as the patch when it reaches beyond."""


@dataclass(frozen=True)
class FieldReport:
    """The receptive field of a trained network beside the largest training object."""

    levels: tuple[FieldLevel, ...]
    """The image, then the encoder's levels, finest first."""

    object_px: float
    """Longest side of the largest training object, in working pixels of the finest axis."""

    patch_px: tuple[int, ...]
    """Patch that the field was measured in: nothing beyond it is seen."""

    patches: str
    """``training images`` or ``noise``."""

    picture: Path
    """The gradient at every level, with the largest object to scale."""

    @property
    def covers(self) -> bool:
        """Whether the effective field at the image is at least as large as the largest object."""
        return self.levels[0].effective_px >= self.object_px


def measure_receptive_field(
    run: Path,
    out: Path | None = None,
    *,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> FieldReport:
    """Measure the receptive field of the run's first network, and write it as JSON and as a picture.

    The gradient of the output pixel in the middle of each patch is taken; patches are cut around objects of
    the training images, or are noise where the run keeps none.

    Args:
        run: A run folder that training made.
        out: Folder for ``receptive_field.json`` and ``receptive_field.png``; the run itself when not given.
        device: As torch names it.
        progress: Called with patches done and all patches.

    Raises:
        InputError: The folder is no trained run, or nothing can be written.
    """
    from morula.evaluation.field_picture import draw_fields
    from morula.networks.receptive_field import sensitivities
    from morula.prediction.model import Model

    facts_path = run / "fingerprint.json"
    if not facts_path.is_file():
        msg = f"{run} is no run folder with fingerprint.json. Give the folder that `morula train` wrote."
        raise InputError(msg)
    model = Model.load(run, device)
    plan = model.plan
    patches, largest, source = _examples(run, plan, Fingerprint.load(facts_path))
    found = sensitivities(model.networks[0], plan.representation.heads(plan.ndim), patches, progress)
    aspect, out = _aspect(plan), out or run
    report = FieldReport(
        levels=tuple(_level(item, aspect, first=item is found[0]) for item in found),
        object_px=_longest(largest.shape, aspect),
        patch_px=tuple(patches[0].shape[1:]),
        patches=source,
        picture=out / "receptive_field.png",
    )
    draw_fields(report, found, patches[0], largest, aspect)
    table = {**asdict(report), "picture": report.picture.name, "covers": report.covers}
    with write_atomic(out / "receptive_field.json") as part:
        part.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return report


def effective_diameter(
    gradient: Float64[np.ndarray, "*_"],
    steps: Sequence[float] | Sequence[int],
    aspect: Sequence[float],
    share: float = SHARE,
) -> float:
    """Diameter of the ball around the middle pixel that holds a share of the gradient's magnitude.

    Args:
        gradient: Magnitudes ``(*grid)``.
        steps: Pixels of the image per pixel of the grid, per axis.
        aspect: Size of the image's pixels, per axis; the result is in these units.
        share: How much the ball holds.

    >>> effective_diameter(np.array([0.0, 0.02, 0.96, 0.02, 0.0]), (1,), (1.0,))
    1.0
    >>> effective_diameter(np.array([0.0, 0.1, 0.8, 0.1, 0.0]), (1,), (1.0,))
    3.0
    """
    squared = np.zeros(gradient.shape)
    for axis, (length, step, size) in enumerate(zip(gradient.shape, steps, aspect, strict=True)):
        # The middle pixel of the image, seen on this grid.
        middle = length * step // 2 + 0.5
        offset = ((np.arange(length) + 0.5) * step - middle) * size
        squared += offset.reshape([-1 if i == axis else 1 for i in range(gradient.ndim)]) ** 2
    order = np.argsort(squared, axis=None)
    sums = np.cumsum(gradient.ravel()[order])
    last = min(int(np.searchsorted(sums, share * sums[-1])), len(order) - 1)
    return 2 * math.sqrt(float(squared.ravel()[order[last]])) + min(
        step * size for step, size in zip(steps, aspect, strict=True)
    )


def _level(item: "Sensitivity", aspect: Sequence[float], *, first: bool) -> FieldLevel:
    counted = int((item.gradient > PEAK_SHARE * item.gradient.max()).sum())
    volume = counted * math.prod(item.steps) * math.prod(aspect)
    shares = ["1" if step == 1 else f"1/{step}" for step in item.steps]
    name = shares[0] if len(set(shares)) == 1 else " x ".join(shares)
    return FieldLevel(
        name="image" if first else name,
        effective_px=round(effective_diameter(item.gradient, item.steps, aspect), 2),
        luo_px=round(volume ** (1 / len(aspect)), 2),
        theoretical_px=round(_longest(item.reach_px, aspect), 2),
    )


def _aspect(plan: Plan) -> tuple[float, ...]:
    """Size of the working pixels in units of the finest axis."""
    spacing = plan.working_spacing
    return tuple(float(size / min(spacing)) for size in spacing)


def _longest(shape: Sequence[int], aspect: Sequence[float]) -> float:
    return float(max(side * size for side, size in zip(shape, aspect, strict=True)))


def _examples(run: Path, plan: Plan, facts: Fingerprint) -> tuple[list[Map], Mask, str]:
    """Patches, the first around the largest object; that object; and where the patches are from."""
    paths = sorted((run / "prepared").rglob("labels.npy"))
    aspect = np.array(_aspect(plan))
    places: list[tuple[float, Path, tuple[slice, ...]]] = []
    for path in paths:
        boxes = extents(np.load(path))
        lengths = ((boxes.high - boxes.low) * aspect).max(1)
        if len(lengths):
            row = int(lengths.argmax())
            places.append((float(lengths[row]), path, boxes.window(row)))
    if not places:
        return _noise(plan), _ball(plan, facts), "noise"
    places.sort(key=lambda place: -place[0])
    _, path, window = places[0]
    labels = np.load(path)[window]
    # Of what lies in the box, the object is what fills it from side to side.
    boxes = extents(labels)
    row = int(((boxes.high - boxes.low) * aspect).max(1).argmax())
    largest = labels == boxes.ids[row]
    chosen = [places[int(i)] for i in np.linspace(0, len(places) - 1, min(PATCHES, len(places)))]
    cuts = [_cut(np.load(path.parent / "image.npy"), window, plan) for _, path, window in chosen]
    return cuts, largest, "training images"


def _cut(image: np.ndarray, window: tuple[slice, ...], plan: Plan) -> Map:
    """A training patch around the middle of an object; mirrored beyond the image's edges."""
    slices, missing = [slice(None)], [(0, 0)]
    sizes = zip(image.shape[1:], plan.training.patch_size, window, strict=True)
    for length, side, place in sizes:
        start = (place.start + place.stop) // 2 - side // 2
        slices.append(slice(max(start, 0), max(min(start + side, length), 0)))
        missing.append((max(-start, 0), max(start + side - length, 0)))
    return np.pad(image[tuple(slices)], missing, mode="symmetric").astype(np.float32)


def _noise(plan: Plan) -> list[Map]:
    rng = np.random.default_rng(0)
    shape = (len(plan.channels), *plan.training.patch_size)
    return [rng.random(shape, np.float32) for _ in range(PATCHES)]


def _ball(plan: Plan, facts: Fingerprint) -> Mask:
    """An ellipsoid as long, per axis, as the longest training object."""
    zoom = working_zoom(facts, plan.scaling.model_dump())
    sides = [max(1, round(item.largest * z)) for item, z in zip(facts.extent_px, zoom, strict=True)]
    axes = np.meshgrid(*[(np.arange(n) + 0.5) / n * 2 - 1 for n in sides], indexing="ij")
    return np.sum([axis**2 for axis in axes], axis=0) <= 1
