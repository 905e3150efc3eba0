"""The stage ``plan``: from a folder of images to ``fingerprint.json`` and ``plan.toml``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from morula.data.files import write_atomic
from morula.data.layouts import open_dataset
from morula.errors import InputError
from morula.planning.ceiling import measure_ceilings
from morula.planning.fingerprint import Fingerprint, fingerprint
from morula.planning.plan import Plan
from morula.planning.planner import make_plan, parse_overrides, read_recipe
from morula.planning.rules import working_zoom

Progress = Callable[[str], Callable[[int, int], None]]
"""Gives a callback ``(done, total)`` for a stage by its name."""


@dataclass(frozen=True)
class Planned:
    """What planning came to."""

    plan: Plan
    """Every decision."""

    reasons: dict[str, str]
    """Why, by dotted key."""

    fingerprint: Fingerprint
    """The facts, with the ceilings of the representations."""


def plan_run(
    data: Path,
    run: Path,
    *,
    recipe: str = "auto",
    overrides: Sequence[str] = (),
    select: Mapping[str, set[str]] | None = None,
    progress: Progress | None = None,
) -> Planned:
    """Measure the data, decide, and write ``run/fingerprint.json`` and ``run/plan.toml``.

    Args:
        data: Folder of a data set, in any known layout.
        run: Written; a plan that lies there is replaced as long as nothing was trained with it.
        recipe: A shipped recipe or the path of one.
        overrides: ``key=value`` texts that win over everything.
        select: Columns of ``index.csv`` and the values wanted; all samples when None.
        progress: Gives a callback for each of the two measurements.

    Raises:
        InputError: No labelled images, unknown recipe, key or value, or `run` was trained already.
    """
    if any(run.glob("fold_*/*")):
        msg = (
            f"{run} was trained already; its plan cannot change. Give another run folder, or delete this one."
        )
        raise InputError(msg)
    # Before anything slow: a misspelt recipe or key is told at once.
    read_recipe(recipe)
    changes = parse_overrides(overrides)
    dataset = open_dataset(data).select(select or {})
    if not dataset.labelled:
        n_images = len(dataset.samples)
        msg = f"{data}: none of the {n_images} images has labels; planning needs some. See `morula check`."
        raise InputError(msg)
    facts = fingerprint(dataset, progress=progress("measuring images") if progress else None)
    plan, reasons = make_plan(facts, recipe, changes)
    ceilings = measure_ceilings(
        dataset,
        dataset.labelled,
        plan.working_spacing,
        zoom=working_zoom(facts, plan.scaling.model_dump()),
        progress=progress("measuring representations") if progress else None,
    )
    facts = facts.model_copy(update={"ceilings": ceilings})
    plan, reasons = make_plan(facts, recipe, changes)  # the same, with the ceilings in its reasons
    with write_atomic(run / "fingerprint.json") as part:
        part.write_text(facts.dumps(), encoding="utf-8")
    with write_atomic(run / "plan.toml") as part:
        part.write_text(plan.dumps(reasons), encoding="utf-8")
    return Planned(plan, reasons, facts)
