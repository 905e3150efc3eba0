"""The section about self-training."""

import json
from pathlib import Path

import cv2
import numpy as np

from morula.evaluation.reliability import Reliability, write_reliability
from morula.evaluation.report_rounds import rounds_section, verdict

GAIN = {"score": "dsb", "difference": 0.05, "low": 0.01, "high": 0.09, "p_value": 0.02}


def leave(folder: Path, **changes) -> Path:
    """What a self-training leaves for its report."""
    counts = {"n_labelled": 16, "n_validation": 2, "steps": 30}
    scores = {
        "dsb": {"value": 0.4, "low": 0.3, "high": 0.5},
        "ap_50": {"value": 0.7, "low": 0.6, "high": 0.8},
    }
    rows = [
        {"name": "teacher", "n_pseudo": 0, "scores": scores, **counts},
        {"name": "round 1", "n_pseudo": 123, "scores": {}, **counts},
    ]
    facts = {"method": "st++", "rounds": rows, "gain": GAIN, **changes}
    (folder / "rounds.json").write_text(json.dumps(facts))
    return folder


def test_a_run_without_rounds_has_no_section(tmp_path):
    assert rounds_section(tmp_path) == ""


def test_rounds_are_listed_with_their_scores(tmp_path):
    page = rounds_section(leave(tmp_path))
    assert "teacher" in page
    assert ">123<" in page
    assert "0.400" in page
    assert "AP@.5" in page
    assert "better" in page
    assert "Reliability of" not in page
    assert "not measured" in rounds_section(leave(tmp_path, gain=None, method="iterative"))


def test_both_ends_of_the_reliabilities_are_shown(tmp_path):
    rows = [Reliability(f"image{n}", (n / 10,), n) for n in range(10)]
    write_reliability(tmp_path / "reliability.csv", [*rows, Reliability("broken", failure="not read")])
    for row in rows[:8]:
        path = tmp_path / "pseudo_1" / "overlays" / f"{row.image}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((8, 8, 3), 20 * row.objects, np.uint8))
    page = rounds_section(leave(tmp_path))
    assert "<svg" in page
    # Of the most reliable ones, 9 to 6, two were not drawn; all of the least reliable were.
    assert page.count("data:image/jpeg") == 6
    assert (
        page.index("image7") < page.index("image6") < page.index("The least reliable") < page.index("image0")
    )
    assert "broken" not in page


def test_the_verdict_follows_from_the_test():
    assert verdict(None) == "not measured: no image was held out"
    assert verdict(GAIN).endswith("better")
    assert verdict({**GAIN, "p_value": 1.0}).endswith("no clear difference")
    assert verdict({**GAIN, "difference": -0.05, "low": -0.09, "high": -0.01}).endswith("keep the teacher")
