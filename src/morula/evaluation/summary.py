"""From the counts of many images to the scores of a data set, with intervals and strata.

Counts are pooled: every score is a ratio of two sums over images, and a mean over images has ones below
the line. So one bootstrap serves all of them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from morula.errors import InputError
from morula.evaluation.metrics import ImageScore
from morula.evaluation.statistics import Interval, bootstrap_intervals, paired_test
from morula.labels.matching import Matching
from morula.spec import nearest

Ratio = tuple[float | int, float | int]
"""What one image adds above and below the line."""


@dataclass(frozen=True)
class ScoredImage:
    """One image, counted."""

    id: str
    score: ImageScore
    attributes: dict[str, str]
    """Columns of the data set's index, for strata."""


@dataclass(frozen=True)
class Definition:
    """One score of a data set."""

    label: str
    """As people write it."""

    text: str
    """What it is, in one line."""

    ratio: Callable[[Any], Ratio]
    """What an image (`ImageScore`; of classes: `ScoredCase`) adds above and below the line."""


def _pooled(threshold: float, part: Callable[[Matching], Ratio]) -> Callable[[ImageScore], Ratio]:
    return lambda score: part(score.at(threshold))


def _ap(count: Matching) -> Ratio:
    return count.tp, count.tp + count.fp + count.fn


def _f1(count: Matching) -> Ratio:
    return 2 * count.tp, 2 * count.tp + count.fp + count.fn


def _precision(count: Matching) -> Ratio:
    return count.tp, count.tp + count.fp


def _recall(count: Matching) -> Ratio:
    return count.tp, count.tp + count.fn


DEFINITIONS: dict[str, Definition] = {
    "dsb": Definition(
        "DSB score",
        "mean over images of the mean over IoU .50 to .95 of TP/(TP+FP+FN)",
        lambda score: (score.dsb, 1),
    ),
    "dsb_to_90": Definition(
        "DSB score to .90", "the same mean, over IoU .50 to .90", lambda score: (score.dsb_to_90, 1)
    ),
    "ap_50": Definition("AP@.5", "TP/(TP+FP+FN) at IoU .5, pooled over images", _pooled(0.5, _ap)),
    "ap_75": Definition("AP@.75", "TP/(TP+FP+FN) at IoU .75, pooled over images", _pooled(0.75, _ap)),
    "ap_90": Definition("AP@.9", "TP/(TP+FP+FN) at IoU .9, pooled over images", _pooled(0.9, _ap)),
    "f1_50": Definition("F1@.5", "2TP/(2TP+FP+FN) at IoU .5, pooled over images", _pooled(0.5, _f1)),
    "precision_50": Definition("Precision@.5", "TP/(TP+FP) at IoU .5, pooled", _pooled(0.5, _precision)),
    "recall_50": Definition("Recall@.5", "TP/(TP+FN) at IoU .5, pooled", _pooled(0.5, _recall)),
    "neurips_f1": Definition(
        "NeurIPS F1",
        "mean over images of F1@.5 without objects on the 2-pixel frame",
        lambda score: (score.neurips.f1, 1),
    ),
    "pq": Definition("PQ", "panoptic quality: sum of matched IoU / (TP + FP/2 + FN/2)", lambda s: s.pq),
    "aji": Definition("AJI", "aggregated Jaccard index, pooled over images", lambda score: score.aji),
    "seg": Definition(
        "SEG",
        "Cell Tracking Challenge: mean Jaccard index of the true objects",
        lambda score: (score.seg_sum, score.n_truth),
    ),
    "dice": Definition("Dice", "mean over images of the foreground's Dice", lambda score: (score.dice, 1)),
    "boundary_dice": Definition(
        "Boundary Dice",
        "mean over images of the Dice of the 7-pixel bands around the foreground's edges",
        lambda score: (score.boundary_dice, 1),
    ),
    "f1_50_lent": Definition(
        "F1@.5, lent labels",
        "upper bound of F1@.5: each predicted foreground pixel borrows the nearest true label",
        lambda score: _f1(score.lent),
    ),
    "matched_iou": Definition(
        "Matched IoU",
        "mean IoU of the pairs that match at .5",
        lambda score: (float(score.truth_iou.sum()), int((score.truth_iou > 0).sum())),
    ),
}
"""Every score by its key in ``metrics.json``."""

STRATUM_SCORES = ("dsb", "ap_50", "ap_75", "ap_90", "f1_50", "pq")
"""Scores of each stratum."""

MOST_STRATA = 12
"""An index column is a stratum by itself when it is text with two to this many values."""

SIZE_NAMES = ("small", "medium", "large")


