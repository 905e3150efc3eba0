import json

import numpy as np
import pytest

from morula.errors import InputError
from morula.evaluation.metrics import score_image
from morula.evaluation.summary import DEFINITIONS, ScoredImage, compare_predictions, size_rows, summarize


def bars(*runs: tuple[int, int]) -> np.ndarray:
    labels = np.zeros((1, 80), np.int32)
    for number, (start, stop) in enumerate(runs, 1):
        labels[0, start:stop] = number
    return labels


def scored(name: str, truth: np.ndarray, predicted: np.ndarray, **attributes: str) -> ScoredImage:
    return ScoredImage(name, score_image(truth, predicted), attributes)


@pytest.fixture
def images() -> list[ScoredImage]:
    full = bars((0, 10), (20, 30), (40, 50))
    return [
        scored("a", full, full, modality="dark", number="1"),
        scored("b", full, bars((0, 10), (60, 70)), modality="bright", number="2"),
        scored("c", bars(), bars(), modality="bright", number="3"),
    ]


def test_scores_pool_over_images(images: list[ScoredImage]):
    scores = {name: score["value"] for name, score in summarize(images)["scores"].items()}
    # Image b: one found, one invented, two missed.
    assert scores["ap_50"] == pytest.approx(4 / 7)
    assert scores["f1_50"] == pytest.approx(8 / 11)
    assert scores["precision_50"] == pytest.approx(4 / 5)
    assert scores["recall_50"] == pytest.approx(4 / 6)
    assert scores["pq"] == pytest.approx(4 / 5.5)
    assert scores["aji"] == pytest.approx(40 / 70)
    assert scores["seg"] == pytest.approx(4 / 6)
    assert scores["dsb"] == pytest.approx((1 + 1 / 4 + 1) / 3)
    assert scores["dice"] == pytest.approx((1 + 20 / 50 + 1) / 3)
    assert scores["matched_iou"] == 1
    assert set(scores) == set(DEFINITIONS)


def test_every_score_lies_in_its_interval(images: list[ScoredImage]):
    for score in summarize(images)["scores"].values():
        assert score["low"] <= score["value"] <= score["high"]


def test_counts_errors_and_curve(images: list[ScoredImage]):
    summary = summarize(images)
    assert (summary["n_images"], summary["n_truth"], summary["n_predicted"]) == (3, 6, 5)
    assert summary["errors"] == {"split": 0, "merged": 0, "missed": 2, "spurious": 1}
    assert [row["iou"] for row in summary["curve"]] == [step / 100 for step in range(50, 100, 5)]
    assert (summary["curve"][0]["tp"], summary["curve"][0]["fp"], summary["curve"][0]["fn"]) == (4, 1, 2)


def test_strata_are_text_columns_unless_named(images: list[ScoredImage]):
    strata = summarize(images)["strata"]
    assert list(strata) == ["modality"]
    assert [(row["value"], row["n_images"]) for row in strata["modality"]] == [("bright", 2), ("dark", 1)]
    assert strata["modality"][1]["dsb"]["value"] == 1
    assert len(summarize(images, by=["number"])["strata"]["number"]) == 3


def test_an_unknown_column_is_named(images: list[ScoredImage]):
    with pytest.raises(InputError, match=r"'modalty'.*Did you mean 'modality'"):
        summarize(images, by=["modalty"])


def test_a_column_of_a_plain_folder_is_an_error():
    image = scored("a", bars((0, 9)), bars((0, 9)))
    with pytest.raises(InputError, match="plain folder"):
        summarize([image], by=["modality"])


def test_no_images_is_an_error():
    with pytest.raises(InputError, match="no images"):
        summarize([])


def test_empty_images_leave_scores_undefined_and_json_sound():
    summary = summarize([scored("a", bars(), bars())])
    assert summary["scores"]["ap_50"]["value"] is None
    assert summary["scores"]["dsb"]["value"] == 1
    assert summary["sizes"] == []
    json.dumps(summary, allow_nan=False)


def test_sizes_by_hand():
    truth = bars((0, 4), (10, 18), (30, 50))
    predicted = bars((0, 4), (60, 64), (30, 50))
    rows = size_rows([score_image(truth, predicted)])
    assert [row["value"] for row in rows] == ["small", "medium", "large"]
    assert [row["n_truth"] for row in rows] == [1, 1, 1]
    # The invention is small, the missed object is of medium size.
    assert [row["false_positives"] for row in rows] == [1, 0, 0]
    assert [row["recall_50"]["value"] for row in rows] == [1, 0, 1]
    assert [row["ap_50"]["value"] for row in rows] == [0.5, 0, 1]
    assert rows[1]["from_px"] == pytest.approx((4 / np.pi * 8) ** 0.5)
    assert rows[2]["to_px"] is None


def test_objects_of_one_size_are_one_stratum():
    rows = size_rows([score_image(bars((0, 5), (10, 15)), bars((0, 5)))])
    assert [(row["value"], row["n_truth"]) for row in rows] == [("all", 2)]


def test_comparison_of_a_prediction_with_itself(images: list[ScoredImage]):
    tests = compare_predictions(images, images)
    assert tests["dsb"]["difference"] == 0
    assert tests["dsb"]["p_value"] == 1
    assert tests["dsb"]["n_images"] == 3


def test_comparison_finds_the_better_one():
    full = bars((0, 10), (20, 30))
    good = [scored(str(k), full, full) for k in range(8)]
    poor = [scored(str(k), full, bars((0, 8))) for k in range(8)]
    test = compare_predictions(good, poor)["ap_50"]
    assert test["difference"] == pytest.approx(0.5)
    assert test["p_value"] == 2 / 256


def test_comparison_needs_common_images(images: list[ScoredImage]):
    with pytest.raises(InputError, match="share no image"):
        compare_predictions(images[:1], images[1:])
