import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morula.errors import InputError
from morula.planning import rules
from morula.planning.budget import parse_budget, steps_for_budget, time_to_train


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90m", 5400), ("2h", 7200), ("1h30m", 5400), ("45s", 45), ("1.5 H", 5400), ("1d", 86400)],
)
def test_parse_budget(text, seconds):
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "m", "-5m", "0m", "5 weeks", "1h foo"])
def test_parse_budget_refuses(text):
    with pytest.raises(InputError, match="is not a time; write 90m"):
        parse_budget(text)


@given(st.floats(1, 1e6), st.floats(1e-3, 1e3), st.floats(0, 1e3))
def test_steps_and_looks_fill_the_budget(budget_s, step_s, look_s):
    steps = steps_for_budget(budget_s, step_s, look_s)
    looks = steps / rules.validate_every(steps).value
    assert steps == 1 or steps * step_s + math.floor(looks) * look_s <= budget_s * (1 + 1e-9) + look_s
    # One step more, with its share of the looks, would not fit.
    assert (steps + 1) * step_s + (looks + 1) * look_s >= budget_s * (1 - 1e-9)


def test_steps_for_budget_by_hand():
    assert steps_for_budget(100.0, 1.0) == 100
    # 1000 s: 16 looks of 10 s leave 840 s.
    assert steps_for_budget(1000.0, 0.1, 10.0) == 8400
    # Short: a look every 50 steps, so that 50 steps and a look take 100 s.
    assert steps_for_budget(500.0, 1.0, 50.0) == 250
    assert steps_for_budget(500.0, 1.0, 50.0, validate_every=200) == 400
    assert steps_for_budget(1.0, 5.0, 50.0) == 1
    with pytest.raises(InputError, match="both must be positive"):
        steps_for_budget(100.0, 0.0)


def test_what_comes_before_and_after_is_taken_off():
    assert time_to_train(600.0, 60.0, 40.0) == pytest.approx(470)
    assert time_to_train(600.0, 500.0, 40.0) == 300
