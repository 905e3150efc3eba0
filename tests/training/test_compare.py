"""Recipes beside each other on a data set small enough for a test."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from morula.data.formats import read_labels, write_labels
from morula.errors import InputError
from morula.prediction.model import Model
from morula.training.compare import compare
from morula.training.run import Run
from synthetic import picture_of, touching_balls
from tiny import morula

SMALL = (
    "training.steps=2",
    "training.batch_size=1",
    "training.patch_size=[32, 32]",
    'network={kind="plain_unet", features=[4, 8]}',
    "inference={tile_size=[64, 64], mirror='none'}",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight images in two folds, dim and bright ones in each."""
    root = tmp_path_factory.mktemp("data")
    (root / "images").mkdir()
    rows = ["id,modality,fold"]
    for index in range(8):
        labels = touching_balls(2, shape=64, radius=7 + index % 3)
        tifffile.imwrite(root / "images" / f"im{index}.tif", picture_of(labels, seed=index))
        write_labels(root / "labels" / f"im{index}.tif", labels)
        rows.append(f"im{index},{'dim' if index % 2 else 'bright'},{index // 4}")
    (root / "index.csv").write_text("\n".join(rows))
    return root


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe that cannot be trained."""
    path = tmp_path_factory.mktemp("recipes") / "broken.toml"
    path.write_text('description = "No such thing"\n[network]\nencoder_weights = "nothing_of_the_kind"\n')
    return path


@pytest.fixture(scope="module")
def compared(data: Path, broken: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """Two seeds of a recipe, one that fails, and the truth in place of other software's labels."""
    out = tmp_path_factory.mktemp("compared")
    recipes = ["foreground", str(broken)]
    found = compare(data, recipes, out, entries={"truth": data / "labels"}, overrides=SMALL, seeds=2)
    return out, found


@pytest.mark.slow
def test_everybody_is_scored_on_the_held_out_fold(compared: tuple[Path, dict]):
    out, found = compared
    assert [row["id"] for row in found["images"]] == ["im0", "im1", "im2", "im3"]
    assert [row["name"] for row in found["entrants"]] == ["truth", "foreground"]
    assert found["entrants"][0]["scores"]["dsb"]["value"] == 1
    assert json.loads((out / "comparison.json").read_text()) == found
    rows = list(csv.DictReader((out / "comparison.csv").read_text().splitlines()))
    values = [(row["entrant"], row["value"]) for row in rows]
    assert values == [(name, v) for name in ("truth", "foreground") for v in ("all", "bright", "dim")]
    page = (out / "report.html").read_text()
    assert page.count("<figure") == 4 * 3
    assert "undertrained" in page


@pytest.mark.slow
def test_the_effort_is_told(compared: tuple[Path, dict]):
    row = compared[1]["entrants"][1]
    assert row["runs"] == ["runs/foreground", "runs/foreground-1"]
    assert (row["steps"], row["undertrained"], row["batch_size"]) == (2, True, 1)
    # The fewest that the planner gives.
    assert row["planned_steps"] == 1500
    assert row["minutes"] > 0
    assert row["n_training"] + row["n_validation"] == 4
    model = Model.load(compared[0] / "runs" / "foreground")
    assert row["parameters"] == sum(tensor.numel() for tensor in model.networks[0].parameters())
    assert len(row["scores"]["dsb"]["seeds"]) == 2


@pytest.mark.slow
def test_each_training_says_whether_more_labels_would_help(compared: tuple[Path, dict]):
    run = compared[0] / "runs" / "foreground"
    advice = json.loads((run / "metrics.json").read_text())["more_labels"]
    # One held-out image says nothing.
    assert advice["answer"] == "unknown"
    assert f"objects in {compared[1]['entrants'][1]['n_training']} images" in advice["text"]
    assert advice["text"] in (run / "report.html").read_text()


@pytest.mark.slow
def test_a_recipe_that_fails_is_named_and_the_others_go_on(compared: tuple[Path, dict]):
    assert compared[1]["failed"].keys() == {"broken", "broken-1"}
    assert "nothing_of_the_kind" in compared[1]["failed"]["broken"]
    assert "nothing_of_the_kind" in (compared[0] / "report.html").read_text()


@pytest.mark.slow
def test_no_run_has_seen_a_test_image(compared: tuple[Path, dict], data: Path):
    out, _ = compared
    for name in ("foreground", "foreground-1"):
        run = Run(out / "runs" / name)
        seen = {sample.id for sample in run.dataset().samples}
        assert seen == {"im4", "im5", "im6", "im7"}
        assert {path.name for path in (run.folder / "prepared").iterdir() if path.is_dir()} == seen


@pytest.mark.slow
def test_what_is_finished_is_passed_over(compared: tuple[Path, dict], data: Path, broken: Path):
    out, found = compared
    lost = out / "runs" / "foreground" / "test" / "labels" / "im2.tif"
    before = read_labels(lost)
    lost.unlink()
    kept = [path for path in out.glob("runs/*/fold_0/*") if path.is_file()]
    kept += list(out.glob("runs/*/test/labels/*.tif"))
    stamps = {path: path.stat().st_mtime_ns for path in kept}
    words = ["foreground", str(broken), "--seeds", "2", "--entry", f"truth={data / 'labels'}"]
    words += [word for pair in SMALL for word in ("--set", pair)]
    result = morula("compare", data, "--recipes", *words, "-o", out)
    assert result.exit_code == 1
    assert "failed: broken" in result.stderr
    assert "truth" in result.stdout
    assert "undertrained" in result.stdout
    assert {path: path.stat().st_mtime_ns for path in kept} == stamps
    assert np.array_equal(read_labels(lost), before)
    assert json.loads((out / "comparison.json").read_text()) == found


