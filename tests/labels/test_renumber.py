import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from morula.labels.renumber import compact, low_ids, renumber

small_labels = arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(-1, 6))


def test_ids_follow_first_appearance():
    labels = np.array([[0, 9, 9], [-1, 4, 9]], np.int32)
    np.testing.assert_array_equal(renumber(labels), [[0, 1, 1], [-1, 2, 1]])


@settings(max_examples=50, deadline=None)
@given(small_labels)
def test_renumbering_keeps_objects_and_is_idempotent(labels):
    new, former = compact(labels)
    np.testing.assert_array_equal(renumber(new), new)
    np.testing.assert_array_equal(former[np.maximum(new, 0)], np.maximum(labels, 0))
    np.testing.assert_array_equal(new < 0, labels < 0)
    assert new.max() in (len(former) - 1, -1)


def test_huge_ids_need_no_huge_table():
    labels = np.array([0, 2**31 - 1, 5, 2**31 - 1, -1], np.int32)
    new, former = compact(labels)
    assert new.tolist() == [0, 1, 2, 1, -1]
    assert former.tolist() == [0, 2**31 - 1, 5]


@settings(max_examples=40, deadline=None)
@given(small_labels, st.sampled_from([1, 3000, 10_000, 2**28]))
def test_new_ids_in_order_whatever_the_highest_id(labels, scale):
    labels = np.where(labels > 0, labels * scale, labels).astype(np.int32)
    ids, places = np.unique(labels, return_index=True)
    order = ids[ids > 0][np.argsort(places[ids > 0])]
    new, former = compact(labels)
    assert former.tolist() == [0, *order.tolist()]
    np.testing.assert_array_equal(former[np.maximum(new, 0)], np.maximum(labels, 0))
    np.testing.assert_array_equal(new[labels <= 0], labels[labels <= 0])


def test_more_objects_than_sixteen_bits_hold():
    labels = np.arange(70_000, dtype=np.int32)[::-1].reshape(200, 350).copy()
    assert renumber(labels).max() == 69_999


@pytest.mark.parametrize("shape", [(0,), (0, 4), (3, 0, 2)])
def test_an_empty_array_stays_empty(shape):
    assert renumber(np.zeros(shape, np.int32)).shape == shape


def test_the_input_is_not_modified(labels):
    before = labels.copy()
    renumber(labels)
    np.testing.assert_array_equal(labels, before)


def test_a_view_that_is_not_contiguous(labels):
    np.testing.assert_array_equal(renumber(labels[::2, ::-1]), renumber(labels[::2, ::-1].copy()))


def test_compact_in_place():
    labels = np.array([[0, 90_000, 7], [7, -1, 90_000]], np.int32)
    new, former = compact(labels, in_place=True)
    assert new.base is labels or new is labels
    assert labels.tolist() == [[0, 1, 2], [2, -1, 1]]
    assert former.tolist() == [0, 90_000, 7]


@given(small_labels)
def test_low_ids_lead_back(labels: np.ndarray):
    far = np.where(labels > 0, labels + 100_000, labels).astype(np.int32)
    for given_ids in (labels, far):
        low, former = low_ids(given_ids)
        assert np.array_equal(np.where(low > 0, former[np.maximum(low, 0)], low), given_ids)
        assert former.size <= 1024
    assert low_ids(labels)[0] is labels
