import pytest

from morula.planning.plan import Schedule
from morula.training.schedule import rate_factor


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        (Schedule(kind="poly", warmup=0), 0, 1.0),
        (Schedule(kind="poly", warmup=0), 50, 0.5**0.9),
        (Schedule(kind="step", warmup=0, every=0.2, drop=0.5), 39, 0.5),
        (Schedule(kind="step", warmup=0, every=0.2, drop=0.5), 40, 0.25),
        (Schedule(kind="cosine", warmup=0), 50, 0.5),
        (Schedule(kind="cosine", warmup=0.2), 0, 1 / 21),
        (Schedule(kind="cosine", warmup=0.2), 20, 1.0),
        (Schedule(kind="one_cycle", warmup=0.5), 50, 1.0),
        (Schedule(kind="one_cycle", warmup=0.5), 75, 0.5),
    ],
)
def test_by_hand(schedule, step, expected):
    assert rate_factor(schedule, step, 100) == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["poly", "step", "cosine", "one_cycle"])
def test_always_within_bounds_and_low_at_the_end(kind):
    factors = [rate_factor(Schedule(kind=kind, warmup=0.1), step, 200) for step in range(200)]
    assert all(0 < factor <= 1 for factor in factors)
    assert factors[-1] < 0.1
