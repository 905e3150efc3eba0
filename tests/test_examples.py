"""The scripts in ``examples/`` that need no model run as they stand."""

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize(
    ("script", "said"),
    [("score_labels_in_memory.py", "ap_50  0.500"), ("which_representation_fits.py", "interior_boundary")],
)
def test_example_says(
    script: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "argv", [script])
    runpy.run_path(str(EXAMPLES / script), run_name="__main__")
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_every_example_imports(path: Path):
    assert "main" in runpy.run_path(str(path), run_name="imported")
