import pytest

from morula.cli.scores import parse_iou, show_levels
from morula.errors import InputError


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
