"""Files that failed while others went well: they are named, and the exit code says so."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import typer

from morula.cli.terminal import fail

if TYPE_CHECKING:
    from morula.data.problems import Problem


def show_warnings(messages: Sequence[str], most: int = 5) -> None:
    """Say what somebody should look at: the first few messages, and how many more the report has."""
    for message in messages[:most]:
        fail(f"warning: {message}", style="yellow")
    if len(messages) > most:
        fail(f"{len(messages) - most} more warnings: see the report.", style="yellow")


def exit_with_failures(failed: Mapping[str, str], *, nothing_done: bool = False) -> None:
    """Name the files that failed; end with 1 if there are any, with 2 if nothing else was there to do."""
    for name, message in failed.items():
        # The message names the file as a rule; when it does not, we do.
        fail(f"failed: {message}" if name in message else f"failed: {name}: {message}")
    if failed:
        raise typer.Exit(2 if nothing_done else 1)


def exit_with_left_out(problems: Sequence["Problem"]) -> None:
    """Name the errors: samples that were left out, and what is wrong with the data set; end with 1 if any."""
    errors = [problem for problem in problems if problem.severity == "error"]
    for problem in errors:
        place = "" if str(problem.path) in problem.message else f"{problem.path}: "
        what = "left out" if problem.sample else problem.kind
        fail(f"{what}: {place}{problem.message}")
    if errors:
        raise typer.Exit(1)