def summarize(
    images: Sequence[ScoredImage], *, by: Sequence[str] = (), strict: bool = False, seed: int = 0
) -> dict[str, Any]:
    """All scores of a data set as plain numbers, ready for JSON (undefined ones are None).

    Args:
        images: The counted images.
        by: Index columns to make strata of; text columns with few values when empty.
        strict: How pairs were matched, to be written down.
        seed: Seed of the bootstrap.

    Raises:
        InputError: No images, or an unknown column.
    """
    if not images:
        msg = "no images to score; both folders must hold label files with equal names."
        raise InputError(msg)
    scores = [image.score for image in images]
    columns = stratum_columns([image.attributes for image in images], by)
    thresholds = scores[0].thresholds
    intervals = _intervals(scores, [DEFINITIONS[name].ratio for name in DEFINITIONS], seed)
    return {
        "n_images": len(images),
        "n_truth": sum(score.n_truth for score in scores),
        "n_predicted": sum(score.n_predicted for score in scores),
        "strict": strict,
        "scores": {
            name: plain_interval(interval) for name, interval in zip(DEFINITIONS, intervals, strict=True)
        },
        "neurips_f1_median": float(np.median([score.neurips.f1 for score in scores])),
        "curve": _curve(scores, thresholds, seed),
        "errors": _errors(scores),
        "strata": {column: _stratum_rows(images, column, seed) for column in columns},
        "sizes": size_rows(scores, seed),
        "images": [image_row(image) for image in images],
    }


def compare_predictions(
    first: Sequence[ScoredImage], second: Sequence[ScoredImage], names: Sequence[str] = STRATUM_SCORES
) -> dict[str, Any]:
    """Paired tests between two predictions, over the images that both have, one entry per score.

    Raises:
        InputError: They share no image.
    """
    others = {image.id: image.score for image in second}
    pairs = [(image.score, others[image.id]) for image in first if image.id in others]
    if not pairs:
        msg = "the two predictions share no image; a paired test needs both to have the same files."
        raise InputError(msg)
    result = {}
    for name in names:
        sides = [np.array([DEFINITIONS[name].ratio(pair[side]) for pair in pairs], float) for side in (0, 1)]
        test = paired_test((sides[0][:, 0], sides[0][:, 1]), (sides[1][:, 0], sides[1][:, 1]))
        result[name] = {key: plain_number(value) for key, value in asdict(test).items()}
    return result


def image_row(image: ScoredImage) -> dict[str, Any]:
    """The scores of one image, for the table."""
    score = image.score
    ratios = {name: DEFINITIONS[name].ratio(score) for name in ("pq", "aji", "seg", "matched_iou")}
    return {
        "id": image.id,
        "n_truth": score.n_truth,
        "n_predicted": score.n_predicted,
        "dsb": score.dsb,
        **{f"ap_{round(level * 100)}": score.at(level).ap for level in (0.5, 0.75, 0.9)},
        "f1_50": score.at(0.5).f1,
        "neurips_f1": score.neurips.f1,
        "dice": score.dice,
        **{name: top / bottom if bottom else None for name, (top, bottom) in ratios.items()},
        "tp_50": score.at(0.5).tp,
        "fp_50": score.at(0.5).fp,
        "fn_50": score.at(0.5).fn,
        "split": score.split,
        "merged": score.merged,
        "missed": score.missed,
        "spurious": score.spurious,
        "attributes": image.attributes,
    }


