"""Scores of classes (organs): Dice and normalised surface distance per class and case, with deviations."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from morula.errors import InputError
from morula.evaluation.statistics import bootstrap_intervals
from morula.evaluation.surface import normalized_surface_distance
from morula.types import Labels, Mask, Spacing

TOLERANCE_MM = 1.0
"""How far a surface may be off where the data set does not say; pixels where their size is unknown."""

SCORES = {
    "dice": ("Dice", "2 |A and B| / (|A| + |B|)"),
    "nsd": ("NSD", "normalised surface distance: border voxels within the tolerance"),
    "nsd_area": ("NSD by area", "normalised surface distance: surface area within the tolerance"),
}
"""Every score by its key in ``metrics.json``: label and definition."""


@dataclass(frozen=True)
class ClassScore:
    """One class of one case; None: it is neither in the truth nor in the prediction."""

    dice: float | None
    nsd: float | None
    """Over border voxels."""

    nsd_area: float | None
    """Over surface area."""

    truth_ml: float | None
    """Volume in millilitres; None where the pixel size is unknown, and in 2D."""

    predicted_ml: float | None

    tolerance_unit: Literal["mm", "px"]
    """Pixels where their size is unknown."""

    def of(self, name: str) -> float | None:
        """The score called `name` (a key of `SCORES`)."""
        return {"dice": self.dice, "nsd": self.nsd, "nsd_area": self.nsd_area}[name]


@dataclass(frozen=True)
class ScoredCase:
    """One image with its classes scored."""

    id: str
    classes: dict[str, ClassScore]
    fold: int | None = None
    """The fold that it validated."""

    seconds: float | None = None
    """How long its prediction took."""

    def mean(self, name: str) -> float | None:
        """Mean of a score over the classes that are there."""
        return _mean([score.of(name) for score in self.classes.values()])


def score_classes(
    truth: Labels,
    predicted: Labels,
    classes: Mapping[str, int],
    spacing_um: Spacing | None = None,
    tolerance_mm: Mapping[str, float] | None = None,
) -> dict[str, ClassScore]:
    """Score every class of one case.

    Args:
        truth: ``(*spatial)``; -1 is not annotated and counts nowhere.
        predicted: ``(*spatial)``.
        classes: Name of each class to its label.
        spacing_um: Pixel size per axis; None when unknown: tolerances are in pixels then.
        tolerance_mm: Tolerance of the surface per class; `TOLERANCE_MM` for those that are not named.

    Raises:
        InputError: The shapes differ, or the pixel size has another number of axes.
    """
    _check_grid(truth, predicted, spacing_um)
    spacing = tuple(step / 1000 for step in spacing_um) if spacing_um else (1.0,) * truth.ndim
    voxel_ml = math.prod(spacing) / 1000 if spacing_um and truth.ndim == 3 else None
    known = truth >= 0
    scores = {}
    for name, label in classes.items():
        pair = truth == label, (predicted == label) & known
        tolerance = (tolerance_mm or {}).get(name, TOLERANCE_MM)
        volumes = [None if voxel_ml is None else int(np.count_nonzero(mask)) * voxel_ml for mask in pair]
        scores[name] = ClassScore(
            _dice(*pair),
            normalized_surface_distance(*pair, spacing, tolerance),
            normalized_surface_distance(*pair, spacing, tolerance, by_area=True),
            *volumes,
            tolerance_unit="mm" if spacing_um else "px",
        )
    return scores


def _check_grid(truth: Labels, predicted: Labels, spacing_um: Spacing | None) -> None:
    if truth.shape != predicted.shape:
        msg = (
            f"the predicted labels have shape {predicted.shape}, the truth has {truth.shape}; "
            "both must lie on the same grid."
        )
        raise InputError(msg)
    if spacing_um and len(spacing_um) != truth.ndim:
        msg = (
            f"the pixel size {spacing_um} um has {len(spacing_um)} numbers, "
            f"the labels have {truth.ndim} axes; "
            "give one number per axis as 'spacing_um' in dataset.toml."
        )
        raise InputError(msg)


def mean_dice(truth: Labels, predicted: Labels, classes: Mapping[str, int]) -> float:
    """Mean Dice over the classes that are in the truth or in the prediction; 1 when none is.

    Args:
        truth: ``(*spatial)``; -1 is not annotated and counts nowhere.
        predicted: ``(*spatial)``.
        classes: Name of each class to its label.
    """
    known = truth >= 0
    found = [_dice(truth == label, (predicted == label) & known) for label in classes.values()]
    mean = _mean(found)
    return 1.0 if mean is None else mean


def _dice(truth: Mask, predicted: Mask) -> float | None:
    sizes = int(np.count_nonzero(truth)) + int(np.count_nonzero(predicted))
    return 2 * int(np.count_nonzero(truth & predicted)) / sizes if sizes else None


def summarize_classes(
    cases: Sequence[ScoredCase], classes: Mapping[str, int], tolerance_mm: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """All scores of a data set as plain numbers, ready for JSON (undefined ones are None).

    Args:
        cases: The scored cases.
        classes: Name of each class to its label.
        tolerance_mm: That `score_classes` was given.

    Raises:
        InputError: No cases.
    """
    if not cases:
        msg = "no images to score; both folders must hold label files with equal names."
        raise InputError(msg)
    folds = sorted({case.fold for case in cases if case.fold is not None})
    return {
        "task": "semantic",
        "n_images": len(cases),
        "tolerance_unit": _tolerance_unit(cases),
        "scores": {name: _summary([case.mean(name) for case in cases]) for name in SCORES},
        "classes": {
            name: {
                "label": label,
                "tolerance_mm": (tolerance_mm or {}).get(name, TOLERANCE_MM),
                **_summaries(cases, name),
            }
            for name, label in classes.items()
        },
        "folds": [
            {"fold": fold, **_fold([case for case in cases if case.fold == fold], classes)} for fold in folds
        ],
        "images": [_row(case) for case in cases],
    }


def _tolerance_unit(cases: Sequence[ScoredCase]) -> str:
    """What every case was scored in."""
    units = {score.tolerance_unit for case in cases for score in case.classes.values()}
    return "mm; px where the pixel size is unknown" if len(units) > 1 else "".join(units)


def _fold(cases: Sequence[ScoredCase], classes: Mapping[str, int]) -> dict[str, Any]:
    means = {name: _spread([case.mean(name) for case in cases]) for name in SCORES}
    rows = {name: {key: _spread(_values(cases, name, key)) for key in SCORES} for name in classes}
    return {"n_images": len(cases), "scores": means, "classes": rows}


def _values(cases: Sequence[ScoredCase], name: str, score: str) -> list[float | None]:
    return [case.classes[name].of(score) for case in cases]


def _summaries(cases: Sequence[ScoredCase], name: str) -> dict[str, Any]:
    return {score: _summary(_values(cases, name, score)) for score in SCORES}


def _summary(values: Sequence[float | None]) -> dict[str, float | int | None]:
    """Mean with its interval (bootstrap over cases), deviation and number of cases that have the score."""
    known = [value for value in values if value is not None]
    if not known:
        return {"value": None, "low": None, "high": None, **_spread(values)}
    column = np.array(known)[:, None]
    (interval,) = bootstrap_intervals(column, np.ones_like(column))
    return {"value": interval.value, "low": interval.low, "high": interval.high, **_spread(values)}


def _spread(values: Sequence[float | None]) -> dict[str, float | int | None]:
    """Mean, deviation (of a sample: divided by n - 1) and number of the values that are there."""
    known = [value for value in values if value is not None]
    deviation = float(np.std(known, ddof=1)) if len(known) > 1 else None
    return {"mean": _mean(values), "deviation": deviation, "n": len(known)}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _row(case: ScoredCase) -> dict[str, Any]:
    """One case, for the table."""
    classes = {
        name: {
            **{key: score.of(key) for key in SCORES},
            "truth_ml": score.truth_ml,
            "predicted_ml": score.predicted_ml,
        }
        for name, score in case.classes.items()
    }
    means = {name: case.mean(name) for name in SCORES}
    return {"id": case.id, "fold": case.fold, "seconds": case.seconds, **means, "classes": classes}
