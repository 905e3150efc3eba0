"""Verbs of training: train, tune and quantize."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from morula.cli.failures import exit_with_left_out
from morula.cli.options import (
    Changes,
    DataFolder,
    Device,
    OutFolder,
    Recipe,
    Selection,
    parse_selection,
    request_of,
)
from morula.cli.scores import show_scores
from morula.cli.terminal import Progress, say, show_table
from morula.errors import InputError

if TYPE_CHECKING:
    from morula.training.train import TrainSummary


def train(
    data: Annotated[
        Path, typer.Argument(metavar="DATA|RUN", help="Data set to train on; or a run folder to go on with.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="RUN", help="Run folder to write; left out to go on with a run."),
    ] = None,
    recipe: Recipe = "auto",
    changes: Changes = None,
    fold: Annotated[int | None, typer.Option(metavar="K", help="Train this fold only, from 0.")] = None,
    folds: Annotated[int | None, typer.Option(metavar="K", help="Train K folds, and average them.")] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="Time to train in, such as 90m or 2h.")
    ] = None,
    start_from: Annotated[
        str | None, typer.Option("--from", metavar="MODEL", help="Fine-tune a shipped model or a run.")
    ] = None,
    select: Selection = None,
    labelled: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Use the labels of N images only; the others are unlabelled."),
    ] = None,
    device: Device = "cpu",
) -> None:
    """Train a model on labelled images: check, plan, prepare, train, tune the decoder, evaluate, report.

    Interrupted, the same command goes on exactly where it stopped.
    """
    from morula.planning.budget import parse_budget
    from morula.training.train import train as run_training

    request = None
    if out is None:
        _refuse_options(
            recipe != "auto", changes, select, fold is not None, folds, budget, start_from, labelled
        )
    else:
        request = request_of(
            data,
            recipe=recipe,
            changes=changes,
            select=select,
            fold=fold,
            folds=folds,
            budget_s=parse_budget(budget) if budget else None,
            start_from=_name_or_path(start_from),
            labelled=labelled,
        )
    with Progress() as progress:
        summary = run_training(out or data, request, device=device, progress=progress)
    _show_summary(summary)


def tune(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A shipped model or a run folder.")],
    data: DataFolder,
    out: OutFolder,
    select: Selection = None,
    device: Device = "cpu",
) -> None:
    """Adapt only the decoder of a model to labelled images; the network stays as it is."""
    from morula.training.tune import tune_model

    with Progress() as progress:
        summary = tune_model(
            model, data, out, select=parse_selection(select), device=device, progress=progress
        )
    show_table(("", "before", "after"), summary.rows)
    why = ", spread over the data: as many as fit into memory"
    all_used = summary.n_images == summary.n_labelled
    say(f"Tuned on {summary.n_images} of {summary.n_labelled} labelled images{'' if all_used else why}.")
    say(f"Model with the new decoder ({summary.how}): {out}")


def quantize(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run folder.")],
) -> None:
    """Prepare a run for 8-bit integers, which predict uses where the processor has no bfloat16."""
    from morula.evaluation.summary import DEFINITIONS
    from morula.training.quantize import MOST_LOST, quantize_run

    with Progress() as progress:
        summary = quantize_run(run, progress=progress)
    rows = [(DEFINITIONS[name].label, summary.before[name], summary.after[name]) for name in MOST_LOST]
    show_table(("", "before", "int8"), rows)
    say(f"Validation images took {summary.seconds[0]:.1f} s before and {summary.seconds[1]:.1f} s with int8.")
    if summary.accepted:
        say(f"Kept in {run}: predict takes it where it is faster, or by --engine openvino-int8.")
    else:
        limits = ", ".join(f"{most} of {DEFINITIONS[name].label}" for name, most in MOST_LOST.items())
        say(f"int8 loses more than it may ({limits}); nothing was kept.")


def _refuse_options(*given: object) -> None:
    """A run goes on as it was asked for; options would be passed over in silence.

    Raises:
        InputError: Any option was given.
    """
    if any(given):
        msg = "a run goes on as it was asked for, without options. For a new run say where: -o RUN"
        raise InputError(msg)


def _name_or_path(model: str | None) -> str | None:
    """A run folder by its absolute path, so that the run goes on from anywhere; else the name."""
    from morula.prediction.shipped import models

    if model is None or model in models() or not Path(model).is_dir():
        return model
    return str(Path(model).resolve())


def _show_summary(summary: "TrainSummary") -> None:
    if summary.metrics is not None:
        say("On validation images: not trained on, but the weights and the decoder were chosen on them.")
        show_scores(summary.metrics)
        if "more_labels" in summary.metrics:
            say(summary.metrics["more_labels"]["text"])
    say(f"Report: {summary.run / 'report.html'}")
    say(f"Use it: morula predict IMAGES -o OUT --model {summary.run}")
    exit_with_left_out(summary.problems)
