import csv
import io
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from morula.data.files import write_text
from morula.data.formats import write_labels
from morula.data.layouts import open_dataset
from morula.errors import InputError
from morula.evaluation.comparison import (
    SCORES,
    TESTED,
    Entrant,
    csv_text,
    find_winner,
    holm,
    score_contest,
    summarize_contest,
)
from morula.evaluation.disputes import write_disputes
from morula.evaluation.metrics import ImageScore, score_image
from morula.evaluation.report import CompareReport
from morula.evaluation.summary import ScoredImage, summarize

NAMES = ("a", "b", "plate <1>/c & d", "e")


@pytest.fixture
def rivals(tmp_path: Path, predicted: Path, truth: np.ndarray) -> list[Entrant]:
    """One with two seeds, the truth and something worse; one with a single seed, nothing at all."""
    for number, name in enumerate(NAMES):
        write_labels(tmp_path / "perfect" / f"{name}.tif", np.roll(truth, number, 1))
        write_labels(tmp_path / "empty" / f"{name}.tif", np.zeros_like(truth))
    two_seeds = Entrant(
        "two seeds", (tmp_path / "perfect", predicted), {"runs": ["r"], "steps": 5, "minutes": 0.5}
    )
    return [Entrant("empty", (tmp_path / "empty",)), two_seeds]


def test_one_entrant_has_the_scores_of_an_evaluation(dataset: Path, predicted: Path, truth: np.ndarray):
    data = open_dataset(dataset)
    entrant = Entrant("one", (predicted,))
    contest = score_contest(data, data.labelled, [entrant])
    found = summarize_contest(contest, [entrant])
    images = [
        ScoredImage(sample.id, score, sample.attributes)
        for sample, (score,) in zip(contest.samples, contest.scores["one"], strict=True)
        if isinstance(score, ImageScore)
    ]
    expected = summarize(images)
    row = found["entrants"][0]
    for name in SCORES:
        assert {key: row["scores"][name][key] for key in ("value", "low", "high")} == expected["scores"][name]
    for part, stratum in zip(row["strata"]["modality"], expected["strata"]["modality"], strict=True):
        assert (part["value"], part["n_images"]) == (stratum["value"], stratum["n_images"])
        assert part["scores"]["dsb"] == stratum["dsb"]
    assert found["n_truth"] == expected["n_truth"]
    assert row["n_predicted"] == expected["n_predicted"]
    assert found["verdict"] == {"winner": None, "text": "No winner: one is alone."}


def test_seeds_are_pooled_and_the_best_stands_first(dataset: Path, rivals: list[Entrant]):
    data = open_dataset(dataset)
    found = summarize_contest(score_contest(data, data.labelled, rivals), rivals)
    best, worst = found["entrants"]
    assert (best["name"], worst["name"]) == ("two seeds", "empty")
    dsb = best["scores"]["dsb"]
    assert dsb["seeds"][0] == 1
    # A mean over images: the mean of the seeds is the pooled score.
    assert dsb["value"] == pytest.approx(np.mean(dsb["seeds"]))
    assert best["steps"] == 5
    assert worst["scores"]["dsb"]["value"] == 0
    assert {(test["first"], test["second"], test["score"]) for test in found["tests"]} == {
        ("two seeds", "empty", score) for score in TESTED
    }
    # Four images: 2 of the 16 swaps are as extreme as what was seen.
    main = next(test for test in found["tests"] if test["score"] == "dsb")
    assert main["p_value"] == main["p_holm"] == 2 / 16
    assert main["difference"] == pytest.approx(dsb["value"])
    assert found["verdict"]["winner"] is None
    assert "two seeds" in found["verdict"]["text"]
    assert "p = 0.12" in found["verdict"]["text"]


def test_an_image_counts_for_all_or_for_none(dataset: Path, rivals: list[Entrant]):
    (rivals[0].folders[0] / "b.tif").unlink()
    (rivals[1].folders[1] / "labels" / "e.tif").write_bytes(b"junk")
    data = open_dataset(dataset)
    contest = score_contest(data, data.labelled, rivals)
    assert [sample.id for sample in contest.samples] == ["a", "plate <1>/c & d"]
    assert contest.left_out["b"] == "empty has no labels for it."
    assert "e.tif" in contest.left_out["e"]
    for name in NAMES:
        (rivals[0].folders[0] / f"{name}.tif").write_bytes(b"")
    with pytest.raises(InputError, match="none of the 4 test images"):
        score_contest(data, data.labelled, rivals)


def test_the_table_holds_everything(dataset: Path, rivals: list[Entrant]):
    data = open_dataset(dataset)
    found = summarize_contest(score_contest(data, data.labelled, rivals), rivals)
    rows = list(csv.DictReader(io.StringIO(csv_text(found))))
    assert [(row["entrant"], row["column"], row["value"]) for row in rows[:3]] == [
        ("two seeds", "", "all"),
        ("two seeds", "modality", "bright"),
        ("two seeds", "modality", "dark"),
    ]
    assert float(rows[0]["f1_50"]) == found["entrants"][0]["scores"]["f1_50"]["value"]
    assert (rows[0]["n_images"], rows[1]["n_images"], rows[0]["steps"]) == ("4", "2", "5")
    assert rows[3]["steps"] == ""


