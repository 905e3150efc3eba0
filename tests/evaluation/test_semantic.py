"""Scores of classes, by hand."""

import numpy as np
import pytest

from morula.errors import InputError
from morula.evaluation.semantic import ScoredCase, mean_dice, score_classes, summarize_classes

CLASSES = {"liver": 1, "spleen": 2, "pancreas": 3}
TRUTH = np.array([[1, 1, 1, 0, 2, 2]], np.int32)
FOUND = np.array([[1, 1, 0, 0, 2, 1]], np.int32)


def test_dice_per_class() -> None:
    scores = score_classes(TRUTH, FOUND, CLASSES)
    assert scores["liver"].dice == pytest.approx(2 * 2 / (3 + 3))
    assert scores["spleen"].dice == pytest.approx(2 * 1 / (2 + 1))
    assert scores["pancreas"].dice is None
    assert scores["pancreas"].nsd is None
    assert mean_dice(TRUTH, FOUND, CLASSES) == pytest.approx(2 / 3)
    assert mean_dice(TRUTH * 0, FOUND * 0, CLASSES) == 1


def test_what_is_not_annotated_counts_nowhere() -> None:
    truth = np.array([[1, 1, -1, -1, 2, 2]], np.int32)
    found = np.array([[1, 1, 1, 2, 2, 2]], np.int32)
    scores = score_classes(truth, found, CLASSES)
    assert scores["liver"].dice == scores["spleen"].dice == 1
    assert scores["liver"].nsd == scores["liver"].nsd_area == 1


def test_volumes_and_tolerances_are_in_millimetres() -> None:
    truth, found = np.zeros((2, 4, 5, 10), np.int32)
    truth[1:3, 1:4, 2:5] = 1
    found[1:3, 1:4, 3:6] = 1
    spacing = (2000.0, 1000.0, 3000.0)
    scores = score_classes(truth, found, {"liver": 1}, spacing, {"liver": 3.0})
    assert scores["liver"].truth_ml == pytest.approx(18 * 6 / 1000)
    assert scores["liver"].nsd == 1
    assert score_classes(truth, found, {"liver": 1}, spacing)["liver"].nsd < 1
    # Unknown pixel size: one pixel of tolerance, no volume.
    unknown = score_classes(truth, found, {"liver": 1})["liver"]
    assert (unknown.truth_ml, unknown.nsd) == (None, 1)
    with pytest.raises(InputError, match="has 2 numbers, the labels have 3 axes"):
        score_classes(truth, found, {"liver": 1}, spacing[1:])


def test_the_unit_of_tolerances_is_said() -> None:
    pixels = ScoredCase("a", score_classes(TRUTH, FOUND, CLASSES))
    known = ScoredCase("b", score_classes(TRUTH, FOUND, CLASSES, (500.0, 500.0)))
    assert summarize_classes([pixels], CLASSES)["tolerance_unit"] == "px"
    assert summarize_classes([known], CLASSES)["tolerance_unit"] == "mm"
    mixed = summarize_classes([known, pixels], CLASSES)["tolerance_unit"]
    assert mixed == "mm; px where the pixel size is unknown"


def test_other_grids_are_refused() -> None:
    with pytest.raises(InputError, match="same grid"):
        score_classes(TRUTH, FOUND[:, :3], CLASSES)


def cases() -> list[ScoredCase]:
    other = score_classes(TRUTH, TRUTH, CLASSES)
    return [
        ScoredCase("a", score_classes(TRUTH, FOUND, CLASSES), 0, 2.5),
        ScoredCase("b", other, 0),
        ScoredCase("c", other, 1),
    ]


def test_mean_and_deviation_per_class_and_fold() -> None:
    summary = summarize_classes(cases(), CLASSES, {"liver": 5.0})
    liver = summary["classes"]["liver"]
    assert (liver["label"], liver["tolerance_mm"]) == (1, 5.0)
    assert liver["dice"]["value"] == pytest.approx((2 / 3 + 1 + 1) / 3)
    assert liver["dice"]["deviation"] == pytest.approx(np.std([2 / 3, 1, 1], ddof=1))
    assert liver["dice"]["n"] == 3
    assert liver["dice"]["low"] <= liver["dice"]["value"] <= liver["dice"]["high"]
    assert summary["classes"]["pancreas"]["dice"]["value"] is None
    first, second = summary["folds"]
    assert first["classes"]["liver"]["dice"]["mean"] == pytest.approx((2 / 3 + 1) / 2)
    assert second["classes"]["liver"]["dice"] == {"mean": 1.0, "deviation": None, "n": 1}
    assert summary["scores"]["dice"]["value"] == pytest.approx((2 / 3 + 1 + 1) / 3)
    assert summary["images"][0]["seconds"] == 2.5


def test_no_cases_are_refused() -> None:
    with pytest.raises(InputError, match="no images to score"):
        summarize_classes([], CLASSES)
