"""The verb of self-training."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from morula.cli.failures import exit_with_failures
from morula.cli.options import Changes, Device
from morula.cli.terminal import Progress, say, show_table
from morula.errors import InputError

if TYPE_CHECKING:
    from morula.planning.retraining import Method
    from morula.training.selftrain import SelftrainSummary

METHODS = ("iterative", "st++")
"""What ``--method`` may be; known here so that help needs no import."""


def selftrain(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run: the teacher.")],
    unlabelled: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="Images without labels; may be repeated. Left out: those of the run's data set.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", metavar="OUT", help="Run folder to write; RUN-selftrained when left out."
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            metavar="|".join(METHODS),
            help="Label all images and go on training; or begin with images whose prediction is stable.",
        ),
    ] = "iterative",
    rounds: Annotated[
        int, typer.Option(min=1, metavar="N", help="Students that are trained, one after the other.")
    ] = 2,
    budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="Time to train all of them in, such as 90m or 2h.")
    ] = None,
    changes: Changes = None,
    device: Device = "cpu",
) -> None:
    """Train with images that have no labels: a model labels them, the next one learns from these too.

    The result is a run like any other. Interrupted, the same command goes on exactly where it stopped.
    """
    from morula.planning.budget import parse_budget
    from morula.training.selftrain import SelftrainRequest
    from morula.training.selftrain import selftrain as run_rounds

    request = SelftrainRequest(
        teacher=str(run.resolve()),
        unlabelled=tuple(str(path.resolve()) for path in unlabelled or ()),
        method=_method(method),
        rounds=rounds,
        budget_s=parse_budget(budget) if budget else None,
        overrides=tuple(changes or ()),
    )
    target = out or run.resolve().with_name(f"{run.resolve().name}-selftrained")
    with Progress() as progress:
        summary = run_rounds(target, request, device=device, progress=progress)
    _show(summary)
    exit_with_failures(summary.failed)


def _method(name: str) -> "Method":
    """The method of that name.

    Raises:
        InputError: There is none.
    """
    for known in METHODS:
        if name == known:
            return known
    msg = f"--method {name!r}: expected {' or '.join(METHODS)}."
    raise InputError(msg)


def _show(summary: "SelftrainSummary") -> None:
    from morula.evaluation.report_rounds import verdict
    from morula.evaluation.summary import DEFINITIONS

    rows = summary.facts["rounds"]
    names = list(rows[0]["scores"])
    show_table(
        ("", "pseudo-labelled", "steps", *(DEFINITIONS[name].label for name in names)),
        [
            (row["name"], row["n_pseudo"], row["steps"], *(row["scores"][name]["value"] for name in names))
            for row in rows
        ],
    )
    say(f"On the validation images, last round against the teacher: {verdict(summary.facts['gain'])}.")
    say(f"Report: {summary.run / 'report.html'}")
    say(f"Use it: morula predict IMAGES -o OUT --model {summary.run}")