def rows(**scores: float) -> list[dict]:
    return [{"name": name, "scores": {"dsb": {"value": value}}} for name, value in scores.items()]


def pair(first: str, second: str, p_value: float) -> dict:
    return {"first": first, "second": second, "score": "dsb", "p_holm": p_value}


def test_the_winner_is_clearly_ahead_of_everybody():
    tests = [pair("a", "b", 0.01), pair("a", "c", 0.04), pair("b", "c", 0.9)]
    verdict = find_winner(rows(a=0.6, b=0.5, c=0.4), tests)
    assert verdict["winner"] == "a"
    assert verdict["text"] == "a (0.600) has a clearly better DSB score than every other entrant (p = 0.04)."


def test_without_a_clear_lead_nobody_wins():
    table = rows(a=0.6, b=0.5, c=0.4)
    table[1]["undertrained"] = True
    verdict = find_winner(table, [pair("a", "b", 0.01), pair("a", "c", 0.05), pair("b", "c", 0.001)])
    assert verdict["winner"] is None
    assert verdict["text"].startswith(
        "No winner: a (0.600) is ahead, but not clearly ahead of c (0.400; p = 0.05)."
    )
    assert verdict["text"].endswith("Undertrained, and no measure of what the method can do: b.")


def test_holm_by_hand():
    # 0.01 * 4, 0.02 * 3, 0.04 * 2, and the last is no smaller than the one before.
    assert holm([0.04, 0.01, 0.06, 0.02]) == pytest.approx([0.08, 0.04, 0.08, 0.06])
    assert holm([0.5, 0.9]) == [1, 1]
    corrected = holm([0.02, float("nan")])
    assert corrected[0] == 0.02
    assert np.isnan(corrected[1])


def test_holm_is_stricter_than_control_of_the_false_discovery_rate():
    p_values = np.random.default_rng(0).random(20) ** 3
    assert (np.array(holm(p_values.tolist())) >= false_discovery_control(p_values) - 1e-12).all()


def test_boundary_and_lent_labels_are_among_the_scores(truth: np.ndarray):
    assert {"boundary_dice", "f1_50_lent", "dsb_to_90"} <= set(SCORES)
    assert score_image(truth, truth).lent.f1 == 1


@pytest.fixture
def organs(tmp_path: Path) -> tuple[Path, list[Entrant]]:
    """Two cases with two classes, the second case without the second one; one entrant knows, one half."""
    root = tmp_path / "organs"
    write_text(root / "dataset.toml", 'task = "semantic"\n[classes]\nliver = 1\nspleen = 2\n')
    truth = np.zeros((32, 32), np.int32)
    truth[4:12, 4:12] = 1
    both = truth.copy()
    both[20:28, 20:28] = 2
    half = truth.copy()
    half[8:12, 4:12] = 0
    for name, true, guess in (("a", both, half), ("b", truth, truth)):
        write_labels(root / "labels" / f"{name}.tif", true)
        write_labels(root / "images" / f"{name}.tif", true)
        write_labels(tmp_path / "knows" / f"{name}.tif", true)
        write_labels(tmp_path / "half" / f"{name}.tif", guess)
    return root, [Entrant(name, (tmp_path / name,)) for name in ("half", "knows")]


def test_classes_are_compared_by_dice_and_surface(organs: tuple[Path, list[Entrant]], tmp_path: Path):
    root, entrants = organs
    data = open_dataset(root)
    contest = score_contest(data, data.labelled, entrants)
    found = summarize_contest(contest, entrants)
    knows, half = found["entrants"]
    assert (knows["name"], half["name"]) == ("knows", "half")
    assert list(found["definitions"]) == [
        *("dice", "nsd", "nsd_area"),
        *("dice_liver", "nsd_liver", "dice_spleen", "nsd_spleen"),
    ]
    # Case a: half the liver is 2 * 32 / (64 + 32), no spleen is 0; case b has no spleen to be found.
    values = {name: half["scores"][name]["value"] for name in ("dice", "dice_liver", "dice_spleen")}
    assert values == pytest.approx({"dice": (1 / 3 + 1) / 2, "dice_liver": (2 / 3 + 1) / 2, "dice_spleen": 0})
    assert knows["scores"]["dice_spleen"]["value"] == 1
    assert [row["dice"]["half"] for row in found["images"]] == pytest.approx([1 / 3, 1])
    assert {test["score"] for test in found["tests"]} == set(found["definitions"])
    assert next(test for test in found["tests"] if test["score"] == "dice")["p_value"] == 1
    assert "knows (1.000) is ahead" in found["verdict"]["text"]
    found["pictures"] = write_disputes(contest, entrants, data, tmp_path)
    assert found["pictures"][0]["entrants"]["half"]["score"] == pytest.approx(1 / 3)
    facts = {"data": "organs", "fold": 0, "seeds": 1, "device": "cpu", "budget_s": None, "overrides": []}
    page = CompareReport({**facts, **found}, {}, tmp_path).page()
    for text in ("<h2>Spread</h2>", "spleen, NSD", "with mean Dice"):
        assert text in page
    assert "objects" not in page
    assert next(csv.DictReader(io.StringIO(csv_text(found))))["dice_liver"] == "1.0"