def size_rows(scores: Sequence[ImageScore], seed: int = 0) -> list[dict[str, Any]]:
    """AP, recall and precision at IoU 0.5 of the small, medium and large third of the true objects.

    A match and a miss count where the true object belongs, a false positive where its own size belongs.
    """
    sizes = np.concatenate([score.truth_sizes for score in scores])
    if not len(sizes):
        return []
    edges = np.unique(np.sort(sizes)[[len(sizes) // 3, 2 * len(sizes) // 3]])
    edges = edges[edges > sizes.min()]
    names = SIZE_NAMES if len(edges) == 2 else ("small", "large") if len(edges) == 1 else ("all",)
    limits = [0.0, *map(float, edges), math.inf]
    ndim = scores[0].ndim
    rows = []
    for name, low, high in zip(names, limits[:-1], limits[1:], strict=True):
        rows.append({"value": name, **_size_row(scores, low, high, seed), **_size_range(low, high, ndim)})
    return rows


def _size_row(scores: Sequence[ImageScore], low: float, high: float, seed: int) -> dict[str, Any]:
    tp, fn, fp, iou = (np.zeros(len(scores)) for _ in range(4))
    for row, score in enumerate(scores):
        partner = score.truth_iou[(score.truth_sizes >= low) & (score.truth_sizes < high)]
        alone = (score.predicted_sizes >= low) & (score.predicted_sizes < high) & (score.predicted_iou == 0)
        tp[row], fn[row], fp[row] = (partner > 0).sum(), (partner == 0).sum(), alone.sum()
        iou[row] = partner.sum()
    tops, bottoms = np.stack([tp, tp, tp, iou], 1), np.stack([tp + fp + fn, tp + fp, tp + fn, tp], 1)
    names = ("ap_50", "precision_50", "recall_50", "matched_iou")
    intervals = bootstrap_intervals(tops, bottoms, seed=seed)
    plain = {name: plain_interval(interval) for name, interval in zip(names, intervals, strict=True)}
    return {"n_truth": int((tp + fn).sum()), "false_positives": int(fp.sum()), **plain}


def _size_range(low: float, high: float, ndim: int) -> dict[str, float | None]:
    """The stratum's limits as equivalent diameters, px: of a disc in 2D, of a ball in 3D."""
    scale = 4 / math.pi if ndim == 2 else 6 / math.pi
    ends = {"from_px": low, "to_px": high}
    return {name: plain_number((scale * end) ** (1 / ndim)) for name, end in ends.items()}


def _curve(scores: Sequence[ImageScore], thresholds: tuple[float, ...], seed: int) -> list[dict[str, Any]]:
    ap = _intervals(scores, [_pooled(level, _ap) for level in thresholds], seed)
    rows = []
    for level, interval in zip(thresholds, ap, strict=True):
        row: dict[str, Any] = {"iou": level, **{f"ap{end}": value for end, value in _ends(interval).items()}}
        for name, part in (("precision", _precision), ("recall", _recall), ("f1", _f1)):
            total = np.array([part(score.at(level)) for score in scores], float).sum(0)
            row[name] = plain_number(total[0] / total[1]) if total[1] else None
        for name in ("tp", "fp", "fn"):
            row[name] = sum(getattr(score.at(level), name) for score in scores)
        rows.append(row)
    return rows


def _ends(interval: Interval) -> dict[str, float | None]:
    values = {"": interval.value, "_low": interval.low, "_high": interval.high}
    return {name: plain_number(value) for name, value in values.items()}


def _errors(scores: Sequence[ImageScore]) -> dict[str, int]:
    kinds = ("split", "merged", "missed", "spurious")
    return {kind: sum(getattr(score, kind) for score in scores) for kind in kinds}


def stratum_columns(attributes: Sequence[Mapping[str, str]], by: Sequence[str] = ()) -> list[str]:
    """Index columns to make strata of: `by`, or every text column with few values.

    Args:
        attributes: Columns and values of each image.
        by: What is wanted.

    Raises:
        InputError: An unknown column.
    """
    names = dict.fromkeys(name for image in attributes for name in image)
    known = {name: {image.get(name, "") for image in attributes} for name in names}
    for name in by:
        if name not in known:
            columns = ", ".join(sorted(known)) or "none: the truth is a plain folder of labels"
            msg = (
                f"no column {nearest(name, list(known))}"
                if known
                else f"no column {name!r}; known: {columns}."
            )
            raise InputError(msg)
    if by:
        return list(by)
    return [
        name
        for name, values in known.items()
        # A column that is different in every image names it; it is no stratum.
        if 2 <= len(values) <= min(MOST_STRATA, len(attributes) - 1) and not _numeric(values)
    ]


def _numeric(values: set[str]) -> bool:
    return all(value.replace(".", "", 1).lstrip("-").isdigit() for value in values if value)


def _stratum_rows(images: Sequence[ScoredImage], column: str, seed: int) -> list[dict[str, Any]]:
    groups: dict[str, list[ImageScore]] = {}
    for image in images:
        groups.setdefault(image.attributes.get(column, ""), []).append(image.score)
    rows = []
    for value, scores in sorted(groups.items()):
        intervals = _intervals(scores, [DEFINITIONS[name].ratio for name in STRATUM_SCORES], seed)
        plain = {
            name: plain_interval(interval) for name, interval in zip(STRATUM_SCORES, intervals, strict=True)
        }
        n_truth = sum(score.n_truth for score in scores)
        rows.append({"value": value, "n_images": len(scores), "n_truth": n_truth, **plain})
    return rows


def _intervals(
    scores: Sequence[ImageScore], ratios: Sequence[Callable[[ImageScore], Ratio]], seed: int
) -> list[Interval]:
    table = np.array([[ratio(score) for ratio in ratios] for score in scores], float)
    return bootstrap_intervals(table[..., 0], table[..., 1], seed=seed)


def plain_interval(interval: Interval) -> dict[str, float | int | None]:
    """An interval as JSON knows it."""
    return {name: plain_number(value) for name, value in asdict(interval).items()}


def plain_number(value: float | int) -> float | int | None:
    """`value` as JSON knows it: NaN and infinity become None."""
    return value if math.isfinite(value) else None
