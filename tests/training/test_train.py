"""The whole chain on a data set small enough for a test."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from safetensors.torch import load_file

from morula.data.formats import write_labels
from morula.data.sample import Image
from morula.errors import InputError
from morula.prediction.model import Model
from morula.prediction.shipped import CALIBRATION
from morula.spec import read_reasons
from morula.training.checkpoint import save_weights
from morula.training.loop import build_network
from morula.training.run import Request, Run, open_selected, plan_run, split, start_run
from morula.training.train import evaluate_run, train
from morula.training.tune import tune_model
from synthetic import picture_of, touching_balls
from tiny import write_model

SMALL = (
    "training.steps=4",
    "training.batch_size=2",
    "training.patch_size=[32, 32]",
    "training.validate_every=2",
    'network={kind="residual_unet", features=[8, 16], blocks=[1, 1]}',
    "inference.tile_size=[64, 64]",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    rows = ["id,modality,field,fold"]
    (root / "images").mkdir()
    for index in range(8):
        labels = touching_balls(2, shape=64, radius=7 + index % 3)
        tifffile.imwrite(root / "images" / f"im{index}.tif", picture_of(labels, seed=index))
        write_labels(root / "labels" / f"im{index}.tif", labels)
        rows.append(f"im{index},{'dim' if index % 2 else 'bright'},field{index // 2},{index // 4}")
    (root / "index.csv").write_text("\n".join(rows))
    return root


def request(data, **changes):
    return Request(**{"data": str(data), "overrides": SMALL, **changes})


@pytest.mark.slow
def test_from_labelled_images_to_a_model_and_its_scores(data, tmp_path):
    run = tmp_path / "run"
    summary = train(run, request(data))
    assert summary.metrics["n_images"] == len(json.loads((run / "splits.json").read_text())["validation"][0])
    for name in ("check.json", "fingerprint.json", "plan.toml", "tuned.toml", "metrics.json", "report.html"):
        assert (run / name).exists(), name
    assert "# " in (run / "plan.toml").read_text()
    labels = touching_balls(2)
    found = Model.load(run).segment(Image(picture_of(labels)[None], ("grey",)))
    assert found.labels.shape == labels.shape
    before = load_file(run / "fold_0" / "weights.safetensors")
    again = train(run)
    after = load_file(run / "fold_0" / "weights.safetensors")
    assert again.metrics == summary.metrics
    assert all(np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.slow
def test_folds_are_scored_by_the_network_that_did_not_see_them(data, tmp_path):
    summary = train(tmp_path / "run", request(data, folds=2))
    assert sorted(path.name for path in (tmp_path / "run").glob("fold_*")) == ["fold_0", "fold_1"]
    assert summary.metrics["n_images"] == 8
    assert len(Model.load(tmp_path / "run").networks) == 2


@pytest.mark.slow
def test_a_model_is_fine_tuned_and_its_decoder_tuned(data, tmp_path):
    train(tmp_path / "base", request(data, fold=0))
    fine = request(data, start_from=str(tmp_path / "base"), overrides=SMALL[:4], select={"fold": ("1",)})
    train(tmp_path / "fine", fine)
    base, fine = Model.load(tmp_path / "base"), Model.load(tmp_path / "fine")
    assert fine.plan.network == base.plan.network
    tuned = tune_model(tmp_path / "base", data, tmp_path / "tuned", select={"modality": {"dim"}})
    assert len(tuned.rows) == 5
    assert Model.load(tmp_path / "tuned").plan.network == base.plan.network
    with pytest.raises(InputError, match="holds a model"):
        tune_model(tmp_path / "base", data, tmp_path / "tuned")
    shutil.rmtree(tmp_path / "base")
    train(tmp_path / "fine")  # its checkpoint has what it began with


def test_a_run_asked_for_differently_is_refused(data, tmp_path):
    plan_run(start_run(tmp_path / "run", request(data)))
    start_run(tmp_path / "run", request(data))
    with pytest.raises(InputError, match="asked for differently"):
        start_run(tmp_path / "run", request(data, recipe="hover"))


def test_a_run_called_like_a_shipped_model_is_refused(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="name of a shipped model"):
        start_run("generalist", Request(data=str(data)))
    assert not (tmp_path / "generalist").exists()


def test_an_edited_plan_is_kept(data, tmp_path):
    run = start_run(tmp_path / "run", request(data, recipe="shrunk-borders"))
    plan_run(run)
    text = run.plan_path.read_text().replace("steps = 4", "steps = 5")
    run.plan_path.write_text(text)
    assert plan_run(run).training.steps == 5
    assert run.plan_path.read_text() == text


def test_validation_images_share_no_field_with_training_images(data):
    samples = [replace(sample, fold=None) for sample in open_selected(data, {}).labelled]
    groups = {sample.id: sample.group for sample in samples}
    for asked in (request(data), request(data, fold=1), request(data, folds=4)):
        for held_out in split(samples, asked, 0):
            inside = {groups[name] for name in groups if name not in held_out}
            assert held_out
            assert not inside & {groups[name] for name in held_out}


def test_the_folds_of_the_index_are_used(data):
    samples = open_selected(data, {}).labelled
    assert split(samples, request(data, fold=1), 0)[1] == ("im4", "im5", "im6", "im7")
    assert split(samples, request(data, folds=2), 0)[1] == ("im4", "im5", "im6", "im7")
    with pytest.raises(InputError, match="no fold 2"):
        split(samples, request(data, fold=2), 0)
    with pytest.raises(InputError, match=r"--folds 4, but the column 'fold' of the index has 2 folds"):
        split(samples, request(data, folds=4), 0)


@pytest.fixture
def with_twins(data, tmp_path):
    """The data set with two equal images in different fields and folds."""
    root = shutil.copytree(data, tmp_path / "twins")
    shutil.copy(root / "images" / "im0.tif", root / "images" / "im7.tif")
    return root


@pytest.mark.parametrize("asked", [{"fold": 0}, {"folds": 2}, {}])
def test_folds_that_leak_are_refused(with_twins, tmp_path, asked):
    run = start_run(tmp_path / "run", request(with_twins, recipe="foreground", **asked))
    with pytest.raises(InputError, match=r"group 'field0' is torn apart \(im0 in fold 0, im6 in fold 1\)"):
        plan_run(run)
    assert not run.plan_path.exists()


def test_a_leak_among_deselected_images_does_no_harm(with_twins, tmp_path):
    asked = request(with_twins, recipe="foreground", select={"fold": ("0",)})
    run = start_run(tmp_path / "run", asked)
    plan_run(run)
    assert not [problem for problem in run.problems() if problem.severity == "error"]


def test_equal_images_stay_in_one_fold(with_twins, tmp_path):
    rows = (with_twins / "index.csv").read_text().splitlines()
    (with_twins / "index.csv").write_text("\n".join(row.rpartition(",")[0] for row in rows))
    run = start_run(tmp_path / "run", request(with_twins, recipe="foreground", folds=3))
    plan_run(run)
    folds = json.loads(run.splits_path.read_text())["validation"]
    assert [{"im0", "im1", "im6", "im7"} <= set(fold) for fold in folds].count(True) == 1


def test_folds_go_by_the_numbers_of_the_index(data):
    samples = [replace(sample, fold=sample.fold + 2) for sample in open_selected(data, {}).labelled]
    folds = split(samples, request(data, fold=3), 0)
    assert folds[3] == ("im4", "im5", "im6", "im7")
    assert folds[:2] == ((), ())
    with pytest.raises(InputError, match="no fold 0; the data have the folds 2, 3"):
        split(samples, request(data, fold=0), 0)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"recipe": "hover", "start_from": "MODEL"}, "--recipe hover does not go with --from"),
        ({"fold": 0, "folds": 3}, "one of the two"),
        ({"budget_s": 60.0}, "both say how long to train"),
    ],
)
def test_options_that_exclude_each_other_are_refused(data, tmp_path, asked, message):
    if "start_from" in asked:
        asked = asked | {"start_from": str(write_model(tmp_path / "model"))}
    with pytest.raises(InputError, match=message):
        start_run(tmp_path / "run", request(data, **asked))
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_trained_on_is_said(data, tmp_path):
    with pytest.raises(InputError, match="no image of"):
        open_selected(data, {"modality": ("none",)})
    (tmp_path / "bare" / "images").mkdir(parents=True)
    tifffile.imwrite(tmp_path / "bare" / "images" / "a.tif", np.zeros((32, 32), np.uint8))
    run = start_run(tmp_path / "run", request(tmp_path / "bare"))
    with pytest.raises(InputError, match="no sound labelled image"):
        plan_run(run)
    assert not run.plan_path.exists()


def test_going_on_needs_a_run(tmp_path):
    with pytest.raises(InputError, match="no run folder"):
        train(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("training.stepz=3",), r"unknown key 'training\.stepz'.*Did you mean 'steps'"),
        (("network.featurs=[8, 16]",), "Did you mean 'features'"),
        (("training.steps=many",), r"training\.steps = 'many'"),
    ],
)
def test_settings_are_judged_before_the_data_are_read(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        start_run(tmp_path / "run", request(tmp_path / "no data here", overrides=changes))
    assert not (tmp_path / "run").exists()


def test_what_the_weights_fix_is_told_before_the_data_are_read(tmp_path):
    asked = request(
        tmp_path, start_from=str(write_model(tmp_path / "model")), overrides=("network.norm=batch",)
    )
    with pytest.raises(InputError, match="--set network does not go with --from"):
        start_run(tmp_path / "run", asked)


@pytest.mark.slow
def test_a_budget_fixes_the_steps_once(data, tmp_path):
    run = tmp_path / "run"
    train(run, request(data, overrides=SMALL[1:], budget_s=2.0))
    steps = json.loads((run / "budget.json").read_text())["steps"]
    text = (run / "plan.toml").read_text()
    assert f"s a look, measured here\nsteps = {steps}\n" in text
    # The other decisions keep their reasons, and what was set stays set.
    assert {"ndim", "scaling.kind"} <= read_reasons(text).keys()
    assert "validate_every = 2\n" in text
    assert train(run).plan.training.steps == steps


def test_a_curve_of_an_earlier_evaluation_is_not_kept(data, tmp_path):
    """Nor is it read: it may be damaged. Too few objects are found to fit another one."""
    asked = request(data, recipe="foreground", overrides=(*SMALL, "inference.mirror=none"), fold=1)
    run = start_run(tmp_path / "run", asked)
    plan = plan_run(run)
    save_weights(run.fold(1) / "weights.safetensors", build_network(plan).state_dict())
    (run.folder / CALIBRATION).write_text("score = [")
    metrics = evaluate_run(Run(run.folder))
    assert metrics is not None
    assert "calibration" not in metrics
    assert Model.load(run.folder).calibration is None
