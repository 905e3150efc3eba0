"""The plan of one round of self-training: the teacher's, but for how long and how gently it is trained."""

from collections.abc import Mapping
from typing import Any, Literal

from morula.errors import InputError
from morula.planning import rules
from morula.planning.plan import Plan, Retraining
from morula.planning.planner import merge
from morula.spec import validate

Method = Literal["iterative", "st++"]
"""``iterative``: the teacher goes on (system A); ``st++``: fresh networks, stable images first (system D)."""

CHANGEABLE = ("training", "inference")
"""What a round may decide otherwise than its teacher: all else belongs to the prepared images and weights."""

STRONG = {"intensity": 0.8, "gamma": 0.5, "blur": 0.5, "noise": 0.5}
"""Least probabilities of the strong augmentation of ST++ (Yang et al. 2022, section 3.2: colour jitter 0.8,
blur 0.5); gamma and noise stand for its grey images and holes, which would be other cells."""


def plan_round(
    teacher: Plan, method: Method, overrides: Mapping[str, Any] | None = None
) -> tuple[Plan, dict[str, str]]:
    """Plan one round.

    ``iterative`` trains the teacher's weights on as `Training.retraining` says; ``st++`` trains fresh ones as
    long as the teacher was, with strong augmentation.

    Args:
        teacher: The plan of the model that begins.
        method: What kind of self-training.
        overrides: Nested tables of ``--set``; they win.

    Returns:
        The plan, and the reason of each new decision by its dotted key.

    Raises:
        InputError: An override asks for another network, representation or working grid, or a key or value
            is unknown.
    """
    fixed = [key for key in overrides or {} if key in Plan.model_fields and key not in CHANGEABLE]
    if fixed:
        msg = (
            f"--set {fixed[0]} does not go with selftrain: a student differs from its teacher in"
            f" {' and '.join(CHANGEABLE)} only. Train another teacher."
        )
        raise InputError(msg)
    table = teacher.model_dump(exclude_none=True)
    asked = validate(Plan, merge(table, overrides or {})).training
    changes, reasons = _gentle(teacher, asked.retraining) if method == "iterative" else _strong(teacher)
    return validate(Plan, merge(merge(table, {"training": changes}), overrides or {})), reasons


def _gentle(teacher: Plan, retraining: Retraining) -> tuple[dict[str, Any], dict[str, str]]:
    training = teacher.training
    steps = max(1, round(retraining.share * training.steps))
    changes = {
        "steps": steps,
        "validate_every": rules.validate_every(steps).value,
        "ema": min(training.ema, rules.averaging(steps).value),
        "optimizer": {"learning_rate": retraining.rate * training.optimizer.learning_rate},
        "schedule": retraining.schedule.model_dump(exclude_none=True),
    }
    reasons = {
        "training.steps": f"{retraining.share:g} of the teacher's {training.steps} steps, a round",
        "training.optimizer.learning_rate": f"{retraining.rate:g} of the teacher's, whose weights go on",
        "training.schedule": "as training.retraining.schedule says",
    }
    return changes, reasons


def _strong(teacher: Plan) -> tuple[dict[str, Any], dict[str, str]]:
    given = teacher.training.augmentation.model_dump()
    changes = {name: max(given[name], least) for name, least in STRONG.items()}
    why = "strong, so that errors of the pseudo-labels are not learnt by heart (ST++)"
    reasons = {f"training.augmentation.{name}": why for name in STRONG if changes[name] > given[name]}
    return {"augmentation": changes}, reasons
