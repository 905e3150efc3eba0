"""At which zoom a model should see an image whose objects may be of any size: found with the model itself.

The model looks at one window of the image at several zooms, an octave apart. It is surest of what it finds
where the objects have a size that it knows; too large ones it sees hollow or in pieces, too small ones
merged. The windows have a bounded number of working pixels, so that an image of any size costs the same.
The figures below were measured with `benchmarks/scale.py` on validation images.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from morula.errors import InputError
from morula.labels.measure import diameters
from morula.planning.plan import Plan
from morula.prediction.segmentation import Segmentation
from morula.preprocessing.geometry import resample
from morula.preprocessing.intensity import Normalizer

Diameter = float | Literal["auto", "trained"]
"""Typical diameter of the objects in pixels of the image, or where the scale comes from instead."""

SIDE_PX = 512
"""Longest side of a window, in working pixels."""

SHORTEST_PX = 32
"""A window with a shorter side, in working pixels, shows too little."""

MARGIN = 0.03
"""By how much a coarser zoom must score better than the trained scale to replace it."""

LEAST_SURE = 0.35
"""Below it the model knows too little of the image to say how large anything is."""

SURE_OF_SMALL = 0.5
"""Below it small objects are not enlarged: noise, and grass, would become objects."""

QUITE_SURE = 0.75
"""From it on, objects of a size that the model knows need no look at another zoom."""

KNOWN = (-0.9, 1.1)
"""Octaves from the usual size within which a model knows objects well: to enlarge or shrink such objects
costs their outlines."""

SURER = 0.1
"""By how much surer a coarser zoom must be where the objects have such a size at the trained scale; looks
that differ by less are nearly as sure."""

OCTAVE = 0.05
"""What a look loses in score when its objects are an octave from the usual size; four times that for two."""

ERROR = 0.1
"""Standard error of a confidence that only one object has told; that of n is smaller by their root."""

_COARSE = (0.5, 0.25, 0.125)
_FINE = (2.0, 4.0)
_THUMBNAIL_PX = 512

Window = tuple[slice, ...]


def check_diameter(diameter: object) -> None:
    """Refuse what is no diameter.

    Raises:
        InputError: Neither a positive number nor one of the two words.
    """
    if isinstance(diameter, str):
        good = diameter in ("auto", "trained")
    else:
        good = isinstance(diameter, (int, float, np.number)) and 0 < diameter < np.inf
    if not good:
        msg = (
            f"the object diameter is {diameter!r}; expected a positive number of pixels, 'auto' or 'trained'."
        )
        raise InputError(msg)


@dataclass(frozen=True)
class Look:
    """What a model finds in a window of an image at one zoom."""

    zoom: float
    """Relative to the scale that the model was trained at."""

    diameter_px: float
    """Median of the objects, in working pixels; 0 where there are none."""

    sureness: float
    """Mean confidence of the objects, weighted by area, before calibration, less its standard error; 0 where
    there are none."""

    @classmethod
    def of(cls, found: Segmentation, zoom: float) -> "Look":
        """From instances on the working grid."""
        if not found.confidence:
            return cls(zoom, 0.0, 0.0)
        sizes = np.bincount(found.labels.ravel())[1:]
        scores = [found.confidence[id_] for id_ in range(1, len(sizes) + 1)]
        sureness = np.average(scores, weights=sizes) - ERROR / math.sqrt(len(sizes))
        return cls(zoom, float(np.median(diameters(found.labels))), float(sureness))

    def score(self, usual_px: float) -> float:
        """How much speaks for this zoom, when the model is used to objects of `usual_px`."""
        if not self.diameter_px:
            return 0.0
        return self.sureness - OCTAVE * math.log2(self.diameter_px / usual_px) ** 2

    def is_known(self, usual_px: float) -> bool:
        """Whether a model that is used to objects of `usual_px` knows those of this look well."""
        return self.diameter_px > 0 and KNOWN[0] <= math.log2(self.diameter_px / usual_px) <= KNOWN[1]


def is_estimated(plan: Plan) -> bool:
    """Whether the scale is found per image: for instances in the plane, where no pixel size rules."""
    return plan.ndim == 2 and plan.task == "instances" and plan.scaling.kind == "native"


def looks_at(
    pixels: np.ndarray,
    plan: Plan,
    normalizer: Normalizer,
    segment: Callable[[np.ndarray], Segmentation],
) -> Callable[[float], Look | None]:
    """What a model finds in the busiest window of an image, by zoom relative to the trained scale.

    None where the window has too few pixels.

    Args:
        pixels: ``(C, y, x)``, the plan's channels on the grid of the image.
        plan: Says what sizes the model knows.
        normalizer: Measured on `pixels`.
        segment: Finds the instances in pixels on the working grid, with their scores before calibration.
    """
    factor = plan.scaling.factor
    middle = busiest(pixels, normalizer, SIDE_PX / factor)

    def look(zoom: float) -> Look | None:
        window = window_at(middle, SIDE_PX / (factor * zoom), pixels.shape[1:])
        shape = tuple(max(1, round((part.stop - part.start) * factor * zoom)) for part in window)
        if min(shape) < SHORTEST_PX:
            return None
        return Look.of(segment(resample(pixels[(slice(None), *window)], shape)), zoom)

    return look


def usual_diameter(plan: Plan) -> float:
    """The middle of the diameters that a model was trained on, in working pixels, on a logarithmic scale."""
    augmentation = plan.training.augmentation
    low, high = augmentation.zoom_to_px or [plan.scaling.diameter_px * zoom for zoom in augmentation.zoom]
    return math.sqrt(low * high)


def find_zoom(look: Callable[[float], Look | None], usual_px: float) -> float:
    """The zoom, relative to the trained scale, at which the model is surest; 1 where that will do.

    Args:
        look: Looks at the image at one zoom; None where there is too little to see.
        usual_px: From `usual_diameter`.
    """
    trained = look(1.0)
    if trained is None:
        return 1.0
    is_known = trained.is_known(usual_px)
    if is_known and trained.sureness >= QUITE_SURE:
        return 1.0
    looks = [trained, *(seen for zoom in _COARSE if (seen := look(zoom)) is not None)]
    finest = trained
    for zoom in _FINE:
        is_small = finest.diameter_px < usual_px and finest.sureness >= SURE_OF_SMALL
        if not is_small or (seen := look(zoom)) is None:
            break
        looks.append(finest := seen)
    best = _best(looks, usual_px)
    if best.zoom > 1:
        # Small objects that touch come apart, even where the model is no surer of them.
        better = not is_known or best.sureness > trained.sureness
    else:
        better = best.score(usual_px) > trained.score(usual_px) + MARGIN
        better &= not is_known or best.sureness > trained.sureness + SURER
    return best.zoom if better and best.sureness >= LEAST_SURE else 1.0


def _best(looks: Sequence[Look], usual_px: float) -> Look:
    """The finest look at objects of a known size that is nearly the surest; else that of the best score."""
    most = max(seen.sureness for seen in looks)
    known = [seen for seen in looks if seen.is_known(usual_px) and seen.sureness >= most - SURER]
    if known:
        return max(known, key=lambda seen: seen.zoom)
    return max(looks, key=lambda seen: seen.score(usual_px))


def busiest(pixels: np.ndarray, normalizer: Normalizer, side_px: float) -> tuple[int, ...]:
    """Middle of the window of an image that holds most structure, in the image's pixels.

    Args:
        pixels: ``(C, y, x)``.
        normalizer: Measured on them.
        side_px: Of the window.
    """
    step = max(1, math.ceil(max(pixels.shape[1:]) / _THUMBNAIL_PX))
    small = normalizer.apply(pixels[:, ::step, ::step]).mean(0)
    slope = np.abs(np.diff(small, axis=0, prepend=small[:1])) + np.abs(np.diff(small, prepend=small[:, :1]))
    # Dirt and edges of the slide are steeper than objects, which are many.
    slope = np.minimum(slope, 1)
    width = [min(n, max(1, round(side_px / step))) for n in slope.shape]
    total = np.pad(slope.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    high, wide = width
    inside = total[high:, wide:] - total[:-high, wide:] - total[high:, :-wide] + total[:-high, :-wide]
    corner = np.unravel_index(int(inside.argmax()), inside.shape)
    return tuple(int((first + n / 2) * step) for first, n in zip(corner, width, strict=True))


def window_at(middle: tuple[int, ...], side_px: float, shape: tuple[int, ...]) -> Window:
    """The square of `side_px` around `middle`, moved into an image of spatial `shape` and cut to it."""
    sides = [min(n, math.ceil(side_px)) for n in shape]
    starts = [min(max(0, m - s // 2), n - s) for m, s, n in zip(middle, sides, shape, strict=True)]
    return tuple(slice(start, start + side) for start, side in zip(starts, sides, strict=True))
