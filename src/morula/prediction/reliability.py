"""How far the prediction of a whole image can be trusted: an estimate of its F1 at IoU 0.5, without truth.

    reliability = familiarity x mean confidence - price x undecided borders

Mean confidence is the share of objects that are expected to be right. Borders between objects that hang
between yes and no say how many objects are split or merged; what that costs is fitted on validation images.
Familiarity is below 1 where the calibration cannot hold, for it was made on images of another kind: where the
intensities are far from those of every training image (nearest neighbour, Sun et al. 2022,
https://arxiv.org/abs/2204.06507, on five simple features), and where much foreground lies outside the
objects. Every object's confidence is multiplied by it. Agreement between mirror images and the size of the
objects were measured too; they add nothing.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Num

from morula.labels.matching import match
from morula.labels.measure import diameters
from morula.planning.modality import appearance
from morula.planning.plan import Plan
from morula.prediction.calibration import Calibration, expected_calibration_error, fit, hits
from morula.prediction.segmentation import Segmentation
from morula.types import Labels

UNRELIABLE = 0.6
"""An image of which less is expected to be right should be looked at."""

UNLIKELY = 0.25
"""Objects less probable than this are left out: below half the F1 that can be had, an object costs more F1
than it brings (Lipton et al. 2014, https://arxiv.org/abs/1402.1892)."""

FAR = 0.25
"""Distance in appearance beyond which an image is unlike the training images. Of three data sets, 99 % of the
images lie within 0.2 of another one; photographs, text and noise mostly beyond 0.3."""

APART = 0.05
"""Training images that are closer in appearance than this need not both be remembered."""

FEWEST_IMAGES = 10
"""Validation images below which the price of undecided borders is not fitted."""

FEW_IMAGES = 8
"""From this many images on, one whose objects have an unusual size or number is listed for review."""

Row = Sequence[float] | np.ndarray
"""What `morula.planning.modality.appearance` measures of one image."""

NOTHING = "nothing found"

_USUAL = 95
_MUCH = 0.2
_SIZE_SLACK = 1.5


@dataclass(frozen=True)
class Scored:
    """One image with truth, as calibration needs it."""

    objects: tuple[tuple[float, bool], ...]
    """Score of every predicted object, and whether it is a hit."""

    unexplained: float
    """As in `Segmentation`."""

    undecided: float
    """As in `Segmentation`."""

    f1: float
    """At IoU 0.5."""

    @classmethod
    def of(cls, truth: Labels, found: Segmentation) -> "Scored":
        """From what a model without calibration found."""
        objects = tuple(hits(truth, found.labels, found.confidence))
        return cls(objects, found.unexplained, found.undecided, match(truth, found.labels)[0].f1)

    def mean(self, curve: Calibration) -> float:
        """Mean confidence of the objects under a calibration."""
        sure = np.mean([curve(score) for score, _ in self.objects])
        return float(sure) * familiarity(curve, self.unexplained, 0.0)


def calibrate(images: Sequence[Scored], seen: Sequence[Row] = ()) -> Calibration | None:
    """Everything that validation images teach about a model's mistakes; None for too few objects.

    Args:
        images: Each predicted by a network that was not trained on it.
        seen: Rows of `morula.planning.modality.appearance`: what the networks were trained on.
    """
    curve = fit([item for image in images for item in image.objects])
    if curve is None:
        return None
    found = [image for image in images if image.objects]
    usual = float(np.percentile([image.unexplained for image in found], _USUAL))
    curve = curve.model_copy(update={"unexplained": round(usual, 4), "seen": thin(seen)})
    if len(found) < FEWEST_IMAGES:
        return curve
    undecided = np.array([image.undecided for image in found])
    excess = np.array([image.mean(curve) - image.f1 for image in found])
    # Least squares through the origin: no image gains by undecided borders.
    price = max(0.0, float(undecided @ excess) / max(float(undecided @ undecided), 1e-9))
    return curve.model_copy(update={"undecided": round(price, 4)})


def thin(rows: Sequence[Row]) -> tuple[tuple[float, ...], ...]:
    """Rows such that each given one lies within `APART` of one of them, rounded to a hundredth."""
    kept: list[tuple[float, ...]] = []
    for row in rows:
        if not kept or _distance(kept, row) > APART:
            kept.append(tuple(round(float(value), 2) for value in row))
    return tuple(kept)


def familiarity(curve: Calibration, unexplained: float, distance: float) -> float:
    """How much of a confidence stands on an image that is unlike those on which `curve` was fitted, 0 to 1.

    Args:
        curve: The calibration.
        unexplained: As in `Segmentation`.
        distance: To the nearest training image, in appearance.
    """
    return min(1.0, FAR / max(distance, FAR)) * (1 - max(0.0, unexplained - curve.unexplained))


def expected_f1(curve: Calibration, mean: float, undecided: float) -> float:
    """The reliability of an image whose objects have this mean confidence, familiarity included."""
    return min(1.0, max(0.0, mean - curve.undecided * undecided))


def judge(
    found: Segmentation, pixels: Num[np.ndarray, "_ *_"], plan: Plan, curve: Calibration | None
) -> Segmentation:
    """The instances with calibrated confidence, without the improbable ones; reliability and doubts.

    Args:
        found: On the working grid, with plain scores.
        pixels: The image, the plan's channels.
        plan: Says which sizes the model knows.
        curve: The model's calibration; None leaves the scores as they are.
    """
    distance = _distance(curve.seen, appearance(pixels)) if curve is not None and curve.seen else 0.0
    doubts = ["unlike the training images"] if distance > FAR else []
    scores = found.confidence
    if not scores:
        return replace(found, reliability=0.0, doubts=(NOTHING, *doubts))
    doubts += _size_doubts(found.labels, plan)
    if curve is None:
        return replace(found, reliability=float(np.mean([*scores.values()])), doubts=tuple(doubts))
    share = familiarity(curve, found.unexplained, distance)
    plain = {id_: curve(score) for id_, score in scores.items()}
    confidence = {id_: share * value for id_, value in plain.items()}
    reliability = expected_f1(curve, float(np.mean([*confidence.values()])), found.undecided)
    found = _without_unlikely(replace(found, confidence=confidence))
    if len(found.confidence) < (1 - _MUCH) * len(confidence):
        doubts.append("many improbable objects were left out")
    if np.mean([*plain.values()]) < 0.5:
        doubts.append("most objects are uncertain")
    if found.unexplained > curve.unexplained + _MUCH:
        doubts.append("much of what looks like objects was left out")
    if curve.undecided * found.undecided > _MUCH:
        doubts.append("unclear where objects touch")
    if reliability < UNRELIABLE and not doubts:
        doubts.append("many objects are uncertain")
    return replace(found, reliability=reliability, doubts=tuple(doubts))


def _without_unlikely(found: Segmentation) -> Segmentation:
    """Without the objects that are less probable than `UNLIKELY`; ids stay without gaps."""
    kept = [id_ for id_, value in found.confidence.items() if value >= UNLIKELY]
    if len(kept) == len(found.confidence):
        return found
    table = np.zeros(max(found.confidence) + 1, found.labels.dtype)
    table[kept] = np.arange(1, len(kept) + 1)
    confidence = {new: found.confidence[old] for new, old in enumerate(kept, 1)}
    return replace(found, labels=table[found.labels], confidence=confidence)


def _size_doubts(labels: Labels, plan: Plan) -> list[str]:
    """Whether the objects, in working pixels, have sizes that training did not show."""
    augmentation, usual = plan.training.augmentation, plan.scaling.diameter_px
    low, high = augmentation.zoom_to_px or tuple(usual * zoom for zoom in augmentation.zoom)
    size = float(np.median(diameters(labels)))
    if size > _SIZE_SLACK * high:
        return ["objects larger than the model knows"]
    return ["objects smaller than the model knows"] if size * _SIZE_SLACK < low else []


def cross_check(images: Sequence[Scored]) -> dict[str, Any] | None:
    """How good a calibration is on images it was not made on: every other image calibrates the rest.

    Returns:
        ``n_objects``, ``ece`` and ``bins`` as `expected_calibration_error` gives them, ``n_images`` with
        objects and ``spearman``, the rank correlation of their reliability and F1 (None where either is
        constant); None for too few objects.
    """
    halves = [images[start::2] for start in (0, 1)]
    curves = [curve for curve in map(calibrate, halves) if curve is not None]
    if len(curves) < len(halves):
        return None
    judged, ranks = [], []
    for curve, half in zip(curves, halves[::-1], strict=True):
        for image in half:
            judged += [(curve(score), hit) for score, hit in image.objects]
            if image.objects:
                ranks.append((expected_f1(curve, image.mean(curve), image.undecided), image.f1))
    error, rows = expected_calibration_error(
        np.array([p for p, _ in judged]), np.array([hit for _, hit in judged])
    )
    facts = {"n_objects": len(judged), "ece": round(error, 4), "bins": rows}
    return facts | {"n_images": len(ranks), "spearman": rank_correlation(ranks)}


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Spearman's correlation of first and second numbers; None where either is constant."""
    from scipy.stats import rankdata

    first, second = zip(*pairs, strict=True) if pairs else ((), ())
    if len(set(first)) < 2 or len(set(second)) < 2:
        return None
    return round(float(np.corrcoef(rankdata(first), rankdata(second))[0, 1]), 4)


def look_first(rows: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], list[str]]]:
    """Images that a person should look at, the least reliable first, and why.

    An image stands out by its own doubts, or when number or size of its objects lie far from what is usual
    among these images (beyond three times the interquartile range, on a log scale).

    Args:
        rows: As in ``run.json``, or `ImageRow` as tables; failed ones are passed over.
    """
    done = [row for row in rows if not row.get("failure")]
    usual = {key: _fences([row.get(key) or 0 for row in done]) for key in ("n_objects", "median_diameter_px")}
    found = []
    for row in done:
        reasons = list(row.get("doubts") or ([] if row.get("n_objects") else [NOTHING]))
        for key, small, large in (
            ("n_objects", "unusually few", "unusually many"),
            ("median_diameter_px", "unusually small", "unusually large"),
        ):
            low, high = usual[key]
            value = row.get(key) or 0
            if value and not low <= value <= high:
                reasons.append(small if value < low else large)
        if reasons:
            found.append((row, reasons))
    return sorted(found, key=lambda item: (certainty(item[0]), item[0]["id"]))


def certainty(row: Mapping[str, Any]) -> float:
    """Reliability; where it is not known the mean confidence, and -1 where there is none."""
    known = [row[key] for key in ("reliability", "mean_confidence") if row.get(key) is not None]
    return float(known[0]) if known else -1.0


def _fences(values: Sequence[float | int]) -> tuple[float, float]:
    """Limits of what is usual: quartiles on a log scale, and three times their distance beyond."""
    logs = sorted(math.log(value) for value in values if value > 0)
    if len(logs) < FEW_IMAGES:
        return 0.0, math.inf
    low, high = logs[len(logs) // 4], logs[(3 * len(logs)) // 4]
    # Images of one dish may have nearly equal counts; a factor of 1.5 is then not unusual.
    reach = 3 * max(high - low, math.log(1.5) / 3)
    return math.exp(low - reach), math.exp(high + reach)


def _distance(rows: Sequence[Row], row: Row) -> float:
    """To the nearest of `rows`."""
    return float(np.linalg.norm(np.asarray(rows) - np.asarray(row), axis=1).min())
