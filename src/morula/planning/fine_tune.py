"""The plan of a fine-tuning: the model's decisions stay, the data decide how to train on."""

from collections.abc import Mapping
from typing import Any

from morula.errors import InputError
from morula.planning import rules
from morula.planning.fingerprint import Fingerprint
from morula.planning.plan import Plan
from morula.planning.planner import make_plan, merge
from morula.spec import validate

GENTLE = 0.3
"""Factor on the learning rate: what was learnt shall be bent, not forgotten."""

MOST_STEPS = 1500
"""A model that knows the task needs no more."""

KEPT = ("ndim", "channels", "normalization", "representation", "network", "inference")
"""What belongs to the weights and cannot change under them."""

SIMILAR = 1.5
"""Objects within this factor of the model's own size are met by the random zoom."""


def plan_from(
    base: Plan, facts: Fingerprint, overrides: Mapping[str, Any] | None = None
) -> tuple[Plan, dict[str, str]]:
    """Plan a fine-tuning of the model with plan `base` on data with `facts`.

    Args:
        base: The model's plan.
        facts: The new data.
        overrides: Nested tables of ``--set``; they win, except over what the weights fix.

    Returns:
        The plan, and the reason of each decision by its dotted key.

    Raises:
        InputError: The data do not fit the model, or an override asks for another network.
    """
    if facts.ndim != base.ndim:
        msg = f"the images have {facts.ndim} spatial axes, the model {base.ndim}; choose another model."
        raise InputError(msg)
    labels = sorted(item.label for item in facts.classes)
    if (facts.task or "instances", labels) != (base.task, sorted(base.classes.values())):
        msg = (
            f"the model knows {_labels_of(base.task, base.classes)}, the data set has "
            f"{_labels_of(facts.task or 'instances', {item.name: item.label for item in facts.classes})}. "
            "Mend task and [classes] in dataset.toml, or choose another model."
        )
        raise InputError(msg)
    refuse_fixed(overrides or {})
    table = base.model_dump(exclude_none=True)
    kept = {key: table[key] for key in KEPT}
    kept["scaling"], why_scaling = _scaling(base, facts)
    fresh, reasons = make_plan(facts, "auto", kept)
    training = fresh.training.model_dump(exclude_none=True)
    training["steps"] = min(fresh.training.steps, MOST_STEPS)
    training["validate_every"] = rules.validate_every(training["steps"]).value
    training["ema"] = rules.averaging(training["steps"]).value
    training["optimizer"]["learning_rate"] *= GENTLE
    reasons |= dict.fromkeys(KEPT, "belongs to the model's weights")
    reasons |= {
        "scaling": why_scaling,
        "training.steps": "the model knows the task already",
        "training.optimizer.learning_rate": "gentle, so that what the model knows is not forgotten",
    }
    draft = fresh.model_dump(exclude_none=True) | {"training": training, "recipe": base.recipe}
    return validate(Plan, merge(draft, overrides or {})), reasons


def _labels_of(task: str, classes: Mapping[str, int]) -> str:
    """What labels mean, for a message."""
    return f"the classes {', '.join(classes)}" if task == "semantic" else "single objects"


def refuse_fixed(overrides: Mapping[str, Any]) -> None:
    """Refuse to change what belongs to a model's weights.

    Raises:
        InputError: Names the first such key.
    """
    fixed = [key for key in KEPT if key in overrides and key != "inference"]
    if fixed:
        msg = f"--set {fixed[0]} does not go with --from: the model's weights fix {', '.join(KEPT[:-1])}."
        raise InputError(msg)


def _scaling(base: Plan, facts: Fingerprint) -> tuple[dict[str, Any], str]:
    """The model's working grid; objects of quite another size are brought to the size it knows."""
    table = base.scaling.model_dump(exclude_none=True)
    diameter = facts.image_diameter_px.p50
    if base.scaling.kind == "spacing" or diameter <= 0:
        return table, "as the model was trained"
    ratio = diameter * base.scaling.factor / base.scaling.diameter_px
    if 1 / SIMILAR <= ratio <= SIMILAR:
        return table, f"objects of {diameter:.0f} px are about as large as those the model knows"
    factor = float(f"{base.scaling.diameter_px / diameter:.3g}")
    known = base.scaling.diameter_px
    why = f"objects of {diameter:.0f} px are brought to the {known:.0f} px that the model knows"
    return {**table, "factor": factor}, why
