import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from morula.data.formats import write_labels
from morula.data.layouts import open_dataset
from morula.errors import InputError
from morula.evaluation.comparison import Entrant, score_contest, summarize_contest
from morula.evaluation.disputes import write_disputes
from morula.evaluation.evaluate import evaluate, score_pairs
from morula.evaluation.pictures import WorstPictures
from morula.evaluation.report import CompareReport, EvaluateReport, PredictReport, TrainReport, render_report
from morula.evaluation.report_train import read_journal

VOID = {"meta", "img", "input", "br"}
EVIL = "a<script>alert(1)</script>&'\"x"


class Checker(HTMLParser):
    """Follows a page, and fails where elements do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.addresses: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Closed already."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text += data


def read(page: str) -> Checker:
    """The page, checked: it nests, loads nothing, and runs only its own script."""
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert checker.scripts == 1
    assert all(address.startswith(("#", "data:image/jpeg;base64,")) for address in checker.addresses)
    assert not re.search(r"url\(|@import|https?://", page)
    return checker


@pytest.fixture
def prediction(tmp_path: Path) -> Path:
    """What `predict` leaves behind: twelve images, one that failed, names that need escaping."""
    folder = tmp_path / "prediction"
    images: list[dict[str, Any]] = []
    with_objects = [("sure", 0.95), ("doubtful", 0.4), (EVIL, 0.9), *((f"i{k}", 0.9) for k in range(8))]
    for name, confidence in with_objects:
        path = f"overlays/{len(images)}.jpg"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / path), np.zeros((8, 8, 3), np.uint8))
        row = {"id": name, "failure": None, "overlay": path, "n_objects": 10, "seconds": 0.5}
        images.append({**row, "median_diameter_px": 12.0, "mean_confidence": confidence})
        images[-1]["reliability"] = confidence - 0.1
    images[1]["doubts"] = ["most objects are <uncertain>"]
    images[-1]["n_objects"] = 400
    nothing = {"id": "nothing", "failure": None, "overlay": None, "n_objects": 0, "seconds": 0.1}
    images.append(nothing | {"reliability": 0.0, "doubts": ["nothing found"]})
    images.append({"id": "bad", "failure": "bad.png is <empty>. Copy it again."})
    run = {"command": f"morula predict '{EVIL}'", "model": "nuclei", "plan_hash": "abc", "images": images}
    (folder / "run.json").write_text(
        json.dumps(run | {"versions": {"morula": "1"}, "options": {"axes": None}})
    )
    with (folder / "measurements.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "area_px", "equivalent_diameter_px", "area_um2", "mean_<dapi>", "note"])
        writer.writerows([f"i{k}", 10 + k, 3.5, "" if k else 2.0, k, "text"] for k in range(20))
    return folder


def test_prediction(prediction: Path):
    report = PredictReport.load(prediction)
    checker = read(report.page())
    assert EVIL in checker.text
    assert "bad.png is <empty>. Copy it again." in checker.text
    assert "1 image failed; the others are done" in checker.text
    order = [row["id"] for row in report.done]
    assert order[:2] == ["nothing", "doubtful"]
    # Sizes in micrometres are known for one object only: pixels are drawn.
    assert "area, px" in checker.text
    assert "area, µm²" not in checker.text
    assert "intensity, <dapi>" in checker.text


def test_prediction_shows_the_least_reliable_images_only(prediction: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("morula.evaluation.report_predict.MOST_PICTURES", 3)
    page = PredictReport.load(prediction).page()
    assert page.count("<figure") == 3
    assert "The 3 least reliable of 11 images" in page
    assert 'alt="doubtful"' in page
    assert 'alt="sure"' not in page


def test_what_should_be_looked_at_first(prediction: Path):
    text = read(PredictReport.load(prediction).page()).text
    section = text[text.index("Look at these first") :]
    places = [
        section.index(words) for words in ("nothing found", "most objects are <uncertain>", "unusually many")
    ]
    assert places == sorted(places)


def test_a_record_of_an_earlier_version_is_shown(prediction: Path):
    run = json.loads((prediction / "run.json").read_text())
    for row in run["images"]:
        row.pop("reliability", None)
        row.pop("doubts", None)
    (prediction / "run.json").write_text(json.dumps(run))
    report = PredictReport.load(prediction)
    assert [row["id"] for row in report.done][:2] == ["nothing", "doubtful"]
    assert "unusually many" in read(report.page()).text


def test_everything_failed(tmp_path: Path):
    (tmp_path / "run.json").write_text(json.dumps({"images": [{"id": "a", "failure": "no"}]}))
    assert "0 objects in 0 images" in read(PredictReport.load(tmp_path).page()).text


def test_evaluation(dataset: Path, predicted: Path, tmp_path: Path):
    (predicted / "labels/b.tif").write_bytes(b"<junk>")
    evaluate(predicted, dataset, tmp_path / "out", compare=dataset / "labels")
    report = EvaluateReport.load(tmp_path / "out")
    checker = read(report.page())
    assert "plate <1>/c & d" in checker.text
    assert "1 image could not be scored" in checker.text
    assert list(report.pictures) == ["e", "plate <1>/c & d", "a"]
    for title in ("Scores", "Score over IoU", "Comparison", "Strata", "Pictures", "Images", "Definitions"):
        assert title in checker.text


def test_an_evaluation_can_be_rendered_again_without_its_pictures(
    dataset: Path, predicted: Path, tmp_path: Path
):
    evaluate(predicted, dataset, tmp_path / "out")
    for picture in (tmp_path / "out/overlays").rglob("*.jpg"):
        picture.unlink()
    render_report(EvaluateReport.load(tmp_path / "out"), tmp_path / "again.html")
    assert "<figure" not in (tmp_path / "again.html").read_text()


PLAN = """recipe = "auto"
# two axes <2>
ndim = 2

