import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from morula.data.formats import write_labels
from morula.errors import InputError
from morula.evaluation.evaluate import evaluate, score_pairs


def test_everything_is_written(dataset: Path, predicted: Path, tmp_path: Path):
    seen: list[tuple[int, int]] = []
    metrics = evaluate(predicted, dataset, tmp_path / "out", progress=lambda *step: seen.append(step))
    assert json.loads((tmp_path / "out/metrics.json").read_text()) == metrics
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"metrics.json", "report.html", "overlays"}
    assert len(metrics["overlays"]) == 4
    assert all((tmp_path / "out" / path).is_file() for path in metrics["overlays"].values())
    assert seen == [(done, 4) for done in range(1, 5)]
    assert list(metrics["strata"]) == ["modality"]
    by_id = {row["id"]: row for row in metrics["images"]}
    assert by_id["a"]["dsb"] == 1
    assert by_id["e"]["dsb"] == 0
    assert by_id["e"]["missed"] == by_id["e"]["n_truth"] > 0


def test_pixels_that_are_not_annotated_do_not_count(
    dataset: Path, predicted: Path, tmp_path: Path, truth: np.ndarray
):
    marked = np.where(truth == 1, 255, truth).astype(np.int32)
    write_labels(dataset / "labels/a.tif", marked)
    (dataset / "dataset.toml").write_text("ignore_label = 255\n")
    metrics = evaluate(predicted, dataset, tmp_path / "out")
    row = next(row for row in metrics["images"] if row["id"] == "a")
    assert (row["dsb"], row["n_truth"]) == (1, len(np.unique(truth)) - 2)


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_scored(
    dataset: Path, predicted: Path, tmp_path: Path
):
    (predicted / "labels/a.tif").write_bytes(b"not an image")
    write_labels(predicted / "labels/b.tif", np.ones((3, 5), np.int32))
    write_labels(predicted / "labels/stray.tif", np.ones((3, 5), np.int32))
    (predicted / "labels/e.tif").unlink()
    metrics = evaluate(predicted, dataset, tmp_path / "out")
    assert set(metrics["failed"]) == {"a", "b"}
    assert "(3, 5)" in metrics["failed"]["b"]
    assert metrics["without_truth"] == ["stray"]
    assert metrics["without_prediction"] == ["e"]
    assert metrics["n_images"] == 1


def test_nothing_readable_is_an_error_and_nothing_is_written(dataset: Path, tmp_path: Path):
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "a.tif").write_bytes(b"junk")
    with pytest.raises(InputError, match="none of the 1 pairs could be scored; a: "):
        evaluate(folder, dataset, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_predictions_are_compared(dataset: Path, predicted: Path, tmp_path: Path):
    metrics = evaluate(predicted, dataset, tmp_path / "out", compare=dataset / "labels")
    test = metrics["comparison"]["tests"]["dsb"]
    assert test["difference"] < 0
    assert test["n_images"] == 4
    assert metrics["comparison"]["failed"] == {}


def test_what_the_other_prediction_lacks_is_named(dataset: Path, predicted: Path, tmp_path: Path):
    other = tmp_path / "other"
    write_labels(other / "a.tif", np.ones((3, 5), np.int32))
    write_labels(other / "b.tif", np.zeros((64, 64), np.int32))
    metrics = evaluate(predicted, dataset, tmp_path / "out", compare=other)
    assert metrics["comparison"]["tests"]["dsb"]["n_images"] == 1
    assert "(3, 5)" in metrics["comparison"]["failed"]["a"]
    assert "of the other prediction could not be scored" in (tmp_path / "out/report.html").read_text()


def test_labels_of_a_folder_need_no_images(dataset: Path, predicted: Path, tmp_path: Path):
    plain = tmp_path / "plain"
    (dataset / "labels").rename(plain)
    metrics = evaluate(predicted, plain, tmp_path / "out")
    assert metrics["n_images"] == 4
    assert metrics["strata"] == {}
    assert "<html" in (tmp_path / "out/report.html").read_text()


def test_same_input_same_bytes(dataset: Path, predicted: Path, tmp_path: Path):
    for name in ("one", "two"):
        evaluate(predicted, dataset, tmp_path / name)
    for file in ("metrics.json", "report.html"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_volumes(tmp_path: Path):
    volume = np.zeros((4, 8, 8), np.int32)
    volume[1:3, 2:6, 2:6] = 1
    for folder in ("p", "t"):
        write_labels(tmp_path / folder / "a.tif", volume)
    metrics = evaluate(tmp_path / "p", tmp_path / "t", tmp_path / "out")
    assert metrics["scores"]["dsb"]["value"] == 1


def test_an_output_that_cannot_be_written_is_named(dataset: Path, predicted: Path, tmp_path: Path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match=r"out.* cannot be written"):
        evaluate(predicted, dataset, tmp_path / "out")


def test_pairs_in_memory(truth: np.ndarray):
    metrics = score_pairs(
        (name, truth, truth, {"kind": kind}) for name, kind in zip("abc", "xyx", strict=True)
    )
    assert metrics["scores"]["dsb"]["value"] == 1
    assert [row["value"] for row in metrics["strata"]["kind"]] == ["x", "y"]


def test_strict_matching_is_written_down(truth: np.ndarray):
    pair = [("a", np.array([[1, 1]], np.int32), np.array([[1, 0]], np.int32), {})]
    assert score_pairs(pair)["scores"]["ap_50"]["value"] == 1
    strict = score_pairs(pair, strict=True)
    assert strict["scores"]["ap_50"]["value"] == 0
    assert strict["strict"] is True


def test_other_thresholds_join_the_curve():
    pair = [("a", np.array([[1, 1, 1, 2]], np.int32), np.array([[1, 0, 0, 2]], np.int32), {})]
    curve = {row["iou"]: row for row in score_pairs(pair, iou=(0.3, 0.6, 1.0))["curve"]}
    assert list(curve) == [0.3, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0]
    counts = {level: tuple(curve[level][name] for name in ("tp", "fp", "fn", "ap", "f1")) for level in curve}
    assert counts[0.3] == (2, 0, 0, 1, 1)
    assert counts[0.6] == counts[1.0] == (1, 1, 1, 1 / 3, 0.5)


@pytest.mark.parametrize("level", [0.0, -0.1, 1.2, float("nan")])
def test_a_threshold_that_is_none_is_refused_before_anything_is_read(
    level: float, dataset: Path, predicted: Path, tmp_path: Path
):
    with pytest.raises(InputError, match="above 0 and at most 1"):
        evaluate(predicted, dataset, tmp_path / "out", iou=(0.6, level))
    assert not (tmp_path / "out").exists()


def test_evaluating_imports_no_torch():
    code = "import sys, morula.evaluation.evaluate, morula.evaluation.report, morula.evaluation.pictures\n"
    code += "import morula.prediction.overlay\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
