"""A budget becomes steps; what was told stays."""

from pathlib import Path

import pytest

from morula.planning import rules
from morula.planning.planner import read_recipe
from morula.spec import dump_toml, read_reasons
from morula.training import pace
from morula.training.run import Request, Run
from training.small import small_plan

MEASURED = (0.1, 0.0, 0.0)
"""Seconds of a step, of a look, and of what comes after the training."""


@pytest.fixture
def paced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A run whose budget was turned into steps; its plan was made for 8 steps, a look every 4."""
    monkeypatch.setattr(pace, "_measure", lambda *given: MEASURED)

    def make(*, ema: float = 0.5, **asked) -> Run:
        run = Run(tmp_path / "run")
        run.folder.mkdir()
        request = Request(data="data", budget_s=1000.0, **asked)
        run.request_path.write_text(dump_toml(request.model_dump(exclude_none=True)))
        run.plan_path.write_text(small_plan(ema=ema).dumps({}))
        pace.fix_steps(run, [(0, ())], (), "cpu", pace.time.monotonic())
        return run

    return make


def test_steps_and_what_follows_from_them_are_decided_anew(paced):
    training = paced().plan().training
    # 1000 s less a reserve of 5 %, at 0.1 s a step.
    assert training.steps == pytest.approx(9500, abs=2)
    assert training.validate_every == rules.validate_every(training.steps).value
    assert training.ema == rules.averaging(training.steps).value


@pytest.mark.parametrize(("key", "value"), [("ema", 0.5), ("validate_every", 4)])
def test_what_is_set_is_protected(paced, key: str, value: float):
    run = paced(overrides=(f"training.{key}={value}",))
    assert getattr(run.plan().training, key) == value
    assert f"training.{key}" not in read_reasons(run.plan_path.read_text())
    assert run.plan().training.steps > 8


def test_what_a_recipe_says_is_protected_but_for_its_steps(paced):
    said = read_recipe("nnunet-weightmap")["training"]
    assert {"ema"} <= said.keys()
    training = paced(recipe="nnunet-weightmap").plan().training
    assert training.ema == 0.5
    assert training.steps > 8


@pytest.mark.parametrize(("teacher", "expected"), [(0.0, 0.0), (0.9, 0.9), (0.9999, 0.9989)])
def test_a_student_averages_no_longer_than_its_plan_says(paced, teacher: float, expected: float):
    """It has its teacher's, which may have been told by a ``--set`` that the student's request lacks."""
    found = paced(ema=teacher, pseudo=("pseudo_1",)).plan().training.ema
    assert found == pytest.approx(expected, abs=1e-4)
