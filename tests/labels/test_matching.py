import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment

from morula.labels.matching import DSB_THRESHOLDS, Matching, match, matched_pairs, pool

THRESHOLDS = (0.1, 0.3, *DSB_THRESHOLDS)
small = arrays(np.int32, (7, 8), elements=st.integers(0, 4))


def match_by_stardist(truth, predicted, threshold):
    """TP, FP, FN, sum of IoU as stardist.matching.matching defines them: assignment over the full matrix."""
    a, b = np.unique(truth[truth > 0]), np.unique(predicted[predicted > 0])
    both = np.array([[((truth == i) & (predicted == j)).sum() for j in b] for i in a]).reshape(len(a), len(b))
    size_a = np.array([(truth == i).sum() for i in a]).reshape(-1, 1)
    size_b = np.array([(predicted == j).sum() for j in b]).reshape(1, -1)
    scores = both / (size_a + size_b - both)
    if min(scores.shape) == 0:
        return 0, len(b), len(a), 0.0
    costs = -(scores >= threshold).astype(float) - scores / (2 * min(scores.shape))
    pairs = linear_sum_assignment(costs)
    good = scores[pairs] >= threshold
    return int(good.sum()), len(b) - int(good.sum()), len(a) - int(good.sum()), scores[pairs][good].sum()


@settings(max_examples=60, deadline=None)
@given(small, small)
def test_agrees_with_stardist(truth, predicted):
    for result in match(truth, predicted, THRESHOLDS):
        tp, fp, fn, total = match_by_stardist(truth, predicted, result.threshold)
        assert (result.tp, result.fp, result.fn) == (tp, fp, fn)
        found = matched_pairs(truth, predicted, result.threshold)[2].sum()
        # StarDist lets pairs below the threshold weigh in, so below 0.5 it may take a lower sum.
        assert found >= total - 1e-9
        if result.threshold > 0.5:
            assert found == pytest.approx(total)


@settings(max_examples=30, deadline=None)
@given(small)
def test_labels_match_themselves(labels):
    for result in match(labels, labels, THRESHOLDS):
        assert result.ap == result.f1 == result.precision == result.recall == 1


@settings(max_examples=30, deadline=None)
@given(small, small, st.permutations([1, 2, 3, 4]))
def test_ids_do_not_matter(truth, predicted, order):
    renamed = np.array([0, *order], np.int32)[predicted]
    for a, b in zip(match(truth, predicted, THRESHOLDS), match(truth, renamed, THRESHOLDS), strict=True):
        assert (a.tp, a.fp, a.fn) == (b.tp, b.fp, b.fn)


@settings(max_examples=30, deadline=None)
@given(small, small)
def test_counts_add_up_and_are_symmetric(truth, predicted):
    for a, b in zip(match(truth, predicted, THRESHOLDS), match(predicted, truth, THRESHOLDS), strict=True):
        assert a.tp + a.fn == np.unique(truth[truth > 0]).size
        assert a.tp + a.fp == np.unique(predicted[predicted > 0]).size
        assert (a.tp, a.fp, a.fn) == (b.tp, b.fn, b.fp)


def test_strict_needs_more_than_the_threshold():
    truth = np.array([1, 1, 1, 1], np.int32)
    predicted = np.array([5, 5, 6, 6], np.int32)
    assert match(truth, predicted)[0].tp == 1
    assert match(truth, predicted, strict=True)[0].tp == 0


def test_two_halves_compete_for_one_object():
    truth = np.array([1, 1, 1, 2, 2, 2, 2, 2], np.int32)
    predicted = np.array([7, 8, 8, 8, 8, 8, 0, 0], np.int32)
    truth_ids, predicted_ids, iou = matched_pairs(truth, predicted, 0.3)
    # 8 overlaps 1 by 2/6 and 2 by 3/7; 7 overlaps 1 by 1/3: two pairs beat one good one.
    assert list(zip(truth_ids.tolist(), predicted_ids.tolist(), strict=True)) == [(1, 7), (2, 8)]
    np.testing.assert_allclose(iou, [1 / 3, 3 / 7])


def test_unannotated_pixels_do_not_count():
    truth = np.array([1, 1, 0, -1, -1], np.int32)
    predicted = np.array([4, 4, 0, 4, 9], np.int32)
    (result,) = match(truth, predicted)
    assert (result.tp, result.fp, result.fn) == (1, 0, 0)


def test_scores_by_hand():
    result = Matching(0.5, tp=3, fp=1, fn=2)
    assert result.precision == 0.75
    assert result.recall == 0.6
    assert result.f1 == pytest.approx(2 / 3)
    assert result.ap == 0.5


def test_nothing_to_find():
    empty, full = np.zeros((3, 3), np.int32), np.ones((3, 3), np.int32)
    assert match(empty, empty)[0].ap == match(empty, empty)[0].f1 == 1
    assert match(empty, full)[0].ap == match(empty, full)[0].precision == 0
    assert match(full, empty)[0].f1 == match(full, empty)[0].recall == 0


def test_pooling_adds_counts():
    images = [match(np.array(t, np.int32), np.array(p, np.int32)) for t, p in [([1, 2], [1, 0]), ([3], [3])]]
    (pooled,) = pool(images)
    assert (pooled.tp, pooled.fp, pooled.fn) == (2, 0, 1)
    assert pool([]) == ()


def test_other_thresholds_cannot_be_added():
    with pytest.raises(ValueError, match="cannot be added"):
        Matching(0.5, 1, 0, 0) + Matching(0.6, 1, 0, 0)
