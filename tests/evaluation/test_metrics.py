import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import linear_sum_assignment

from morula.errors import InputError
from morula.evaluation.metrics import match_image, mean_ap, score_image
from morula.labels.matching import DSB_THRESHOLDS

pictures = hnp.arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 4))
pairs = st.integers(1, 9).flatmap(
    lambda side: st.tuples(
        *[hnp.arrays(np.int32, (side, side + 2), elements=st.integers(0, 4)) for _ in range(2)]
    )
)


def row(*ids: int) -> np.ndarray:
    return np.array([ids], np.int32)


def bars(*runs: tuple[int, int], width: int = 60) -> np.ndarray:
    """One row of objects, given as (first pixel, one past the last)."""
    labels = np.zeros((1, width), np.int32)
    for number, (start, stop) in enumerate(runs, 1):
        labels[0, start:stop] = number
    return labels


def ious(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Dense IoU matrix, object by object."""
    true_ids, predicted_ids = (np.unique(x[x > 0]) for x in (truth, predicted))
    table = np.zeros((len(true_ids), len(predicted_ids)))
    for i, a in enumerate(true_ids):
        for j, b in enumerate(predicted_ids):
            both = ((truth == a) & (predicted == b)).sum()
            table[i, j] = both / ((truth == a) | (predicted == b)).sum()
    return table


def true_positives(table: np.ndarray, threshold: float, strict: bool) -> int:
    good = table > threshold if strict else table >= threshold
    if not good.any():
        return 0
    gain = good.astype(float) + table / (2 * min(table.shape))
    rows, columns = linear_sum_assignment(-gain)
    return int(good[rows, columns].sum())


def test_counts_and_scores_by_hand():
    # IoU 10/10, 6/10 and 4/16; one object is missed and one is spurious.
    truth = bars((0, 10), (12, 22), (24, 34), (50, 55))
    predicted = bars((0, 10), (12, 18), (30, 40), (42, 45))
    score = score_image(truth, predicted)
    counts = {
        level: (score.at(level).tp, score.at(level).fp, score.at(level).fn) for level in (0.5, 0.6, 0.65)
    }
    assert counts == {0.5: (2, 2, 2), 0.6: (2, 2, 2), 0.65: (1, 3, 3)}
    # TP/(TP+FP+FN) is 2/6 at .50, .55, .60 and 1/7 at the seven others.
    assert score.dsb == pytest.approx((3 * 2 / 6 + 7 * 1 / 7) / 10)
    assert score.dsb_to_90 == pytest.approx((3 * 2 / 6 + 6 * 1 / 7) / 9)
    assert score.pq == (pytest.approx(1.6), 4)
    assert score.dice == pytest.approx(2 * (10 + 6 + 4) / (35 + 29))
    assert score.at(0.5).f1 == pytest.approx(0.5)
    # Only the first two are covered by more than half.
    assert score.seg_sum == pytest.approx(1 + 0.6)
    # Intersection 10+6+4; union 10+10+16, and 5 missed, 3 spurious pixels.
    assert score.aji == (20, 44)


def test_a_pair_at_the_threshold_matches_unless_strict():
    truth, predicted = bars((0, 10)), bars((0, 5))
    assert score_image(truth, predicted).at(0.5).tp == 1
    assert score_image(truth, predicted, strict=True).at(0.5).tp == 0


def test_two_halves_of_one_object_are_one_match():
    score = score_image(bars((0, 10)), bars((0, 5), (5, 10)))
    assert (score.at(0.5).tp, score.at(0.5).fp, score.at(0.5).fn) == (1, 1, 0)


def test_nothing_in_either_is_perfect():
    empty = row(0, 0, 0)
    score = score_image(empty, empty)
    assert (score.dsb, score.dice, score.neurips.f1) == (1, 1, 1)
    assert score_image(empty, row(0, 1, 0)).dsb == 0
    assert score_image(row(0, 1, 0), empty).dsb == 0


def test_an_image_is_perfect_against_itself(labels: np.ndarray):
    score = score_image(labels, labels)
    n = len(np.unique(labels)) - 1
    assert (score.dsb, score.dsb_to_90, score.dice, score.neurips.f1) == (1, 1, 1, 1)
    assert score.pq == (n, n)
    assert score.aji[0] == score.aji[1] == (labels > 0).sum()
    assert score.seg_sum == n
    assert (score.split, score.merged, score.missed, score.spurious) == (0, 0, 0, 0)


@settings(max_examples=60, deadline=None)
@given(pairs, st.booleans())
def test_counts_agree_with_a_dense_assignment(pair: tuple[np.ndarray, np.ndarray], strict: bool):
    truth, predicted = pair
    table = ious(truth, predicted)
    score = score_image(truth, predicted, thresholds=(0.1, 0.3), strict=strict)
    for level in (0.1, 0.3, *DSB_THRESHOLDS):
        tp = true_positives(table, level, strict) if table.size else 0
        count = score.at(level)
        assert (count.tp, count.fp, count.fn) == (tp, table.shape[1] - tp, table.shape[0] - tp)


@settings(max_examples=60, deadline=None)
@given(pairs)
def test_aji_agrees_with_the_published_loop(pair: tuple[np.ndarray, np.ndarray]):
    truth, predicted = pair
    table = ious(truth, predicted)
    true_ids, predicted_ids = (np.unique(x[x > 0]) for x in (truth, predicted))
    intersection, union, used = 0, 0, set()
    for i, a in enumerate(true_ids):
        if not table.shape[1] or table[i].max() == 0:
            union += (truth == a).sum()
            continue
        best = predicted_ids[table[i].argmax()]
        intersection += ((truth == a) & (predicted == best)).sum()
        union += ((truth == a) | (predicted == best)).sum()
        used.add(best)
    union += sum((predicted == b).sum() for b in predicted_ids if b not in used)
    assert score_image(truth, predicted).aji == (intersection, union)


@settings(max_examples=60, deadline=None)
@given(pairs)
def test_seg_and_dice_agree_with_their_definitions(pair: tuple[np.ndarray, np.ndarray]):
    truth, predicted = pair
    expected = 0.0
    for a in np.unique(truth[truth > 0]):
        for b in np.unique(predicted[predicted > 0]):
            both = ((truth == a) & (predicted == b)).sum()
            if both > 0.5 * (truth == a).sum():
                expected += both / ((truth == a) | (predicted == b)).sum()
    score = score_image(truth, predicted)
    assert score.seg_sum == pytest.approx(expected)
    total = (truth > 0).sum() + (predicted > 0).sum()
    dice = 2 * ((truth > 0) & (predicted > 0)).sum() / total if total else 1
    assert score.dice == pytest.approx(dice)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.int32, (9, 11), elements=st.integers(0, 5)),
    hnp.arrays(np.int32, (9, 11), elements=st.integers(0, 5)),
)
def test_neurips_counts_agree_with_removing_objects_first(truth: np.ndarray, predicted: np.ndarray):
    def without_frame(labels: np.ndarray) -> np.ndarray:
        frame = np.ones(labels.shape, bool)
        frame[2:-2, 2:-2] = False
        return np.where(np.isin(labels, labels[frame]), 0, labels).astype(np.int32)

    inner = score_image(without_frame(truth), without_frame(predicted)).at(0.5)
    found = score_image(truth, predicted).neurips
    assert (found.tp, found.fp, found.fn) == (inner.tp, inner.fp, inner.fn)


def test_an_object_on_the_frame_counts_for_dsb_but_not_for_neurips():
    truth = np.zeros((12, 12), np.int32)
    truth[1:4, 5:8] = 1
    truth[6:9, 5:8] = 2
    predicted = np.where(truth == 2, 7, 0).astype(np.int32)
    score = score_image(truth, predicted)
    assert (score.at(0.5).tp, score.at(0.5).fn) == (1, 1)
    assert (score.neurips.tp, score.neurips.fp, score.neurips.fn) == (1, 0, 0)


@pytest.mark.parametrize(
    ("truth", "predicted", "errors"),
    [
        (bars((0, 20)), bars((0, 9), (11, 20)), (1, 0, 0, 0)),
        (bars((0, 9), (11, 20)), bars((0, 20)), (0, 1, 0, 0)),
        (bars((0, 10)), bars(), (0, 0, 1, 0)),
        (bars(), bars((0, 10)), (0, 0, 0, 1)),
        (bars((0, 10)), bars((30, 40)), (0, 0, 1, 1)),
        # A crumb inside an object neither finds it nor is it an invention.
        (bars((0, 20)), bars((3, 4)), (0, 0, 1, 0)),
        # Shifted by a third: poor, but found.
        (bars((0, 9)), bars((3, 12)), (0, 0, 0, 0)),
    ],
)
def test_errors_by_hand(truth: np.ndarray, predicted: np.ndarray, errors: tuple[int, int, int, int]):
    score = score_image(truth, predicted)
    assert (score.split, score.merged, score.missed, score.spurious) == errors


def test_what_is_not_annotated_counts_nowhere():
    truth = bars((0, 10), (20, 30))
    truth[0, 30:60] = -1
    # One object lies beyond, one mostly beyond, one is right and reaches beyond a little.
    predicted = bars((0, 10), (40, 50), (20, 33))
    score = score_image(truth, predicted)
    assert (score.at(0.95).tp, score.at(0.95).fp, score.at(0.95).fn) == (2, 0, 0)
    assert score.dsb == 1
    assert (score.dice, score.spurious) == (1, 0)


def test_an_object_mostly_beyond_the_annotated_area_is_no_false_positive():
    truth = bars((0, 10))
    truth[0, 20:60] = -1
    predicted = bars((0, 10), (17, 30))
    score = score_image(truth, predicted)
    assert (score.at(0.5).fp, score.n_predicted, score.spurious) == (0, 1, 0)
    nearer = bars((0, 10), (12, 24))
    assert score_image(truth, nearer).at(0.5).fp == 1


@settings(max_examples=30, deadline=None)
@given(pictures, st.permutations([11, 3, 70_000, 5]))
def test_ids_do_not_matter(picture: np.ndarray, ids: list[int]):
    other = np.roll(picture, 1, axis=1)
    renamed = np.array([0, *ids], np.int32)[other]
    first, second = score_image(picture, other), score_image(picture, renamed)
    assert first.dsb == second.dsb
    assert first.seg_sum == pytest.approx(second.seg_sum)
    assert (first.split, first.merged, first.missed) == (second.split, second.merged, second.missed)


def test_unequal_shapes_are_named():
    with pytest.raises(InputError, match=r"\(1, 3\).*\(1, 2\)"):
        score_image(row(0, 1), row(0, 1, 1))


def test_sizes_and_partners():
    score = score_image(bars((0, 10), (20, 24)), bars((0, 8), (40, 43)))
    assert score.truth_sizes.tolist() == [10, 4]
    assert score.truth_iou.tolist() == [0.8, 0]
    assert score.predicted_sizes.tolist() == [8, 3]
    assert score.predicted_iou.tolist() == [0.8, 0]


@given(pairs, st.booleans())
def test_the_counts_alone_are_those_of_the_whole_score(arrays, strict):
    truth, predicted = arrays
    counts = match_image(truth, predicted, strict=strict)
    score = score_image(truth, predicted, strict=strict)
    assert counts == score.counts
    assert mean_ap(counts) == score.dsb
