"""What the command line shows: messages, tables and progress."""

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from morula.evaluation.page import duration

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

PATIENCE_S = 2.0
"""Nothing is shown of what takes less than this, in seconds."""

LINE_EVERY_S = 30.0
"""Seconds between two plain lines of progress when there is no terminal."""


def say(message: str) -> None:
    """One line on standard output, as it is."""
    print(message)


def fail(message: str, style: str = "red") -> None:
    """One message on standard error: coloured on a terminal, plain elsewhere."""
    _console(stderr=True).print(message, style=style, markup=False, highlight=False, soft_wrap=True)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on standard output; numbers are set right. Without a terminal its lines are never cut."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = [tuple(row) for row in rows]
    console = _console()
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else None)
    for place, name in enumerate(columns):
        numeric = all(isinstance(row[place], int | float | None) for row in rows)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        # Text, so that brackets in a file name are no markup.
        table.add_row(*(Text(_cell(value)) for value in row))
    if console.is_terminal:
        console.print(table, highlight=False)
        return
    console.width = 10_000
    with console.capture() as capture:
        console.print(table, highlight=False)
    say("\n".join(line.rstrip() for line in capture.get().splitlines()))


def shorten(names: Sequence[str], limit: int = 5) -> str:
    """The first few of `names`, and how many more there are."""
    more = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")


class Progress:
    """Callbacks ``(done, total)`` that draw a bar with rate and time left.

    ``with Progress() as progress: predict(..., progress=progress("predict"))``. Nothing is drawn in the first
    two seconds; without a terminal a plain line is written now and then instead.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._terminal = sys.stderr.isatty()
        self._bars: Bars | None = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, what: str) -> Callable[[int, int], None]:
        """A callback for one stage, named `what` in its bar."""
        return _BarStage(self, what, self._clock) if self._terminal else _PlainStage(what, self._clock)

    def bars(self) -> "Bars":
        """The live display, started on first use."""
        if self._bars is None:
            from rich import progress

            self._bars = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TextColumn("{task.fields[rate]}"),
                progress.TimeElapsedColumn(),
                progress.TextColumn("{task.fields[left]}"),
                console=_console(stderr=True),
                transient=True,
            )
            self._bars.start()
        return self._bars


class _BarStage:
    """One bar; appears when its stage has lasted two seconds."""

    def __init__(self, progress: Progress, what: str, clock: Callable[[], float]) -> None:
        self._progress, self._what = progress, what
        self._pace = _Pace(clock)
        self._task: Any = None

    def __call__(self, done: int, total: int) -> None:
        elapsed = self._pace.note(done)
        if self._task is None:
            if elapsed < PATIENCE_S or done >= total:
                return
            self._task = self._progress.bars().add_task(self._what, total=total, rate="", left="")
        self._progress.bars().update(
            self._task,
            completed=done,
            total=total,
            rate=self._pace.rate(),
            left=self._pace.left(total),
            visible=done < total,
        )


class _PlainStage:
    """A line on standard error every half minute, for logs."""

    def __init__(self, what: str, clock: Callable[[], float]) -> None:
        self._what = what
        self._pace = _Pace(clock)
        self._next = LINE_EVERY_S

    def __call__(self, done: int, total: int) -> None:
        elapsed = self._pace.note(done)
        if elapsed >= self._next and done < total:
            self._next = elapsed + LINE_EVERY_S
            parts = [f"{self._what}: {done} of {total}", self._pace.rate(), self._pace.left(total)]
            print(", ".join(part for part in parts if part), file=sys.stderr, flush=True)


class _Pace:
    """Rate since the first call, which may come with work already done (a continued run)."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._start = clock()
        self._first: int | None = None
        self._done = 0
        self._elapsed = 0.0

    def note(self, done: int) -> float:
        """Take note of `done` items; seconds since the stage began."""
        if self._first is None:
            self._first = 0 if done <= 1 else done
        self._done = done
        self._elapsed = self._clock() - self._start
        return self._elapsed

    def _per_second(self) -> float:
        return (self._done - (self._first or 0)) / self._elapsed if self._elapsed > 0 else 0.0

    def rate(self) -> str:
        """Items a second, or seconds an item when that reads better; empty when unknown."""
        speed = self._per_second()
        if speed <= 0:
            return ""
        return f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each"

    def left(self, total: int) -> str:
        """Time left, in words; empty when unknown."""
        speed = self._per_second()
        return f"{duration((total - self._done) / speed)} left" if speed > 0 else ""


def _console(*, stderr: bool = False) -> Any:
    from rich.console import Console

    return Console(stderr=stderr)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "-" if value != value else f"{value:.3f}"
    return "-" if value is None else str(value)
