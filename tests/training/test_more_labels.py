from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from morula.data.formats import write_labels
from morula.data.layouts import open_dataset
from morula.evaluation.statistics import Interval
from morula.prediction.model import Model
from morula.training.more_labels import FEWEST_HELD_OUT, judge, would_more_labels_help
from morula.training.run import silent
from synthetic import picture_of, touching_balls
from tiny import write_model


@pytest.mark.parametrize(
    ("gap", "answer"),
    [
        ((0.08, 0.02, 0.14), "yes"),
        # Clear, but too small to label for.
        ((0.02, 0.01, 0.03), "no"),
        ((0.0, -0.04, 0.04), "no"),
        ((-0.1, -0.2, 0.0), "no"),
        ((0.08, -0.02, 0.18), "unknown"),
        ((0.02, 0.001, 0.06), "unknown"),
    ],
)
def test_the_answer_follows_from_the_gap(gap: tuple[float, float, float], answer: str):
    assert judge(Interval(*gap)) == answer


def test_a_network_that_finds_nothing_has_no_gap_to_nothing(tmp_path: Path):
    labels = touching_balls(2, shape=32, radius=6)
    for index in range(12):
        write_labels(tmp_path / "labels" / f"{index}.tif", labels)
        (tmp_path / "images").mkdir(exist_ok=True)
        np.save(tmp_path / "images" / f"{index}.npy", picture_of(labels, seed=index))
    dataset = open_dataset(tmp_path)
    model = Model.load(write_model(tmp_path / "model"))
    seen: list[tuple[int, int]] = []

    def ask(bar: Callable[[int, int], None], n_held_out: int = 6) -> dict:
        return would_more_labels_help(model, dataset, dataset.labelled, [0.9] * n_held_out, 48, bar)

    found = ask(lambda *at: seen.append(at))
    # At least ten of the twelve training images are scored.
    assert seen[-1] == (10, 10)
    assert found["held_out"] == pytest.approx(0.9)
    assert found["gap"]["value"] == pytest.approx(found["trained_on"] - 0.9)
    assert found["answer"] == "no"
    assert "hardly help" in found["text"]
    assert "48 objects in 12 images" in found["text"]
    assert ask(silent("")) == found
    # Too few are held out to tell: nothing is scored for it.
    seen.clear()
    found = ask(lambda *at: seen.append(at), FEWEST_HELD_OUT - 1)
    assert found["answer"] == "unknown"
    assert "4 images are held out, it takes at least 5 (48 objects in 12 images" in found["text"]
    assert not seen
