"""Plans of the rounds of self-training."""

import pytest

from morula.errors import InputError
from morula.planning.plan import Plan, Schedule
from morula.planning.planner import parse_overrides
from morula.planning.retraining import plan_round
from training.small import small_plan


def system_a() -> Plan:
    """As paper A trains its baseline: rate 0.01, halved every 200 of 1000 epochs."""
    return small_plan(
        steps=1000,
        optimizer={"kind": "sgd", "learning_rate": 0.01},
        schedule={"kind": "step", "warmup": 0.0, "every": 0.2, "drop": 0.5},
        ema=0.0,
    )


def test_a_round_of_system_a_is_as_printed():
    """Table 4: 200 epochs, initial rate 0.003, halved by 100 epochs."""
    plan, reasons = plan_round(system_a(), "iterative")
    assert plan.training.steps == 200
    assert plan.training.optimizer.learning_rate == pytest.approx(0.003)
    assert plan.training.schedule == Schedule(kind="step", warmup=0.0, every=0.5, drop=0.5)
    assert (plan.training.optimizer.kind, plan.training.ema) == ("sgd", 0.0)
    assert "1000 steps" in reasons["training.steps"]


def test_only_training_differs_from_the_teacher():
    teacher = small_plan(schedule={"kind": "cosine", "power": 0.5})
    for method in ("iterative", "st++"):
        plan = plan_round(teacher, method)[0]
        assert plan.model_copy(update={"training": teacher.training}) == teacher


def test_st_plus_plus_trains_as_long_with_strong_augmentation():
    teacher = small_plan(augmentation={"intensity": 0.9, "blur": 0.1})
    plan, reasons = plan_round(teacher, "st++")
    assert plan.training.steps == teacher.training.steps
    changed = plan.training.augmentation
    assert (changed.intensity, changed.blur, changed.gamma, changed.noise) == (0.9, 0.5, 0.5, 0.5)
    assert changed.elastic == teacher.training.augmentation.elastic
    assert "training.augmentation.blur" in reasons
    assert "training.augmentation.intensity" not in reasons


def test_what_is_set_wins():
    asked = parse_overrides(
        ["training.steps=7", "training.schedule.kind=poly", "training.augmentation.blur=0"]
    )
    for method in ("iterative", "st++"):
        training = plan_round(system_a(), method, asked)[0].training
        assert (training.steps, training.schedule.kind, training.augmentation.blur) == (7, "poly", 0)
    shared = parse_overrides(["training.retraining.share=0.5", "training.retraining.rate=0.1"])
    training = plan_round(system_a(), "iterative", shared)[0].training
    assert training.steps == 500
    assert training.optimizer.learning_rate == pytest.approx(0.001)


@pytest.mark.parametrize(
    "key", ["network.kind", "representation.kind", "scaling.factor", "channels", "halo_px"]
)
def test_the_network_and_what_it_sees_are_the_teachers(key):
    with pytest.raises(InputError, match="training and inference only"):
        plan_round(small_plan(), "st++", parse_overrides([f"{key}=1"]))


def test_a_misspelt_key_is_named():
    with pytest.raises(InputError, match="'training'"):
        plan_round(small_plan(), "st++", parse_overrides(["trainin.steps=1"]))
