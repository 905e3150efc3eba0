from pathlib import Path

import numpy as np
import pytest

from morula.cli.scores import parse_iou, show_levels
from morula.data.formats import write_labels
from morula.errors import InputError
from synthetic import picture_of, touching_balls
from tiny import morula


@pytest.mark.parametrize("text", ["", "a", "0", "-0.5", "1.01", "0.5,,0.6", "nan", "inf", "0.6;0.7"])
def test_bad_thresholds_are_refused(text: str):
    with pytest.raises(InputError, match="--iou"):
        parse_iou(text)


def test_thresholds_may_be_left_out_and_reach_1():
    assert parse_iou(None) == ()
    assert parse_iou("1,0.3") == (1.0, 0.3)


def test_only_the_thresholds_asked_for_are_shown(capsys: pytest.CaptureFixture[str]):
    row = {"precision": 0.5, "recall": 0.25, "f1": None, "ap": 0.2}
    metrics = {"curve": [{"iou": level, **row} for level in (0.333, 0.5, 0.85)]}
    show_levels(metrics, (0.85, 0.333))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["IoU", "precision", "recall", "F1", "AP"]
    assert lines[1:] == [["0.333", "0.500", "0.250", "-", "0.200"], ["0.85", "0.500", "0.250", "-", "0.200"]]
    show_levels(metrics, ())
    assert capsys.readouterr().out == ""


@pytest.fixture
def labels(tmp_path: Path) -> tuple[Path, Path]:
    """Predicted and true labels in plain folders."""
    for name in ("predicted", "truth"):
        write_labels(tmp_path / name / "a.tif", touching_balls(2))
    return tmp_path / "predicted", tmp_path / "truth"


@pytest.mark.parametrize("out", ["truth", "truth/scores", "predicted", "third/scores"])
def test_scores_are_not_written_among_label_files(out: str, labels: tuple[Path, Path], tmp_path: Path):
    write_labels(tmp_path / "third" / "a.tif", touching_balls(2))
    before = sorted(tmp_path.rglob("*"))
    result = morula("evaluate", *labels, "--compare", tmp_path / "third", "-o", tmp_path / out)
    assert result.exit_code == 2
    assert "a folder of label files" in result.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_an_image_in_place_of_labels_is_hinted_at(labels: tuple[Path, Path], tmp_path: Path):
    predicted, truth = labels
    assert "looks like" not in morula("evaluate", *labels, "-o", tmp_path / "good").stderr
    write_labels(predicted / "a.tif", np.roll(touching_balls(2), 15, 0))
    assert "looks like" not in morula("evaluate", *labels, "-o", tmp_path / "bad").stderr
    image = picture_of(touching_balls(2)).astype(np.int32)
    write_labels(predicted / "a.tif", image)
    for given, file in (((predicted, truth), predicted / "a.tif"), ((truth, predicted), predicted / "a.tif")):
        result = morula("evaluate", *given, "-o", tmp_path / given[0].name / "../scores")
        assert result.exit_code == 0
        assert [line for line in result.stderr.splitlines() if str(file) in line]
        assert result.stderr.count("looks like an image") == 1
