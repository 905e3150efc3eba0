import io
import sys

import pytest

from morula.cli.terminal import Progress, fail, shorten, show_table


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    # Not a fixture: pytest puts its own stderr in place between the set-up and the test.
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    return screen


def run_stage(clock: Clock, seconds_each: float, total: int) -> None:
    with Progress(clock) as progress:
        step = progress("predict")
        for done in range(1, total + 1):
            clock.now += seconds_each
            step(done, total)


def test_nothing_is_drawn_of_a_quick_stage(monkeypatch: pytest.MonkeyPatch):
    terminal = open_terminal(monkeypatch)
    run_stage(Clock(), 0.1, 10)
    assert terminal.getvalue() == ""


def test_a_slow_stage_shows_rate_and_time_left(monkeypatch: pytest.MonkeyPatch):
    terminal = open_terminal(monkeypatch)
    clock = Clock()
    with Progress(clock) as progress:
        step = progress("predict")
        for done in range(1, 31):
            clock.now += 0.5
            step(done, 100)
        progress.bars().refresh()
    shown = terminal.getvalue()
    assert "predict" in shown
    assert "30/100" in shown
    assert "2.0/s" in shown
    assert "35 s left" in shown


def test_a_continued_stage_counts_its_rate_from_where_it_went_on(monkeypatch: pytest.MonkeyPatch):
    terminal = open_terminal(monkeypatch)
    clock = Clock()
    with Progress(clock) as progress:
        step = progress("train")
        step(3000, 4000)
        clock.now = 100.0
        step(3100, 4000)
        progress.bars().refresh()
    assert "1.0/s" in terminal.getvalue()
    assert "15 min 0 s left" in terminal.getvalue()


def test_without_a_terminal_a_plain_line_comes_now_and_then(capsys: pytest.CaptureFixture[str]):
    run_stage(Clock(), 1.0, 65)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["predict: 30 of 65, 1.0/s, 35 s left", "predict: 60 of 65, 1.0/s, 5 s left"]


def test_slow_items_are_counted_in_seconds_each(capsys: pytest.CaptureFixture[str]):
    run_stage(Clock(), 40.0, 2)
    assert capsys.readouterr().err == "predict: 1 of 2, 40.0 s each, 40 s left\n"


def test_a_plain_table_is_never_cut(capsys: pytest.CaptureFixture[str]):
    show_table(("name", "value"), [("x" * 200, 0.25), ("[red]", None)])
    out = capsys.readouterr().out
    assert "x" * 200 in out
    assert "0.250" in out
    assert "[red]" in out
    assert "\x1b" not in out


def test_an_empty_table_shows_its_head(capsys: pytest.CaptureFixture[str]):
    show_table(("model", "what"), [])
    assert capsys.readouterr().out.split() == ["model", "what"]


def test_messages_are_plain_without_a_terminal(capsys: pytest.CaptureFixture[str]):
    fail("error: [bold]/data/a[0].tif is missing")
    assert capsys.readouterr().err == "error: [bold]/data/a[0].tif is missing\n"


def test_names_are_shortened():
    assert shorten(["a", "b"]) == "a, b"
    assert shorten(list("abcdefg")) == "a, b, c, d, e and 2 more"
