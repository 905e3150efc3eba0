"""What one predicted image is worth: every score from one overlap table.

Where two objects count as the same, and so which scores follow, differs between communities; each
definition is stated with its source. All of them are sums over the image's objects, so that a data
set's score is a ratio of sums over its images (`morula.evaluation.summary`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from morula.errors import InputError
from morula.evaluation.boundary import count_boundary
from morula.evaluation.lending import lend_labels
from morula.labels.matching import DSB_THRESHOLDS, Matching, match_overlap, pairs_of_overlap
from morula.labels.overlap import Overlap, overlap_table
from morula.types import Labels

FRAME_PX = 2
"""Objects that touch this outermost frame are left out by the NeurIPS 2022 CellSeg rule."""

LINK_IOU = 0.1
"""Pairs above this IoU belong together when errors are counted (Caicedo et al. 2019, Cytometry A)."""


@dataclass(frozen=True)
class ObjectPairs:
    """The overlap table of one image by position: objects counted from 0, background left out."""

    truth_ids: np.ndarray
    """Id of each true object, ascending ``(truth,)``."""

    truth_sizes: np.ndarray
    """Pixels of each true object ``(truth,)``."""

    predicted_ids: np.ndarray
    """Id of each predicted object, ascending ``(predicted,)``."""

    predicted_sizes: np.ndarray
    """Pixels of each predicted object ``(predicted,)``."""

    truth_index: np.ndarray
    """True object of each pair that shares pixels ``(pair,)``."""

    predicted_index: np.ndarray
    """Predicted object of each pair ``(pair,)``."""

    shared: np.ndarray
    """Shared pixels of each pair ``(pair,)``."""

    excused: np.ndarray
    """Predicted objects mostly outside the annotated area, never false positives, bool ``(predicted,)``."""

    @property
    def union(self) -> np.ndarray:
        """Pixels of each pair's union ``(pair,)``."""
        sizes = self.truth_sizes[self.truth_index] + self.predicted_sizes[self.predicted_index]
        return sizes - self.shared

    @property
    def iou(self) -> np.ndarray:
        """Intersection over union of each pair, float64 ``(pair,)``."""
        return self.shared / self.union


def object_pairs(overlap: Overlap, excused_ids: np.ndarray) -> ObjectPairs:
    """`overlap` by position; `excused_ids` are the predicted objects that are never false."""
    truth_ids, truth_sizes = overlap.truth_objects
    predicted_ids, predicted_sizes = overlap.predicted_objects
    both = overlap.is_object_pair
    return ObjectPairs(
        truth_ids=truth_ids,
        truth_sizes=truth_sizes,
        predicted_ids=predicted_ids,
        predicted_sizes=predicted_sizes,
        truth_index=np.searchsorted(truth_ids, overlap.truth_ids[both]),
        predicted_index=np.searchsorted(predicted_ids, overlap.predicted_ids[both]),
        shared=overlap.pixels[both],
        excused=np.isin(predicted_ids, excused_ids),
    )


@dataclass(frozen=True)
class ImageScore:
    """Everything that was counted in one image; scores of many images are ratios of sums of these."""

    thresholds: tuple[float, ...]
    """IoU thresholds of `counts`."""

    counts: tuple[Matching, ...]
    """TP, FP, FN per threshold."""

    neurips: Matching
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

    boundary: tuple[int, int, int]
    """Pixels of the bands around the foreground's edges: shared, true, predicted (`count_boundary`)."""

    lent: Matching
    """Counts at IoU 0.5 when the predicted foreground borrows its labels from the truth (`lend_labels`)."""

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

    def at(self, threshold: float) -> Matching:
        """Counts at one of `thresholds`."""
        return self.counts[self.thresholds.index(threshold)]

    @property
    def dsb(self) -> float:
        """DSB score: mean over IoU 0.50 to 0.95 of TP / (TP + FP + FN); 1 without any object."""
        return mean_ap([self.at(threshold) for threshold in DSB_THRESHOLDS])

    @property
    def dsb_to_90(self) -> float:
        """The same mean over IoU 0.50 to 0.90, as some texts write it."""
        return mean_ap([self.at(threshold) for threshold in DSB_THRESHOLDS[:-1]])

    @property
    def pq(self) -> tuple[float, float]:
        """Panoptic quality as sum of matched IoU and TP + FP/2 + FN/2 (Kirillov et al. 2019, eq. 1)."""
        return float(self.truth_iou.sum()), (self.n_truth + self.n_predicted) / 2

    @property
    def dice(self) -> float:
        """Dice of the foreground, 2 shared / (true + predicted); 1 without any object."""
        return _dice(*self.foreground)

    @property
    def boundary_dice(self) -> float:
        """Dice of the bands around the edges; 1 without any edge."""
        return _dice(*self.boundary)


def match_image(
    truth: Labels, predicted: Labels, thresholds: Sequence[float] = DSB_THRESHOLDS, *, strict: bool = False
) -> tuple[Matching, ...]:
    """Only the counts of `score_image`, for searches that ask thousands of times.

    Raises:
        InputError: The shapes differ.
    """
    overlap = _overlap(truth, predicted)
    return _counts(overlap, tuple(thresholds), strict, _excused_ids(truth, predicted, overlap))


def mean_ap(counts: Sequence[Matching]) -> float:
    """Mean over thresholds of TP / (TP + FP + FN): the DSB score, over `DSB_THRESHOLDS`."""
    return float(np.mean([count.ap for count in counts]))


