"""Matching of predicted to true objects, and the scores that follow from it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from morula.labels.overlap import Overlap, overlap_table
from morula.types import Labels

DSB_THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
"""IoU thresholds of the Data Science Bowl 2018 score."""

Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Truth ids int32, predicted ids int32 and IoU float64, all ``(pairs,)``, ascending by truth id."""


@dataclass(frozen=True)
class Matching:
    """Counts at one IoU threshold; add them up over images to pool (`pool`).

    Every score is 1 where there is nothing to find and nothing was found.
    """

    threshold: float
    """IoU that a pair needs."""

    tp: int
    """True positives: matched pairs."""

    fp: int
    """False positives: predicted objects without a partner."""

    fn: int
    """False negatives: true objects without a partner."""

    def __add__(self, other: "Matching") -> "Matching":
        """Both images' counts together.

        Raises:
            ValueError: The thresholds differ.
        """
        if other.threshold != self.threshold:
            msg = f"matchings at IoU {self.threshold} and {other.threshold} cannot be added"
            raise ValueError(msg)
        return Matching(self.threshold, self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    @property
    def precision(self) -> float:
        """TP / (TP + FP)."""
        return self._ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """TP / (TP + FN)."""
        return self._ratio(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN)."""
        return self._ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def ap(self) -> float:
        """TP / (TP + FP + FN): the field's "average precision" (StarDist's `accuracy`)."""
        return self._ratio(self.tp, self.tp + self.fp + self.fn)

    def _ratio(self, part: float | int, whole: float | int) -> float:
        if whole:
            return part / whole
        return 1.0 if self.tp + self.fp + self.fn == 0 else 0.0


def match(
    truth: Labels, predicted: Labels, thresholds: Sequence[float] = (0.5,), strict: bool = False
) -> tuple[Matching, ...]:
    """Counts matched and unmatched objects at each IoU threshold.

    Each object has one partner at most; where several are possible (IoU of 0.5 or less) as many
    pairs as possible are made, then those of the highest IoU.

    Args:
        truth: Ids ``(*spatial)``; where it is -1 nothing counts.
        predicted: Ids ``(*spatial)``.
        thresholds: IoU thresholds.
        strict: A pair needs an IoU above the threshold (DSB 2018), not at least the threshold
            (StarDist, Cellpose).

    Example:
        >>> result, = match(np.array([1, 1, 2, 0], np.int32), np.array([1, 1, 0, 3], np.int32))
        >>> result.tp, result.fp, result.fn, round(result.ap, 2)
        (1, 1, 1, 0.33)
    """
    return match_overlap(overlap_table(truth, predicted), thresholds, strict)


def match_overlap(
    overlap: Overlap, thresholds: Sequence[float] = (0.5,), strict: bool = False
) -> tuple[Matching, ...]:
    """As `match`, from a table that exists already."""
    n_truth, n_predicted = overlap.n_truth, overlap.n_predicted
    pairs = _object_pairs(overlap)
    results = []
    for threshold in thresholds:
        tp = len(_partners(pairs, threshold, strict)[0])
        results.append(Matching(float(threshold), tp, n_predicted - tp, n_truth - tp))
    return tuple(results)


def pool(matchings: Iterable[Sequence[Matching]]) -> tuple[Matching, ...]:
    """Adds up the counts of many images, threshold by threshold.

    Args:
        matchings: What `match` returned, one entry per image, all with the same thresholds.

    Returns:
        One matching per threshold; empty when there are no images.
    """
    total: tuple[Matching, ...] | None = None
    for image in matchings:
        total = tuple(image) if total is None else tuple(a + b for a, b in zip(total, image, strict=True))
    return total or ()


def matched_pairs(truth: Labels, predicted: Labels, threshold: float = 0.5, strict: bool = False) -> Pairs:
    """The pairs behind `match` at one threshold."""
    return pairs_of_overlap(overlap_table(truth, predicted), threshold, strict)


def pairs_of_overlap(overlap: Overlap, threshold: float = 0.5, strict: bool = False) -> Pairs:
    """As `matched_pairs`, from a table that exists already."""
    return _partners(_object_pairs(overlap), threshold, strict)


def _object_pairs(overlap: Overlap) -> Pairs:
    """All pairs of objects that share a pixel."""
    both = overlap.is_object_pair
    return overlap.truth_ids[both], overlap.predicted_ids[both], overlap.iou[both]


def _partners(pairs: Pairs, threshold: float, strict: bool) -> Pairs:
    iou = pairs[2]
    good = (iou > threshold) if strict else (iou >= max(threshold, np.finfo(float).tiny))
    truth_ids, predicted_ids, iou = (column[good] for column in pairs)
    # Above 0.5 nobody can have two partners: no assignment problem to solve.
    if threshold < 0.5 or (threshold == 0.5 and not strict):
        kept = _assign(truth_ids, predicted_ids, iou)
        truth_ids, predicted_ids, iou = truth_ids[kept], predicted_ids[kept], iou[kept]
    return truth_ids, predicted_ids, iou


def _assign(truth_ids: np.ndarray, predicted_ids: np.ndarray, iou: np.ndarray) -> np.ndarray:
    """Boolean ``(pairs,)``: the pairs of a matching with most pairs, then highest summed IoU."""
    kept = np.ones(iou.size, bool)
    rows, row = np.unique(truth_ids, return_inverse=True)
    columns, column = np.unique(predicted_ids, return_inverse=True)
    if max(rows.size, columns.size) == iou.size == min(rows.size, columns.size):
        return kept
    # Imported here: objects rarely compete, and these modules take longer to load than most tables to count.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    # The problem falls apart into small groups of objects that compete with each other.
    size = rows.size + columns.size
    graph = coo_array((np.ones(iou.size), (row, rows.size + column)), shape=(size, size))
    group = connected_components(graph, directed=False)[1][row]
    for contested in np.flatnonzero(np.bincount(group) > 1):
        pairs = np.flatnonzero(group == contested)
        kept[pairs] = _assign_group(row[pairs], column[pairs], iou[pairs])
    return kept


def _assign_group(row: np.ndarray, column: np.ndarray, iou: np.ndarray) -> np.ndarray:
    from scipy.optimize import linear_sum_assignment

    _, row = np.unique(row, return_inverse=True)
    _, column = np.unique(column, return_inverse=True)
    # One more pair always outweighs any gain of IoU.
    gain = np.zeros((row.max() + 1, column.max() + 1))
    gain[row, column] = min(gain.shape) + 1 + iou
    pairs = np.stack(linear_sum_assignment(gain, maximize=True))
    chosen = np.zeros(gain.shape, bool)
    chosen[tuple(pairs)] = True
    return chosen[row, column]