[representation]
# the best ceiling
kind = "hover"

[training]
steps = 100
batch_size = 4
patch_size = [64, 64]
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder after training, without its weights."""
    folder = tmp_path / "run"
    (folder / "fold_0").mkdir(parents=True)
    (folder / "plan.toml").write_text(PLAN)
    lines: list[dict[str, Any]] = [
        {"step": step, "loss": 5 / step, "terms": {"dice": 3 / step, "bce": 2 / step}, "learning_rate": 0.1}
        for step in range(1, 900)
    ]
    lines += [{"step": 900, "validation": {"score": 0.5, "ap50": 0.7}}]
    (folder / "fold_0/journal.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 9')
    return folder


def test_training_with_what_is_there_so_far(run: Path):
    checker = read(TrainReport.load(run).page())
    assert "two axes <2>" in checker.text
    assert "Training curves" in checker.text
    assert "Ceilings" not in checker.text


def test_training_with_everything(run: Path, truth: np.ndarray):
    worst = WorstPictures(1, lambda _: None)
    pairs = [("a<1>", truth, np.zeros_like(truth), {}), ("b", truth, truth, {})]
    metrics = score_pairs(pairs, worst=worst)
    (run / "metrics.json").write_text(json.dumps(metrics | {"overlays": worst.write(run)}))
    trials = [{"decoder": "y", "parts.y.other": 0.5, "dsb": 0.3}]
    trials += [{"decoder": "x", "parts.x.t": 0.5 + k / 100, "dsb": 0.4 + k / 100} for k in range(12)]
    (run / "tuning.json").write_text(json.dumps(trials))
    problem = {
        "kind": "empty",
        "severity": "error",
        "path": "x.png",
        "message": "x.png is <empty>.",
        "sample": "x",
    }
    (run / "check.json").write_text(json.dumps({"problems": [problem, problem | {"severity": "warning"}]}))
    (run / "request.toml").write_text('data = "d<1>"\n[select]\nfold = ["1", "2"]\n')
    ceiling = {
        "representation": "hover",
        "dsb_score": 0.9,
        "ap50": 1.0,
        "ap75": 0.9,
        "ap90": 0.8,
        "ms_per_megapixel": 7.0,
    }
    kind = {
        "name": "k<1>",
        "n_images": 1,
        "n_labelled": 1,
        "n_objects": 3,
        "diameter_px": {"p50": 9.0},
        "touching": 0.1,
        "density": 0.2,
    }
    facts = {
        "n_images": 2,
        "n_labelled": 2,
        "n_objects": 9,
        "shape_median": [64, 64],
        "channels": {"grey": 2},
    }
    facts |= {
        "diameter_px": {"p5": 3.0, "p50": 9.0, "p95": 20.0},
        "ceilings": [ceiling],
        "modalities": [kind, kind],
    }
    (run / "fingerprint.json").write_text(json.dumps(facts | {"images": [{"id": "a", "diameter_px": 9.0}]}))
    page = TrainReport.load(run).page()
    checker = read(page)
    assert page.count("<figure") == 1
    # None of the twelve best settings has this field.
    assert "other" not in re.findall(r"<th[^>]*>([^<]*)", page)
    assert "t" in re.findall(r"<th[^>]*>([^<]*)", page)
    for text in (
        "a<1>",
        "Pictures",
        "for an unbiased figure",
        "from 0.3000 to 0.5100 (best of each decoder: x 0.5100, y 0.3000)",
        "Ceilings",
        "x.png is <empty>.",
        "d<1>",
        "fold = 1, 2",
        "k<1>",
        "Decoder tuning",
        "Validation scores",
    ):
        assert text in checker.text


def test_long_journals_are_thinned_and_a_torn_last_line_is_passed_over(run: Path):
    assert len(read_journal(run / "fold_0/journal.jsonl")) == 900
    page = TrainReport.load(run).page()
    longest = max(page.split('points="'), key=lambda part: len(part.split('"')[0])).split('"')[0]
    assert 200 < len(longest.split()) <= 300


def test_a_torn_line_in_the_middle_is_an_error(tmp_path: Path):
    (tmp_path / "journal.jsonl").write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(InputError, match="line 2"):
        read_journal(tmp_path / "journal.jsonl")


@pytest.mark.parametrize("kind", [PredictReport, EvaluateReport, TrainReport])
def test_a_folder_without_results_is_an_error(kind: type[EvaluateReport], tmp_path: Path):
    with pytest.raises(InputError, match=r"run\.json|metrics\.json|plan\.toml"):
        kind.load(tmp_path)


def test_broken_results_are_an_error(tmp_path: Path):
    (tmp_path / "metrics.json").write_text("[1]")
    with pytest.raises(InputError, match="holds a list"):
        EvaluateReport.load(tmp_path)
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        EvaluateReport.load(tmp_path)


@pytest.fixture
def comparison(dataset: Path, predicted: Path, truth: np.ndarray, tmp_path: Path) -> Path:
    """What `compare` leaves behind: a run with a journal and an evil name, labels of others, a failure."""
    out = tmp_path / "out"
    for number, name in enumerate(("a", "b", "plate <1>/c & d", "e")):
        write_labels(tmp_path / "perfect" / f"{name}.tif", np.roll(truth, number, 1))
    facts = {"runs": ["runs/x"], "network": "plain_unet", "representation": "hover", "parameters": 1_234_567}
    facts |= {
        "gmac_per_megapixel": 12.34,
        "patch_size": [64, 64],
        "batch_size": 2,
        "steps": 40,
        "minutes": 2.5,
    }
    facts |= {"undertrained": True, "planned_steps": 1500, "n_training": 20, "n_validation": 3}
    entrants = [Entrant(EVIL, (predicted,), facts), Entrant("others", (tmp_path / "perfect",))]
    data = open_dataset(dataset)
    contest = score_contest(data, data.labelled, entrants)
    found = {
        "data": str(dataset),
        "fold": 0,
        "seeds": 1,
        "device": "cpu",
        "budget_s": 150.0,
    }
    found |= {"overrides": ["training.batch_size=2"], "failed": {"hover": EVIL}}
    found |= summarize_contest(contest, entrants)
    found |= {"left_out": {"im7": "others has no labels for it."}}
    found["pictures"] = write_disputes(contest, entrants, data, out)
    journal = out / "runs" / "x" / "fold_0" / "journal.jsonl"
    journal.parent.mkdir(parents=True)
    lines = [{"step": step, "loss": 2.0 / step} for step in (20, 40)]
    lines += [{"step": step, "validation": {"score": step / 100}} for step in (20, 40)]
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (out / "comparison.json").write_text(json.dumps(found))
    return out


def test_comparison(comparison: Path):
    page = CompareReport.load(comparison).page()
    checker = read(page)
    for text in (EVIL, "others", "No winner", "undertrained", "1.23", "12.3", "2 min 30 s", "2.5", "64 × 64"):
        assert text in checker.text, text
    assert "others has no labels for it." in checker.text
    assert "1 failed; the others were compared" in checker.text
    for title in ("Scores", "Strata", "Paired tests", "Pictures", "Training curves", "Effort", "Images"):
        assert f"<h2>{title}</h2>" in page
    # Truth and two entrants in each of four crops.
    assert page.count("<figure") == 12
    # The colour of an entrant is the same everywhere: the run is the second one.
    assert 'class="line color-1"' in page


def test_comparison_of_labels_alone(comparison: Path):
    path = comparison / "comparison.json"
    found = json.loads(path.read_text())
    found["entrants"], found["tests"], found["pictures"] = found["entrants"][:1], [], []
    path.write_text(json.dumps(found))
    page = CompareReport.load(comparison).page()
    read(page)
    for title in ("Paired tests", "Pictures", "Training curves", "Effort"):
        assert f"<h2>{title}</h2>" not in page
