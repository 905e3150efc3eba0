import itertools
from typing import Any

import numpy as np
import pytest

from morula.errors import InputError
from morula.evaluation.statistics import Interval, bootstrap_intervals, gap_of_means, paired_test

RNG = np.random.default_rng(0)


def ones(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return values, np.ones(len(values))


def bootstrap_interval(
    numerator: np.ndarray, denominator: np.ndarray | None = None, **options: Any
) -> Interval:
    """The interval of one score; a mean without `denominator`."""
    below = np.ones(len(numerator)) if denominator is None else denominator
    return bootstrap_intervals(numerator[:, None], below[:, None], **options)[0]


def test_interval_of_a_mean_is_that_of_the_normal_distribution():
    values = RNG.normal(5, 2, 400)
    interval = bootstrap_interval(values)
    half = 1.96 * values.std() / np.sqrt(400)
    assert interval.value == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.03)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.03)


def test_interval_of_a_pooled_ratio_agrees_with_plain_resampling():
    tp, total = RNG.integers(0, 20, 60).astype(float), RNG.integers(20, 40, 60).astype(float)
    interval = bootstrap_interval(tp, total)
    rng = np.random.default_rng(7)
    draws = [rng.integers(0, 60, 60) for _ in range(4000)]
    low, high = np.percentile([tp[d].sum() / total[d].sum() for d in draws], [2.5, 97.5])
    assert interval.value == tp.sum() / total.sum()
    assert (interval.low, interval.high) == (pytest.approx(low, abs=0.01), pytest.approx(high, abs=0.01))


def test_same_seed_same_interval_and_another_seed_another():
    values = RNG.random(20)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values, seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)


def test_a_wider_level_gives_a_wider_interval():
    values = RNG.random(30)
    narrow, wide = bootstrap_interval(values, level=0.5), bootstrap_interval(values, level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_one_image_has_no_spread():
    interval = bootstrap_interval(np.array([0.4]))
    assert (interval.value, interval.low, interval.high) == (0.4, 0.4, 0.4)


def test_what_is_not_defined_is_nan():
    interval = bootstrap_interval(np.zeros(3), np.zeros(3))
    assert np.isnan([interval.value, interval.low, interval.high]).all()


def test_many_scores_at_once_are_each_as_alone():
    tops, bottoms = RNG.random((15, 3)), RNG.random((15, 3)) + 1
    together = bootstrap_intervals(tops, bottoms)
    for k, interval in enumerate(together):
        alone = bootstrap_interval(tops[:, k], bottoms[:, k])
        assert (interval.low, interval.high) == (pytest.approx(alone.low), pytest.approx(alone.high))


def test_no_images_is_an_error():
    with pytest.raises(InputError, match=r"\(0, 1\) and \(0, 1\)"):
        bootstrap_interval(np.zeros(0))


def test_exact_p_value_by_hand():
    # Of the eight sign patterns, only all-plus and all-minus reach a mean of 2.
    test = paired_test(ones(np.array([2.0, 4, 6])), ones(np.array([1.0, 2, 3])))
    assert test.difference == pytest.approx(2)
    assert test.p_value == 2 / 8


def test_exact_p_value_of_a_pooled_score_agrees_with_trying_every_swap():
    first = RNG.integers(0, 9, 6).astype(float), RNG.integers(9, 20, 6).astype(float)
    second = RNG.integers(0, 9, 6).astype(float), RNG.integers(9, 20, 6).astype(float)
    observed = first[0].sum() / first[1].sum() - second[0].sum() / second[1].sum()
    reached = 0
    for swap in itertools.product([False, True], repeat=6):
        a, b = (np.where(swap, second[k], first[k]).sum() for k in (0, 1))
        c, d = (np.where(swap, first[k], second[k]).sum() for k in (0, 1))
        reached += abs(a / b - c / d) >= abs(observed) - 1e-12
    assert paired_test(first, second).p_value == reached / 64


def test_equal_predictions_do_not_differ():
    values = RNG.random(40)
    test = paired_test(ones(values), ones(values))
    assert (test.difference, test.p_value) == (0, 1)


def test_sides_may_be_swapped():
    a, b = ones(RNG.random(30)), ones(RNG.random(30))
    there, back = paired_test(a, b), paired_test(b, a)
    assert there.difference == -back.difference
    assert there.p_value == back.p_value
    assert there.low == pytest.approx(-back.high)


def test_a_clear_difference_is_found_and_chance_is_not():
    base, noise = RNG.random(60), RNG.normal(0, 0.02, 60)
    assert paired_test(ones(base + 0.05), ones(base + noise)).p_value < 0.001
    assert paired_test(ones(base), ones(base + noise - noise.mean())).p_value > 0.9


def test_random_p_value_is_near_the_exact_one(monkeypatch: pytest.MonkeyPatch):
    a, b = ones(RNG.random(11)), ones(RNG.random(11))
    exact = paired_test(a, b).p_value
    monkeypatch.setattr("morula.evaluation.statistics.EXACT_LIMIT", 5)
    assert paired_test(a, b).p_value == pytest.approx(exact, abs=0.02)


def test_unequal_lengths_are_an_error():
    with pytest.raises(InputError, match=r"\[2, 3\]"):
        paired_test(ones(np.zeros(2)), ones(np.zeros(3)))


def test_a_score_that_is_not_defined_has_no_p_value():
    nothing = np.zeros(3), np.zeros(3)
    test = paired_test(nothing, nothing)
    assert np.isnan([test.difference, test.low, test.high, test.p_value]).all()


def test_a_gap_between_groups_is_that_of_the_normal_distribution():
    first, second = RNG.normal(5, 2, 300), RNG.normal(4, 1, 200)
    gap = gap_of_means(first, second)
    half = 1.96 * np.sqrt(first.var() / 300 + second.var() / 200)
    assert gap.value == pytest.approx(first.mean() - second.mean())
    assert gap.low == pytest.approx(gap.value - half, abs=0.05)
    assert gap.high == pytest.approx(gap.value + half, abs=0.05)


def test_a_gap_needs_two_groups():
    with pytest.raises(InputError, match="both sides"):
        gap_of_means(np.ones(3), np.ones(0))
