import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from morula.labels.overlap import overlap_table

pairs_of_labels = st.tuples(*[arrays(np.int32, (8, 9), elements=st.integers(-1, 4))] * 2)


@settings(max_examples=50, deadline=None)
@given(pairs_of_labels)
def test_table_agrees_with_counting(pair):
    truth, predicted = pair
    table = overlap_table(truth, predicted)
    seen = truth >= 0
    for a, b, pixels, size_a, size_b in zip(
        table.truth_ids,
        table.predicted_ids,
        table.pixels,
        table.truth_sizes,
        table.predicted_sizes,
        strict=True,
    ):
        in_b = np.maximum(predicted, 0) == b
        assert pixels == ((truth == a) & in_b).sum()
        assert size_a == (truth == a).sum()
        assert size_b == (in_b & seen).sum()
    assert table.pixels.sum() == seen.sum()
    assert table.n_truth == np.unique(truth[truth > 0]).size
    assert table.n_predicted == np.unique(predicted[seen & (predicted > 0)]).size


def test_pairs_are_sorted(labels):
    table = overlap_table(labels, np.roll(labels, 3, 0))
    keys = table.truth_ids.astype(np.int64) << 32 | table.predicted_ids
    assert (np.diff(keys) > 0).all()


def test_ignored_pixels_are_left_out():
    truth = np.array([1, 1, 2, 2, -1], np.int32)
    predicted = np.array([1, 1, 1, 3, 3], np.int32)
    table = overlap_table(truth, predicted, ignore=np.array([0, 0, 0, 1, 0], bool))
    assert table.predicted_objects[0].tolist() == [1]
    assert table.truth_objects[1].tolist() == [2, 1]
    assert table.iou.tolist() == [2 / 3, 1 / 3]


def test_a_large_table_grows():
    truth = np.arange(1, 70_001, dtype=np.int32)
    table = overlap_table(truth, truth[::-1].copy())
    assert table.n_truth == table.n_predicted == table.pixels.size == 70_000


def test_ids_up_to_the_highest_integer():
    truth = np.array([2**31 - 1, 2**31 - 1, 0], np.int32)
    table = overlap_table(truth, truth)
    assert table.truth_ids.tolist() == table.predicted_ids.tolist() == [0, 2**31 - 1]


def test_nothing_annotated():
    table = overlap_table(np.full((3, 3), -1, np.int32), np.ones((3, 3), np.int32))
    assert table.n_truth == table.n_predicted == table.pixels.size == 0


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"truth has shape \(2, 3\), predicted has shape \(3, 2\)"):
        overlap_table(np.zeros((2, 3), np.int32), np.zeros((3, 2), np.int32))