@pytest.mark.slow
def test_a_comparison_that_was_killed_goes_on(data: Path, tmp_path: Path):
    def until_predicted(stage: str):
        def bar(done: int, total: int) -> None:
            if stage == "foreground: predict" and done == 2 and total == 4:
                raise KeyboardInterrupt

        return bar

    with pytest.raises(KeyboardInterrupt):
        compare(data, ["foreground"], tmp_path, overrides=SMALL, progress=until_predicted)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/foreground/test/labels/*")}
    assert len(written) == 2
    found = compare(data, ["foreground"], tmp_path, overrides=SMALL)
    assert found["n_images"] == 4
    assert found["verdict"]["winner"] is None
    assert {path: path.stat().st_mtime_ns for path in written} == written
    with pytest.raises(InputError, match="asked for differently"):
        compare(data, ["foreground"], tmp_path, overrides=SMALL[1:])
    with pytest.raises(InputError, match="compares on other images"):
        compare(data, ["foreground"], tmp_path, overrides=SMALL, fold=1)


def test_label_folders_alone_can_be_compared(data: Path, tmp_path: Path):
    for name in ("im0", "im2", "im3"):
        write_labels(tmp_path / "some" / f"{name}.tif", np.zeros((64, 64), np.int32))
    entries = {"truth": data / "labels", "some": tmp_path / "some", "none": tmp_path / "missing"}
    found = compare(data, [], tmp_path / "out", entries=entries)
    assert found["failed"].keys() == {"none"}
    # What one of them lacks counts for nobody.
    assert found["left_out"] == {"im1": "some has no labels for it."}
    assert [row["name"] for row in found["entrants"]] == ["truth", "some"]
    assert "Effort" not in (tmp_path / "out" / "report.html").read_text()


def test_images_without_sound_labels_do_not_bring_their_fold_into_training(data: Path, tmp_path: Path):
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    (copy / "labels" / "im1.tif").unlink()
    (copy / "images" / "im2.tif").write_bytes(b"broken")
    compare(copy, [], tmp_path / "out", entries={"truth": data / "labels"})
    split = json.loads((tmp_path / "out" / "split.json").read_text())
    assert split["test"] == ["im0", "im3"]
    assert split["select"] == {"fold": ["1"]}


def test_folds_are_made_where_there_are_none(data: Path, tmp_path: Path):
    (tmp_path / "data").mkdir()
    for folder in ("images", "labels"):
        (tmp_path / "data" / folder).symlink_to(data / folder)
    found = compare(tmp_path / "data", [], tmp_path / "out", entries={"truth": data / "labels"}, fold=4)
    split = json.loads((tmp_path / "out" / "split.json").read_text())
    assert found["n_images"] == len(split["test"])
    assert sorted([*split["test"], *split["select"]["id"]]) == [f"im{k}" for k in range(8)]


@pytest.mark.parametrize(
    ("recipes", "options", "message"),
    [
        ([], {}, "nobody takes part"),
        (["hover", "hover"], {}, "two entrants are called 'hover'"),
        (["hover"], {"entries": {"hover": Path("labels")}}, "two entrants are called 'hover'"),
        (["hovver"], {}, "Did you mean 'hover'"),
        (["hover", "nnunet-sdm"], {}, "does not say that its labels are classes"),
        (["hover", "nnunet-sdm"], {"overrides": ["task=instances"]}, "single objects, nnunet-sdm is for"),
        (["hover"], {"overrides": ["ndim=3"]}, "2 spatial axes, hover is for images with 3"),
        (["hover"], {"fold": 7}, "no fold 7"),
        (["hover"], {"seeds": 0}, "1 or more"),
        (["hover"], {"seeds": 2, "overrides": ["training.seed=3"]}, "both choose seeds"),
        (["hover"], {"budget_s": 60.0, "overrides": ["training.steps=3"]}, "both say how long"),
        (["hover"], {"overrides": ["training.stepz=3"]}, "Did you mean 'steps'"),
        (["hover"], {"select": {"colour": {"red"}}}, "colour"),
        (["hover"], {"select": {"fold": {"0"}}}, "the index names one fold only, 0"),
        (["hover"], {"device": "abacus"}, "abacus"),
    ],
)
def test_bad_options_are_told_before_anything_is_trained(
    data: Path, tmp_path: Path, recipes: list[str], options: dict, message: str
):
    with pytest.raises(InputError, match=message):
        compare(data, recipes, tmp_path / "out", **options)
    assert not (tmp_path / "out" / "runs").exists()


def test_when_everybody_fails_nothing_is_compared(data: Path, tmp_path: Path):
    result = morula("compare", data, "-o", tmp_path / "out", "--entry", f"none={tmp_path / 'missing'}")
    assert result.exit_code == 2
    assert "nothing can be compared; none: " in result.stderr
