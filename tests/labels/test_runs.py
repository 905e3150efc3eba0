import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from morula.labels.runs import SLACK, change_flags, fill_run, mark_changes, take_changes

rows = arrays(np.int32, st.integers(1, 40), elements=st.integers(-1, 2))


@settings(max_examples=50, deadline=None)
@given(st.lists(rows, min_size=1, max_size=3))
def test_changes_of_rows_one_after_another(several):
    flags, places = change_flags(40), np.zeros(48, np.int64)
    for row in several:
        mark_changes(row, flags)
        count = take_changes(flags, places)
        assert places[:count].tolist() == (np.flatnonzero(np.diff(row)) + 1).tolist()


def test_changes_of_two_rows_join():
    flags, places = change_flags(5), np.zeros(13, np.int64)
    mark_changes(np.array([0, 1, 1, 1, 1], np.int32), flags)
    mark_changes(np.array([0, 0, 0, 2, 2], np.int32), flags)
    assert places[: take_changes(flags, places)].tolist() == [1, 3]


def test_runs_filled_from_left_to_right():
    flat = np.full(12 + SLACK, -7, np.int32)
    for start, end, value in ((0, 9, 1), (9, 10, 2), (10, 12, 3)):
        fill_run(flat, start, end, value)
    assert flat[:12].tolist() == [1] * 9 + [2] + [3] * 2
