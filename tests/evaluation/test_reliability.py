"""Reliability of predictions, against F1 by hand."""

import numpy as np
import pytest

from morula.errors import InputError
from morula.evaluation.reliability import (
    Reliability,
    agreement,
    most_reliable,
    read_reliability,
    write_reliability,
)


def bars(*spans: tuple[int, int]) -> np.ndarray:
    """One object per span of columns, two rows high."""
    labels = np.zeros((2, 40), np.int32)
    for number, (start, stop) in enumerate(spans, 1):
        labels[:, start:stop] = number
    return labels


def test_agreement_is_f1_at_half_with_the_last_checkpoint():
    last = bars((0, 10), (12, 20), (30, 40))
    same = bars((12, 20), (0, 10), (30, 40))
    # IoU 1 (kept), 8 / 10 (kept), 4 / 16 (lost): TP 2, FP 1, FN 1, F1 = 4 / 6.
    moved = bars((0, 10), (12, 22), (24, 34))
    # Two of three found and nothing else: TP 2, FN 1, F1 = 4 / 5.
    fewer = bars((0, 10), (30, 40))
    assert agreement([same, moved, fewer, last]) == pytest.approx((1.0, 4 / 6, 4 / 5))
    assert Reliability("a", agreement([moved, fewer, last])).value == pytest.approx((4 / 6 + 4 / 5) / 2)


def test_the_last_prediction_is_compared_with_every_earlier_one():
    one, other = bars((0, 10)), bars((20, 30))
    assert agreement([other, one, one]) == (0.0, 1.0)
    assert agreement([one, one, other]) == (0.0, 0.0)


def test_agreeing_on_nothing_is_no_reliability():
    nothing, something = bars(), bars((0, 10))
    assert agreement([nothing, nothing]) == (0.0,)
    assert agreement([something, nothing]) == agreement([nothing, something]) == (0.0,)


def test_the_most_reliable_half():
    rows = [
        Reliability(name, (value,)) for name, value in zip("abcde", (0.2, 0.9, 0.5, 0.5, 0.0), strict=True)
    ]
    rows.append(Reliability("f", failure="broken"))
    assert most_reliable(rows, 0.5) == (("b", "c", "d"), ("a", "e"))
    assert most_reliable(rows[:4], 0.5) == (("b", "c"), ("d", "a"))
    assert most_reliable(rows[:1], 0.5) == (("a",), ())
    assert most_reliable([Reliability(str(n), (n / 10,)) for n in range(10)], 0.3)[0] == ("9", "8", "7")


def test_the_table_comes_back_the_most_reliable_first(tmp_path):
    path = tmp_path / "reliability.csv"
    assert read_reliability(path) == []
    rows = [
        Reliability("b,1", (0.25, 0.5), 3),
        Reliability("c", failure='cannot "be" read,\nreally'),
        Reliability("a", (1.0, 0.875), 2),
    ]
    write_reliability(path, rows)
    assert read_reliability(path) == [rows[2], rows[0], rows[1]]
    assert path.read_text().splitlines()[:2] == [
        "image,reliability,objects,agreement,failure",
        "a,0.9375,2,1 0.875,",
    ]


def test_another_table_is_refused(tmp_path):
    path = tmp_path / "reliability.csv"
    path.write_text("id,score\na,1\n")
    with pytest.raises(InputError, match=r"no table of reliabilities .* Delete it"):
        read_reliability(path)
