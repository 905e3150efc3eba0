"""The verb that compares recipes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from morula.cli.failures import exit_with_failures
from morula.cli.options import Changes, DataFolder, Device, OutFolder, Selection, parse_selection
from morula.cli.terminal import Progress, fail, say, shorten, show_table
from morula.errors import InputError


def compare(
    data: DataFolder,
    out: OutFolder,
    recipes: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME...", help="Recipes to train; see 'morula recipes', or paths of your own."),
    ] = None,
    more: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Further recipes, as after --recipes.")
    ] = None,
    entry: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FOLDER", help="Labels that other software made, to be scored too; may be repeated."
        ),
    ] = None,
    fold: Annotated[int, typer.Option(metavar="K", help="The fold to test on; the others train.")] = 0,
    budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="Time to train each in, such as 45m.")
    ] = None,
    changes: Changes = None,
    select: Selection = None,
    seeds: Annotated[int, typer.Option(min=1, metavar="N", help="Trainings of each recipe.")] = 1,
    device: Device = "cpu",
) -> None:
    """Train recipes with equal budgets, and score all of them on a fold that none has seen.

    Interrupted, the same command goes on where it stopped.
    """
    from morula.planning.budget import parse_budget
    from morula.training.compare import compare as run_comparison

    # Words after the first recipe arrive as arguments: an option takes one word.
    names = [name for words in (*(recipes or ()), *(more or ())) for name in words.split(",") if name]
    with Progress() as progress:
        comparison = run_comparison(
            data,
            names,
            out,
            entries=parse_entries(entry),
            fold=fold,
            budget_s=parse_budget(budget) if budget else None,
            overrides=changes or (),
            select=parse_selection(select),
            seeds=seeds,
            device=device,
            progress=progress,
        )
    _show(comparison)
    say(f"Report: {out / 'report.html'}")
    exit_with_failures(comparison["failed"])


def parse_entries(options: Sequence[str] | None) -> dict[str, Path]:
    """Label folders by name, from ``NAME=FOLDER`` options.

    >>> parse_entries(["StarDist=labels/stardist"])["StarDist"].as_posix()
    'labels/stardist'

    Raises:
        InputError: An option is not of that form, or a name comes twice.
    """
    entries: dict[str, Path] = {}
    for option in options or ():
        name, _, folder = option.partition("=")
        if not name or not folder or name in entries:
            msg = f"--entry {option!r}: expected NAME=FOLDER with a name of its own, such as StarDist=labels."
            raise InputError(msg)
        entries[name] = Path(folder)
    return entries


def _show(comparison: dict[str, Any]) -> None:
    """Scores and effort of every entrant, the best first, and the verdict."""
    names = comparison["definitions"]
    labels = (definition["label"] for definition in names.values())
    show_table(
        ("entrant", *labels, "steps", "minutes", "parameters", ""),
        [
            (
                row["name"],
                *(row["scores"][name]["value"] for name in names),
                *(round(row["steps"]) if "steps" in row else None, row.get("minutes"), row.get("parameters")),
                "undertrained" if row.get("undertrained") else "",
            )
            for row in comparison["entrants"]
        ],
    )
    say(f"{comparison['n_images']} test images. {comparison['verdict']['text']}")
    if comparison["left_out"]:
        lost = comparison["left_out"]
        fail(f"{len(lost)} test images left out for everybody: {shorten(list(lost))}", style="yellow")
