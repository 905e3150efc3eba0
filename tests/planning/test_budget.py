import pytest
from hypothesis import given
from hypothesis import strategies as st

from morula.errors import InputError
from morula.planning.budget import parse_budget, steps_for_budget


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


@given(st.floats(1, 1e6), st.floats(1e-3, 1e3))
def test_steps_fit_the_budget(budget_s, seconds_per_step):
    steps = steps_for_budget(budget_s, seconds_per_step)
    assert steps >= 1
    assert steps == 1 or steps * seconds_per_step <= budget_s


def test_steps_for_budget():
    assert steps_for_budget(100, 1.0, share=0.5) == 50
    with pytest.raises(InputError, match="both must be positive"):
        steps_for_budget(100, 0.0)
