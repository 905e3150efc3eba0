"""A budget becomes a number of steps, once: from times that are measured on this machine."""

import json
import time
from collections.abc import Sequence

from morula.data.files import write_text
from morula.planning import rules
from morula.planning.budget import steps_for_budget, time_to_train
from morula.planning.plan import Plan
from morula.planning.planner import merge, parse_overrides, read_recipe
from morula.prediction.mirror import mirrorings
from morula.preprocessing.prepare import Prepared
from morula.spec import dump_toml, read_reasons, read_toml
from morula.training.decoder import TEACH_SHARE
from morula.training.loop import seconds_per_step
from morula.training.more_labels import images_to_score
from morula.training.run import Run
from morula.training.scorer import seconds_to_learn, with_regions
from morula.training.validation import LOOK_IMAGES, TUNE_IMAGES, seconds_per_image

Folds = Sequence[tuple[int, tuple[str, ...]]]
"""Number and validation ids of every fold that is trained."""


def fix_steps(run: Run, folds: Folds, prepared: Sequence[Prepared], device: str, started: float) -> None:
    """Turn the run's budget, if it has one, into a number of steps: the plan then says it.

    Args:
        run: Planned and prepared.
        folds: What is trained.
        prepared: All samples.
        device: As torch names it.
        started: When the clock of the budget began to run, as `time.monotonic` tells it.
    """
    request, marker = run.request(), run.folder / "budget.json"
    if request.budget_s is None or marker.exists():
        return
    plan = run.plan()
    given = merge(read_recipe(request.recipe), parse_overrides(request.overrides)).get("training", {})
    step_s, look_s, end_s = _measure(plan, folds, prepared, device)
    spent_s = time.monotonic() - started
    steps = steps_for_budget(
        time_to_train(request.budget_s, spent_s, end_s) / len(folds),
        step_s,
        look_s,
        validate_every=plan.training.validate_every if "validate_every" in given else None,
    )
    why = (
        f"{request.budget_s:.0f} s, {spent_s + end_s:.0f} of them before and after training, "
        f"for {len(folds)} folds at {step_s:.3f} s a step and {look_s:.1f} s a look, measured here"
    )
    decisions = {
        "steps": rules.Decision(steps, why),
        "validate_every": rules.validate_every(steps),
        "ema": _averaging(plan, steps, student=bool(request.pseudo)),
    }
    table = read_toml(run.plan_path)
    reasons = read_reasons(run.plan_path.read_text(encoding="utf-8"))
    # A budget goes before the steps of a recipe; --set training.steps does not go with one.
    for key in decisions.keys() - (given.keys() - {"steps"}):
        table["training"][key] = decisions[key].value
        reasons[f"training.{key}"] = decisions[key].reason
    write_text(run.plan_path, dump_toml(table, reasons))
    facts = {"budget_s": request.budget_s, "step_s": step_s, "look_s": look_s, "end_s": end_s, "steps": steps}
    write_text(marker, json.dumps(facts) + "\n")


def _averaging(plan: Plan, steps: int, *, student: bool) -> rules.Decision:
    """As the rule says; a student's plan has its teacher's, which may have been told, and stays below."""
    decision = rules.averaging(steps)
    if student and plan.training.ema < decision.value:
        return rules.Decision(plan.training.ema, "the teacher's")
    return decision


def _measure(
    plan: Plan, folds: Folds, prepared: Sequence[Prepared], device: str
) -> tuple[float, float, float]:
    """Seconds of a step, of a look, and of predicting images for tuning, scores and advice in the end."""
    held_out = [sample for sample in prepared if any(sample.id in ids for _, ids in folds)]
    image_s = seconds_per_image(plan, held_out, device)
    images_per_look = min(LOOK_IMAGES, max(len(ids) for _, ids in folds))
    views = len(mirrorings(plan.ndim, plan.inference.mirror))
    images_in_the_end = len(held_out)
    if plan.task == "instances":
        n_first = len(folds[0][1])
        images_in_the_end += min(TUNE_IMAGES, len(held_out))
        images_in_the_end += images_to_score(len(prepared) - n_first, n_first)
    step_s = seconds_per_step(plan, prepared, device=device)
    end_s = images_in_the_end * views * image_s
    if plan.inference.scorer and with_regions(plan.representation) is not None:
        taught = len(held_out) < len(prepared)
        end_s += seconds_to_learn(taught=taught)
        # Forward only is about a third of a step.
        step_s *= 1 + TEACH_SHARE * views / 3 * taught
    return step_s, images_per_look * image_s, end_s
