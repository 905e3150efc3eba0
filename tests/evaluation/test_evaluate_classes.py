"""Class labels in files, from the verb's side."""

import json
from pathlib import Path

import numpy as np
import pytest

from morula.data.formats import write_labels
from morula.errors import InputError
from morula.evaluation.evaluate import evaluate


@pytest.fixture
def organs(tmp_path: Path) -> Path:
    """Three plain label files with two classes, in two folds, and predictions of them beside."""
    truth = np.zeros((12, 12), np.int32)
    truth[1:6, 1:6], truth[7:11, 6:11] = 1, 2
    for number in range(3):
        write_labels(tmp_path / "data/labels" / f"{number}.tif", truth)
        write_labels(tmp_path / "data/images" / f"{number}.tif", truth * 9)
        write_labels(tmp_path / "good/labels" / f"{number}.tif", truth)
        write_labels(tmp_path / "bad/labels" / f"{number}.tif", np.roll(truth, number + 1, 0))
    (tmp_path / "data/dataset.toml").write_text(
        "classes = {liver = 1, spleen = 2}\ntolerance_mm = {liver = 2}\n"
    )
    (tmp_path / "data/index.csv").write_text("id,fold\n0,0\n1,0\n2,1\n")
    return tmp_path


def test_classes_are_scored_where_the_truth_says_so(organs: Path) -> None:
    metrics = evaluate(organs / "bad", organs / "data", organs / "out", compare=organs / "good")
    assert metrics == json.loads((organs / "out/metrics.json").read_text())
    assert metrics["task"] == "semantic"
    assert metrics["classes"]["liver"]["tolerance_mm"] == 2
    assert [row["dice"] for row in metrics["images"]] == sorted(
        (row["dice"] for row in metrics["images"]), reverse=True
    )
    assert [(fold["fold"], fold["n_images"]) for fold in metrics["folds"]] == [(0, 2), (1, 1)]
    assert metrics["comparison"]["tests"]["dice"]["difference"] < 0
    page = (organs / "out/report.html").read_text()
    for text in ("Mean Dice", "By class", "spleen", "Spread", "<polygon", "Folds", "Comparison"):
        assert text in page


def test_the_model_says_so_where_the_truth_does_not(organs: Path) -> None:
    (organs / "data/dataset.toml").unlink()
    assert "dsb" in evaluate(organs / "good", organs / "data", organs / "objects")["scores"]
    run = {
        "classes": {"Leber": 1, "Milz": 2},
        "peak_memory_mb": 700.0,
        "images": [{"id": "1", "labels": "labels/1.tif", "seconds": 4.5}],
    }
    (organs / "good/run.json").write_text(json.dumps(run))
    metrics = evaluate(organs / "good", organs / "data", organs / "out")
    assert list(metrics["classes"]) == ["Leber", "Milz"]
    assert metrics["scores"]["dice"]["value"] == 1
    assert metrics["peak_memory_mb"] == 700
    assert [row["seconds"] for row in metrics["images"]] == [None, 4.5, None]
    assert "700 MB" in (organs / "out/report.html").read_text()


def test_classes_without_names(organs: Path) -> None:
    (organs / "data/dataset.toml").write_text('task = "semantic"\n')
    metrics = evaluate(organs / "good", organs / "data", organs / "out")
    assert list(metrics["classes"]) == ["class 1", "class 2"]
    (organs / "data/labels/0.tif").write_bytes(b"II*\0")
    metrics = evaluate(organs / "good", organs / "data", organs / "out")
    assert list(metrics["classes"]) == ["class 1", "class 2"]
    assert list(metrics["failed"]) == ["0"]


def test_options_about_objects_are_refused(organs: Path) -> None:
    with pytest.raises(InputError, match="these labels are classes"):
        evaluate(organs / "good", organs / "data", organs / "out", strict=True)


def test_unreadable_cases_are_named(organs: Path) -> None:
    write_labels(organs / "good/labels/1.tif", np.ones((3, 3), np.int32))
    metrics = evaluate(organs / "good", organs / "data", organs / "out")
    assert metrics["n_images"] == 2
    assert "same grid" in metrics["failed"]["1"]


def test_images_serve_only_for_their_pixel_size(organs: Path) -> None:
    (organs / "data/images/1.tif").write_bytes(b"II*\0")
    metrics = evaluate(organs / "good", organs / "data", organs / "out")
    assert (metrics["n_images"], metrics["failed"]) == (3, {})
    assert "tolerance, px" in (organs / "out/report.html").read_text()
    text = (organs / "data/dataset.toml").read_text()
    (organs / "data/dataset.toml").write_text("spacing_um = 500\n" + text)
    assert evaluate(organs / "good", organs / "data", organs / "out")["tolerance_unit"] == "mm"
    assert "tolerance, mm" in (organs / "out/report.html").read_text()
    (organs / "data/dataset.toml").write_text("spacing_um = [1, 2, 3]\n" + text)
    with pytest.raises(InputError, match="has 3 numbers, the labels have 2 axes"):
        evaluate(organs / "good", organs / "data", organs / "out")
