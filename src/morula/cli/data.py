"""Verbs before training: check, plan, prepare."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from morula.cli.failures import exit_with_left_out
from morula.cli.options import (
    Axes,
    Changes,
    Channels,
    DataFolder,
    Recipe,
    RunFolder,
    Selection,
    parse_names,
    request_of,
)
from morula.cli.terminal import Progress, say, show_table

if TYPE_CHECKING:
    from morula.training.run import Request, Run


def check(data: DataFolder, axes: Axes = None, channels: Channels = None) -> None:
    """Look for everything that is wrong with a data set, and say what to do about it."""
    from morula.data.check import check as look

    with Progress() as progress:
        report = look(data, axes=axes, channels=parse_names(channels), progress=progress("checking"))
    found = (*report.errors, *report.warnings)
    if found:
        # Every message names its files: without the folder, which the user knows, it is easier to read.
        here = re.compile(rf"(?<!\S){re.escape(str(data))}/")
        rows = [(each.severity, each.kind, here.sub("", each.message)) for each in found]
        show_table(("", "what", "where, and what to do"), rows)
    say(
        f"{report.n_images} images, {report.n_labels} with labels: "
        f"{len(report.errors)} errors, {len(report.warnings)} warnings."
    )
    if report.errors:
        raise typer.Exit(1)


def plan(
    data: DataFolder,
    out: RunFolder,
    recipe: Recipe = "auto",
    changes: Changes = None,
    select: Selection = None,
) -> None:
    """Measure a data set, decide how to train on it, and say why."""
    run = _planned(out, request_of(data, recipe=recipe, changes=changes, select=select))
    _show_plan(run)
    say(f"Plan: {run.plan_path}. Change it there if you like, then go on: morula train {out}")
    exit_with_left_out(run.problems())


def prepare(
    data: DataFolder,
    out: RunFolder,
    recipe: Recipe = "auto",
    changes: Changes = None,
    select: Selection = None,
) -> None:
    """Plan if need be, and write the images and labels as training reads them."""
    from morula.data.lock import hold

    run = _planned(out, request_of(data, recipe=recipe, changes=changes, select=select))
    with hold(out), Progress() as progress:
        prepared = run.prepare(progress)
    say(f"{len(prepared)} images prepared in {out / 'prepared'}. Go on: morula train {out}")
    exit_with_left_out(run.problems())


def _planned(out: Path, request: "Request") -> "Run":
    """The run of `out`, with its plan."""
    from morula.data.lock import hold
    from morula.training.run import plan_run, start_run

    run = start_run(out, request)
    with hold(out), Progress() as progress:
        plan_run(run, progress)
    return run


def _show_plan(run: "Run") -> None:
    """The decisions with their reasons, and what each representation keeps of the labels."""
    from morula.planning.fingerprint import Fingerprint
    from morula.spec import flat, read_reasons

    values = flat(run.plan().model_dump())
    reasons = read_reasons(run.plan_path.read_text(encoding="utf-8"))
    show_table(
        ("decision", "value", "why"), [(key, _brief(values, key), why) for key, why in reasons.items()]
    )
    rows = [
        (row.representation, row.ap50, row.ap75, row.ap90, row.dsb_score, round(row.ms_per_megapixel))
        for row in Fingerprint.load(run.fingerprint_path).ceilings
    ]
    if rows:
        say("What each representation keeps of your labels (encoded and decoded, without a network):")
        show_table(("representation", "AP@0.5", "AP@0.75", "AP@0.9", "DSB score", "ms per MP"), rows)


def _brief(values: dict[str, Any], key: str) -> str:
    """A decision's value; of a whole table, its kind."""
    return _plain(values[key] if key in values else values.get(f"{key}.kind", ""))


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        sizes = all(isinstance(item, int) for item in value)
        return (" x " if sizes else ", ").join(_plain(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