def score_image(
    truth: Labels,
    predicted: Labels,
    *,
    thresholds: Sequence[float] = (),
    strict: bool = False,
) -> ImageScore:
    """Count everything in one image, from one overlap table.

    Args:
        truth: ``(*spatial)``; -1 is not annotated.
        predicted: ``(*spatial)``.
        thresholds: IoU thresholds beyond `DSB_THRESHOLDS`, which are always counted.
        strict: A pair matches above a threshold instead of at or above it.

    Raises:
        InputError: The shapes differ, or a threshold is not above 0 and at most 1.
    """
    levels = iou_levels(thresholds)
    overlap = _overlap(truth, predicted)
    excused = _excused_ids(truth, predicted, overlap)
    pairs = object_pairs(overlap, excused)
    truth_iou, predicted_iou = _partner_iou(overlap, pairs, strict)
    counted = ~pairs.excused | (predicted_iou > 0)
    split, merged, missed, spurious = count_errors(pairs)
    return ImageScore(
        thresholds=levels,
        counts=_counts(overlap, levels, strict, excused),
        neurips=_counts(_without_frame(overlap, truth, predicted), (0.5,), strict, excused)[0],
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
        boundary=count_boundary(truth, predicted),
        lent=match_image(truth, lend_labels(truth, predicted), (0.5,), strict=strict)[0],
        split=split,
        merged=merged,
        missed=missed,
        spurious=spurious,
        ndim=truth.ndim,
    )


def iou_levels(extra: Sequence[float]) -> tuple[float, ...]:
    """`DSB_THRESHOLDS` and the `extra` ones, ascending.

    Raises:
        InputError: One is not above 0 and at most 1.
    """
    for level in extra:
        if not 0 < level <= 1:
            msg = f"IoU threshold {level:g}: expected numbers above 0 and at most 1, such as 0.6."
            raise InputError(msg)
    return tuple(sorted({*DSB_THRESHOLDS, *map(float, extra)}))


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

    A prediction counts for a true object when it covers more than half of it (Maska et al. 2014, 2.4).
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


def _dice(shared: int, true: int, predicted: int) -> float:
    return 2 * shared / (true + predicted) if true + predicted else 1.0


def _overlap(truth: Labels, predicted: Labels) -> Overlap:
    """The overlap table.

    Raises:
        InputError: The shapes differ.
    """
    if truth.shape != predicted.shape:
        msg = (
            f"the predicted labels have shape {predicted.shape}, the truth has {truth.shape}; "
            "both must lie on the same grid."
        )
        raise InputError(msg)
    return overlap_table(truth, predicted)


def _partner_iou(overlap: Overlap, pairs: ObjectPairs, strict: bool) -> tuple[np.ndarray, np.ndarray]:
    """IoU of every true and every predicted object with its partner at 0.5, 0 without one."""
    truth_ids, predicted_ids, iou = pairs_of_overlap(overlap, 0.5, strict)
    truth_iou, predicted_iou = np.zeros(len(pairs.truth_ids)), np.zeros(len(pairs.predicted_ids))
    truth_iou[np.searchsorted(pairs.truth_ids, truth_ids)] = iou
    predicted_iou[np.searchsorted(pairs.predicted_ids, predicted_ids)] = iou
    return truth_iou, predicted_iou


def _counts(
    overlap: Overlap, thresholds: tuple[float, ...], strict: bool, excused_ids: np.ndarray
) -> tuple[Matching, ...]:
    """`match_overlap` without the false positives that are excused."""
    counts = match_overlap(overlap, thresholds, strict)
    if not len(excused_ids):
        return counts
    present = np.intersect1d(excused_ids, overlap.predicted_ids)
    matched = [pairs_of_overlap(overlap, level, strict)[1] for level in thresholds]
    return tuple(
        replace(count, fp=count.fp - len(np.setdiff1d(present, ids)))
        for count, ids in zip(counts, matched, strict=True)
    )


def _without_frame(overlap: Overlap, truth: Labels, predicted: Labels) -> Overlap:
    """The table without objects that touch the frame: they become background, the others keep their sizes."""
    return replace(
        overlap,
        truth_ids=_blanked(overlap.truth_ids, _frame_ids(truth)),
        predicted_ids=_blanked(overlap.predicted_ids, _frame_ids(predicted)),
    )


def _blanked(ids: np.ndarray, gone: np.ndarray) -> np.ndarray:
    return np.where(np.isin(ids, gone), np.int32(0), ids)


def _frame_ids(labels: Labels) -> np.ndarray:
    """Ids that touch the outermost `FRAME_PX` pixels along any axis."""
    slabs = []
    for axis in range(labels.ndim):
        moved = np.moveaxis(labels, axis, 0)
        slabs += [moved[:FRAME_PX].ravel(), moved[-FRAME_PX:].ravel()]
    return np.unique(np.concatenate(slabs))


def _excused_ids(truth: Labels, predicted: Labels, overlap: Overlap) -> np.ndarray:
    """Predicted objects with more pixels outside the annotated area than inside it."""
    ignored = truth < 0
    if not ignored.any():
        return np.zeros(0, np.int32)
    ids, outside = np.unique(predicted[ignored], return_counts=True)
    inside_ids, inside = overlap.predicted_objects
    sizes = dict(zip(inside_ids.tolist(), inside.tolist(), strict=True))
    return ids[[key > 0 and pixels > sizes.get(key, 0) for key, pixels in zip(ids, outside, strict=True)]]
