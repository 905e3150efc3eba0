"""What one predicted image is worth: every score from one overlap table.

Where two objects count as the same, and so which scores follow, differs between communities; each
definition is stated with its source. All of them are sums over the image's objects, so that a data
set's score is a ratio of sums over its images (`morula.evaluation.summary`).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from morula.errors import InputError
from morula.labels.overlap import overlap_table
from morula.types import Labels, Mask

DSB_THRESHOLDS: tuple[float, ...] = tuple(step / 100 for step in range(50, 100, 5))
"""IoU 0.50, 0.55 ... 0.95: the thresholds of the Data Science Bowl 2018."""

FRAME_PX = 2
"""Objects that touch this outermost frame are left out by the NeurIPS 2022 CellSeg rule."""

LINK_IOU = 0.1
"""Pairs above this IoU belong together when errors are counted (Caicedo et al. 2019, Cytometry A)."""


@dataclass(frozen=True)
class Counts:
    """True positives, false positives and false negatives at one IoU threshold."""

    tp: int
    fp: int
    fn: int

    @property
    def precision(self) -> float:
        """TP / (TP + FP); 1 without any object."""
        return self._share(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """TP / (TP + FN); 1 without any object."""
        return self._share(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN); 1 without any object."""
        return self._share(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def ap(self) -> float:
        """TP / (TP + FP + FN), which the field calls average precision; 1 without any object."""
        return self._share(self.tp, self.tp + self.fp + self.fn)

    def _share(self, part: int, whole: int) -> float:
        if whole:
            return part / whole
        return float(self.tp + self.fp + self.fn == 0)


@dataclass(frozen=True)
class ObjectPairs:
    """The overlap table of one image, with objects counted from 0 and the background left out.

    A predicted object that lies mostly where the truth is not annotated is `excused`: it may match,
    but it is never a false positive. Pixels that are not annotated count nowhere.
    """

    truth_sizes: np.ndarray
    """Pixels of each true object, int64 ``(truth,)``."""

    predicted_sizes: np.ndarray
    """Pixels of each predicted object, int64 ``(predicted,)``."""

    truth_index: np.ndarray
    """True object of each pair that shares pixels, ``(pair,)``."""

    predicted_index: np.ndarray
    """Predicted object of each pair, ``(pair,)``."""

    shared: np.ndarray
    """Shared pixels of each pair, int64 ``(pair,)``."""

    truth_framed: np.ndarray
    """Whether a true object touches the frame, bool ``(truth,)``."""

    predicted_framed: np.ndarray
    """Whether a predicted object touches the frame, bool ``(predicted,)``."""

    excused: np.ndarray
    """Whether a predicted object lies mostly outside the annotated area, bool ``(predicted,)``."""

    @cached_property
    def union(self) -> np.ndarray:
        """Pixels of each pair's union, int64 ``(pair,)``."""
        sizes = self.truth_sizes[self.truth_index] + self.predicted_sizes[self.predicted_index]
        return sizes - self.shared

    @cached_property
    def iou(self) -> np.ndarray:
        """Intersection over union of each pair, float64 ``(pair,)``."""
        return self.shared / self.union

    def matched(self, threshold: float, *, strict: bool = False) -> np.ndarray:
        """Indices of the pairs that match one to one at an IoU of at least (`strict`: above) `threshold`.

        Above an IoU of one half an object has one partner at most, so there is nothing to choose;
        at or below, the largest number of matches is chosen, then the largest sum of IoU (as StarDist).
        """
        candidates = np.flatnonzero(self.iou > threshold if strict else self.iou >= threshold)
        rows, columns = self.truth_index[candidates], self.predicted_index[candidates]
        if len(set(rows.tolist())) == len(rows) and len(set(columns.tolist())) == len(columns):
            return candidates
        return candidates[_best_assignment(rows, columns, self.iou[candidates])]

    def counts(self, threshold: float, *, strict: bool = False) -> Counts:
        """TP, FP and FN at one IoU threshold."""
        hits = self.matched(threshold, strict=strict)
        excused = self.excused.copy()
        excused[self.predicted_index[hits]] = False
        tp = len(hits)
        return Counts(tp, len(self.predicted_sizes) - tp - int(excused.sum()), len(self.truth_sizes) - tp)

    def without_frame(self) -> "ObjectPairs":
        """The same table without objects that touch the frame (NeurIPS 2022 CellSeg)."""
        truth, predicted = ~self.truth_framed, ~self.predicted_framed
        kept = truth[self.truth_index] & predicted[self.predicted_index]
        return ObjectPairs(
            truth_sizes=self.truth_sizes[truth],
            predicted_sizes=self.predicted_sizes[predicted],
            truth_index=(np.cumsum(truth) - 1)[self.truth_index[kept]],
            predicted_index=(np.cumsum(predicted) - 1)[self.predicted_index[kept]],
            shared=self.shared[kept],
            truth_framed=self.truth_framed[truth],
            predicted_framed=self.predicted_framed[predicted],
            excused=self.excused[predicted],
        )


def object_pairs(truth: Labels, predicted: Labels) -> ObjectPairs:
    """The overlap table of one image.

    Args:
        truth: ``(*spatial)``; -1 marks pixels that are not annotated and count nowhere.
        predicted: ``(*spatial)``, the same shape.

    Raises:
        InputError: The shapes differ; both are named.
    """
    if truth.shape != predicted.shape:
        msg = (
            f"predicted labels have shape {predicted.shape}, the truth has {truth.shape}; "
            "both must lie on the same grid."
        )
        raise InputError(msg)
    ignored = truth < 0
    some_ignored = bool(ignored.any())
    table = overlap_table(truth, predicted, ignore=ignored if some_ignored else None)
    truth_ids, truth_sizes, rows = _sizes(table.truth_ids, table.pixels)
    predicted_ids, predicted_sizes, columns = _sizes(table.predicted_ids, table.pixels)
    both = (rows >= 0) & (columns >= 0)
    return ObjectPairs(
        truth_sizes=truth_sizes,
        predicted_sizes=predicted_sizes,
        truth_index=rows[both],
        predicted_index=columns[both],
        shared=table.pixels[both],
        truth_framed=np.isin(truth_ids, _frame_ids(truth)),
        predicted_framed=np.isin(predicted_ids, _frame_ids(predicted)),
        excused=_excused(predicted, ignored, predicted_ids, predicted_sizes)
        if some_ignored
        else np.zeros(len(predicted_ids), bool),
    )


@dataclass(frozen=True)
class ImageScore:
    """Everything that was counted in one image; scores of many images are ratios of sums of these."""

    thresholds: tuple[float, ...]
    """IoU thresholds of `counts`."""

    counts: tuple[Counts, ...]
    """TP, FP, FN per threshold."""

    neurips: Counts
    """Counts at IoU 0.5 without the objects on the frame (NeurIPS 2022 CellSeg)."""

    truth_sizes: np.ndarray
    """Pixels of each true object."""

    truth_iou: np.ndarray
    """IoU of each true object with its partner at 0.5, 0 without one."""

    predicted_sizes: np.ndarray
    """Pixels of each predicted object that is matched or counts as false."""

    predicted_iou: np.ndarray
    """IoU of each of those with its partner at 0.5, 0 without one."""

    aji: tuple[int, int]
    """Aggregated intersection and union in pixels (Kumar et al. 2017, IEEE TMI, algorithm 1)."""

    seg_sum: float
    """Sum over true objects of the Jaccard index with the prediction that covers more than half of them."""

    foreground: tuple[int, int, int]
    """Foreground pixels: shared, true, predicted."""

    split: int
    """True objects inside which two or more predicted objects mostly lie."""

    merged: int
    """Predicted objects that hold more than half of two or more true objects."""

    missed: int
    """True objects that no prediction mostly covers or meets with an IoU above `LINK_IOU`."""

    spurious: int
    """Predicted objects with no such link to any true object, and not mostly inside one."""

    ndim: int
    """Spatial axes, to turn sizes into diameters."""

    @property
    def n_truth(self) -> int:
        """Number of true objects."""
        return len(self.truth_sizes)

    @property
    def n_predicted(self) -> int:
        """Number of predicted objects that count."""
        return len(self.predicted_sizes)

    def at(self, threshold: float) -> Counts:
        """Counts at one of `thresholds`."""
        return self.counts[self.thresholds.index(threshold)]

    @property
    def dsb(self) -> float:
        """DSB score: mean over IoU 0.50 to 0.95 of TP / (TP + FP + FN); 1 without any object."""
        return float(np.mean([self.at(threshold).ap for threshold in DSB_THRESHOLDS]))

    @property
    def dsb_to_90(self) -> float:
        """The same mean over IoU 0.50 to 0.90, as some texts write it."""
        return float(np.mean([self.at(threshold).ap for threshold in DSB_THRESHOLDS[:-1]]))

    @property
    def pq(self) -> tuple[float, float]:
        """Panoptic quality as sum of matched IoU and TP + FP/2 + FN/2 (Kirillov et al. 2019, eq. 1)."""
        return float(self.truth_iou.sum()), (self.n_truth + self.n_predicted) / 2

    @property
    def dice(self) -> float:
        """Dice of the foreground, 2 shared / (true + predicted); 1 without any object."""
        shared, true, predicted = self.foreground
        return 2 * shared / (true + predicted) if true + predicted else 1.0


def score_image(
    truth: Labels,
    predicted: Labels,
    *,
    thresholds: tuple[float, ...] = DSB_THRESHOLDS,
    strict: bool = False,
) -> ImageScore:
    """Count everything in one image, from one overlap table.

    Args:
        truth: ``(*spatial)``; -1 is not annotated.
        predicted: ``(*spatial)``.
        thresholds: IoU thresholds beyond `DSB_THRESHOLDS`, which are always counted.
        strict: A pair matches above a threshold instead of at or above it.

    Raises:
        InputError: The shapes differ.
    """
    pairs = object_pairs(truth, predicted)
    levels = tuple(sorted({*DSB_THRESHOLDS, *thresholds}))
    hits = pairs.matched(0.5, strict=strict)
    truth_iou = np.zeros(len(pairs.truth_sizes))
    truth_iou[pairs.truth_index[hits]] = pairs.iou[hits]
    predicted_iou = np.zeros(len(pairs.predicted_sizes))
    predicted_iou[pairs.predicted_index[hits]] = pairs.iou[hits]
    counted = ~pairs.excused | (predicted_iou > 0)
    split, merged, missed, spurious = count_errors(pairs)
    return ImageScore(
        thresholds=levels,
        counts=tuple(pairs.counts(level, strict=strict) for level in levels),
        neurips=pairs.without_frame().counts(0.5, strict=strict),
        truth_sizes=pairs.truth_sizes,
        truth_iou=truth_iou,
        predicted_sizes=pairs.predicted_sizes[counted],
        predicted_iou=predicted_iou[counted],
        aji=aggregated_jaccard(pairs),
        seg_sum=seg_sum(pairs),
        foreground=(
            int(pairs.shared.sum()),
            int(pairs.truth_sizes.sum()),
            int(pairs.predicted_sizes.sum()),
        ),
        split=split,
        merged=merged,
        missed=missed,
        spurious=spurious,
        ndim=truth.ndim,
    )


def aggregated_jaccard(pairs: ObjectPairs) -> tuple[int, int]:
    """Aggregated intersection and union; their ratio is the AJI (Kumar et al. 2017, algorithm 1).

    Every true object takes the prediction of highest IoU, which may serve several of them; true
    objects and predictions that are left alone add their pixels to the union.
    """
    order = np.lexsort((-pairs.iou, pairs.truth_index))
    first = order[np.diff(pairs.truth_index[order], prepend=-1) > 0]
    lonely_truth = np.ones(len(pairs.truth_sizes), bool)
    lonely_truth[pairs.truth_index[first]] = False
    lonely_predicted = ~pairs.excused
    lonely_predicted[pairs.predicted_index[first]] = False
    lonely = pairs.truth_sizes[lonely_truth].sum() + pairs.predicted_sizes[lonely_predicted].sum()
    return int(pairs.shared[first].sum()), int(pairs.union[first].sum() + lonely)


def seg_sum(pairs: ObjectPairs) -> float:
    """Sum over true objects of the Cell Tracking Challenge's SEG; divided by their number it is SEG.

    A prediction counts for a true object when it covers more than half of it (Maska et al. 2014, section 2.4).
    """
    covers = 2 * pairs.shared > pairs.truth_sizes[pairs.truth_index]
    return float(pairs.iou[covers].sum())


def count_errors(pairs: ObjectPairs) -> tuple[int, int, int, int]:
    """Numbers of split, merged, missed and spurious objects; see `ImageScore` for what each means."""
    n_truth, n_predicted = len(pairs.truth_sizes), len(pairs.predicted_sizes)
    covered = 2 * pairs.shared > pairs.truth_sizes[pairs.truth_index]
    inside = 2 * pairs.shared > pairs.predicted_sizes[pairs.predicted_index]
    linked = covered | (pairs.iou > LINK_IOU)
    pieces = np.bincount(pairs.truth_index[inside], minlength=n_truth)
    swallowed = np.bincount(pairs.predicted_index[covered], minlength=n_predicted)
    found = np.bincount(pairs.truth_index[linked], minlength=n_truth)
    meant = np.bincount(pairs.predicted_index[linked | inside], minlength=n_predicted)
    return (
        int((pieces > 1).sum()),
        int((swallowed > 1).sum()),
        int((found == 0).sum()),
        int(((meant == 0) & ~pairs.excused).sum()),
    )


def _sizes(ids: np.ndarray, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Object ids, their sizes, and each pair's object index (-1: background)."""
    known, index = np.unique(np.maximum(ids, 0), return_inverse=True)
    sizes = np.zeros(len(known), np.int64)
    np.add.at(sizes, index, pixels)
    has_background = int(len(known) > 0 and known[0] == 0)
    return known[has_background:], sizes[has_background:], index - has_background


def _frame_ids(labels: Labels) -> np.ndarray:
    """Ids that touch the outermost `FRAME_PX` pixels along any axis."""
    slabs = []
    for axis in range(labels.ndim):
        moved = np.moveaxis(labels, axis, 0)
        slabs += [np.unique(moved[:FRAME_PX]), np.unique(moved[-FRAME_PX:])]
    return np.unique(np.concatenate(slabs))


def _excused(predicted: Labels, ignored: Mask, ids: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Which predicted objects have more pixels outside the annotated area than inside."""
    outside_ids, outside = np.unique(predicted[ignored], return_counts=True)
    position = np.searchsorted(ids, outside_ids)
    known = (position < len(ids)) & (outside_ids > 0)
    known[known] = ids[position[known]] == outside_ids[known]
    outside_sizes = np.zeros(len(ids), np.int64)
    outside_sizes[position[known]] = outside[known]
    return outside_sizes > sizes


def _best_assignment(rows: np.ndarray, columns: np.ndarray, iou: np.ndarray) -> np.ndarray:
    """Indices of the one-to-one pairs with the most matches, then the largest sum of IoU."""
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n_rows, n_columns = int(rows.max()) + 1, int(columns.max()) + 1
    edges = coo_array((np.ones(len(rows)), (rows, columns + n_rows)), shape=(n_rows + n_columns,) * 2)
    cluster = connected_components(edges, directed=False)[1][rows]
    chosen = []
    for members in np.split(
        np.argsort(cluster, kind="stable"), np.flatnonzero(np.diff(np.sort(cluster))) + 1
    ):
        local_rows, r = np.unique(rows[members], return_inverse=True)
        local_columns, c = np.unique(columns[members], return_inverse=True)
        gain = np.zeros((len(local_rows), len(local_columns)))
        # One more match always outweighs every IoU that could be gained elsewhere.
        gain[r, c] = min(gain.shape) + iou[members]
        row_of, column_of = linear_sum_assignment(gain, maximize=True)
        taken = np.full(gain.shape, -1)
        taken[r, c] = members
        picked = taken[row_of, column_of]
        chosen.append(picked[picked >= 0])
    return np.sort(np.concatenate(chosen))
