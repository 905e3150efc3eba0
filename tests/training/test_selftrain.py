"""Self-training on a data set small enough for a test."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from safetensors.torch import load_file

from morula.data.formats import read_labels, write_labels
from morula.data.layouts import open_dataset
from morula.errors import InputError
from morula.evaluation.reliability import read_reliability
from morula.prediction.model import Model
from morula.training import selftrain as module
from morula.training.pseudo import count_labelled
from morula.training.run import Request, Run
from morula.training.selftrain import SelftrainRequest, better, selftrain, snapshots_of
from morula.training.train import train, with_pseudo
from synthetic import picture_of, touching_balls
from training.small import prepared

SMALL = (
    "training.steps=30",
    "training.batch_size=2",
    "training.patch_size=[32, 32]",
    "training.validate_every=15",
    "training.snapshots=3",
    "training.optimizer.learning_rate=0.01",
    "training.precision=float32",
    'network={kind="plain_unet", features=[8, 16]}',
    "inference.tile_size=[64, 64]",
    "inference.mirror=none",
)


class KilledError(BaseException):
    """As an interrupt: no handler of errors stops it."""


def write_image(path: Path, seed: int) -> np.ndarray:
    labels = np.roll(touching_balls(2, shape=48, radius=7 + seed % 3), seed, axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, picture_of(labels, seed=seed))
    return labels


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A finished run on four of eight images, two of them held out."""
    root = tmp_path_factory.mktemp("data")
    for index in range(8):
        labels = write_image(root / "images" / f"im{index}.tif", index)
        write_labels(root / "labels" / f"im{index}.tif", labels)
    run = root.parent / "teacher"
    train(run, Request(data=str(root), recipe="foreground", overrides=SMALL, labelled=4))
    return run


@pytest.fixture
def unlabelled(tmp_path):
    for index in range(20, 23):
        write_image(tmp_path / "unlabelled" / f"u{index}.tif", index)
    return tmp_path / "unlabelled"


def request(teacher: Path, *unlabelled: Path, **changes) -> SelftrainRequest:
    steps = {"overrides": ("training.steps=4", "training.validate_every=2")}
    return SelftrainRequest(
        teacher=str(teacher), unlabelled=tuple(map(str, unlabelled)), **{**steps, **changes}
    )


def weights_of(run: Path):
    return load_file(run / "fold_0" / "weights.safetensors")


def equal(one: Path, other: Path) -> bool:
    first, second = weights_of(one), weights_of(other)
    return all(np.array_equal(first[name], second[name]) for name in first)


def killing(monkeypatch, name: str, call: int) -> None:
    """The function of that name in the module is interrupted before its nth call."""
    original, calls = getattr(module, name), []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            raise KilledError
        return original(*args, **kwargs)

    monkeypatch.setattr(module, name, interrupted)


def test_a_part_of_the_labels_may_be_used(teacher):
    run = Run(teacher)
    held_out = json.loads(run.splits_path.read_text())["validation"][0]
    labelled = {sample.id for sample in run.labelled()}
    assert len(labelled) == 4
    assert set(held_out) < labelled
    assert len(run.unlabelled()) == 4
    assert not labelled & {sample.id for sample in run.unlabelled()}


def test_snapshots_are_kept_at_equal_shares_of_the_steps(teacher):
    assert snapshots_of(Run(teacher)) == ("snapshot_1", "snapshot_2", "snapshot_3")
    last = load_file(teacher / "fold_0" / "snapshot_3.safetensors")
    checkpoint = load_file(teacher / "fold_0" / "checkpoint.safetensors")
    assert all(np.array_equal(last[name], checkpoint[f"average.{name}"]) for name in last)


@pytest.mark.slow
def test_rounds_begin_with_the_teacher_and_end_in_an_ordinary_run(teacher, tmp_path):
    out = tmp_path / "out"
    summary = selftrain(out, request(teacher))
    assert summary.failed == {}
    names = [row["name"] for row in summary.facts["rounds"]]
    assert names == ["teacher", "round 1", "round 2"]
    assert [row["n_pseudo"] for row in summary.facts["rounds"]] == [0, 4, 4]
    assert [row["steps"] for row in summary.facts["rounds"]] == [30, 4, 4]
    assert Run(out / "round_1").request().start_from == str(teacher)
    assert Run(out).request().start_from == str(out / "round_1")
    # The validation images are those of the teacher, and none of them is pseudo-labelled.
    assert Run(out).splits_path.read_text() == Run(teacher).splits_path.read_text()
    first = json.loads((teacher / "metrics.json").read_text())
    last = json.loads((out / "metrics.json").read_text())
    assert {row["id"] for row in first["images"]} == {row["id"] for row in last["images"]}
    dataset = open_dataset(out / "pseudo_2")
    assert {sample.id for sample in dataset.labelled} == {sample.id for sample in Run(teacher).unlabelled()}
    assert dataset.labels(dataset.labelled[0]).max() > 0
    assert "Self-training" in (out / "report.html").read_text()
    assert Model.load(out).plan.training.optimizer.learning_rate == pytest.approx(0.003)
    assert not (out / "round_1" / "prepared").exists()
    # Going on with what is finished changes nothing, be it as a self-training or as a run.
    before = weights_of(out)
    selftrain(out, request(teacher))
    train(out)
    assert all(np.array_equal(before[name], value) for name, value in weights_of(out).items())


def interrupting(stage: str, place: int):
    """Progress that is interrupted inside a stage."""

    def progress(name):
        def bar(done, total):
            if name == stage and done == place:
                raise KilledError

        return bar

    return progress


@pytest.mark.slow
@pytest.mark.parametrize("method", ["iterative", "st++"])
def test_a_killed_self_training_comes_to_the_same_end(teacher, unlabelled, tmp_path, monkeypatch, method):
    asked, killed = request(teacher, unlabelled, method=method), tmp_path / "killed"
    selftrain(tmp_path / "whole", asked)
    # Before a step and inside it. What is done is passed over: `train` is called for the round at hand.
    places = [("label_images", 1, "label 1", 1), ("train", 1, "train fold 0", 3)]
    places += [("label_images", 2, "label 2", 1), ("train", 1, "evaluate", 1)]
    if method == "st++":
        places.insert(0, ("_reliability", 2, "reliability", 2))
    for name, call, stage, done in places:
        with monkeypatch.context() as patch:
            killing(patch, name, call)
            with pytest.raises(KilledError):
                selftrain(killed, asked)
        with pytest.raises(KilledError):
            selftrain(killed, asked, progress=interrupting(stage, done))
        assert not list(killed.rglob("*.part*"))
    selftrain(killed, asked)
    assert equal(tmp_path / "whole", killed)
    tables = [(folder / "pseudo_2" / "index.csv").read_text() for folder in (tmp_path / "whole", killed)]
    assert tables[0] == tables[1]


@pytest.mark.slow
def test_st_plus_plus_labels_the_stable_half_first(teacher, unlabelled, tmp_path):
    out = tmp_path / "out"
    (unlabelled / "broken.tif").write_bytes(b"II*\x00 nothing")
    summary = selftrain(out, request(teacher, unlabelled, method="st++"))
    assert list(summary.failed) == [str(unlabelled / "broken.tif")]
    rows = read_reliability(out / "reliability.csv")
    ranked = [row.image for row in rows if not row.failure]
    assert [row.image for row in rows if row.failure] == ["broken"]
    assert all(len(row.agreement) == 2 for row in rows if not row.failure)
    assert {sample.id for sample in open_dataset(out / "pseudo_1").samples} <= set(ranked[:2])
    assert {sample.id for sample in open_dataset(out / "pseudo_2").samples} <= set(ranked[2:])
    student = Run(out)
    assert student.request().start_from is None
    assert student.request().pseudo == (str(out / "pseudo_1"), str(out / "pseudo_2"))
    assert student.plan().training.augmentation.intensity == 0.8
    page = (out / "report.html").read_text()
    assert "The most reliable" in page
    assert "data:image/jpeg" in page


def test_copies_of_labelled_images_are_not_labelled_again(teacher, unlabelled, tmp_path):
    held_out = json.loads((teacher / "splits.json").read_text())["validation"][0][0]
    dataset = Run(teacher).dataset()
    original = next(sample for sample in dataset.samples if sample.id == held_out).image[0]
    (unlabelled / "copy.tif").write_bytes(original.read_bytes())
    found = module.find_unlabelled(Run(teacher), [unlabelled])
    assert sorted(found) == ["u20", "u21", "u22"]
    with pytest.raises(InputError, match="no unlabelled image"):
        module.find_unlabelled(Run(teacher), [unlabelled / "copy.tif"])


def test_images_without_objects_are_not_trained_on(teacher, unlabelled, tmp_path):
    blind = tmp_path / "blind"
    shutil.copytree(teacher, blind)
    plan = blind / "plan.toml"
    plan.write_text(plan.read_text().replace("min_object_px = 8", "min_object_px = 100000"))
    (blind / "tuned.toml").unlink()
    with pytest.raises(InputError, match="found no object in any unlabelled image"):
        selftrain(tmp_path / "out", request(blind, unlabelled))
    assert count_labelled(tmp_path / "out" / "pseudo_1") == 0
    assert not (tmp_path / "out" / "round_1").exists()


def test_labelled_images_weigh_as_much_as_pseudo_labelled_ones(tmp_path):
    samples = prepared(tmp_path, count=3)
    assert [s.id for s in with_pseudo(samples[:1], samples[1:])] == [
        "sample0",
        "sample0",
        "sample1",
        "sample2",
    ]
    assert with_pseudo(samples, samples[:1]) == [*samples, samples[0]]
    assert with_pseudo(samples, ()) == list(samples)


def test_the_better_model_labels_the_rest(tmp_path):
    def run(name: str, score: float | None) -> Path:
        (tmp_path / name).mkdir()
        if score is not None:
            (tmp_path / name / "metrics.json").write_text(json.dumps({"scores": {"dsb": {"value": score}}}))
        return tmp_path / name

    low, high, unknown = run("low", 0.3), run("high", 0.4), run("unknown", None)
    assert better(high, low) == high
    assert better(low, high) == high
    assert better(high, unknown) == unknown


@pytest.mark.parametrize(
    ("method", "gain", "chosen"),
    [
        ("st++", -0.1, "teacher"),
        ("st++", 0.0, "round_1"),
        ("st++", 0.1, "round_1"),
        ("iterative", -0.1, "round_1"),
    ],
)
def test_who_labels_in_the_second_round(teacher, unlabelled, tmp_path, monkeypatch, method, gain, chosen):
    """In ``st++`` the better on the validation images, in doubt the student; else always the student."""
    out = tmp_path / "out"

    def copy_teacher(work, number, model):
        if number == 1:
            # The student predicts as the teacher does; only its score is another.
            shutil.copytree(teacher, work.folder(1))
            metrics = json.loads((teacher / "metrics.json").read_text())
            metrics["scores"]["dsb"]["value"] += gain
            (work.folder(1) / "metrics.json").write_text(json.dumps(metrics))

    monkeypatch.setattr(module, "_train_round", copy_teacher)
    work = module._Work(out, request(teacher, unlabelled, method=method), "cpu", module.silent)
    images = module.find_unlabelled(work.teacher, [unlabelled])
    module._start(work)
    assert module._run_rounds(work, images) == {}
    records = [json.loads((out / f"pseudo_{number}" / "run.json").read_text()) for number in (1, 2)]
    assert [record["model"] for record in records] == ["teacher", chosen]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"overrides": ("network.kind=plain_unet",)}, "--set network does not go with selftrain"),
        ({"overrides": ("training.stepz=3",)}, "'steps'"),
        ({"budget_s": 60.0}, "both say how long"),
        ({"method": "st++", "rounds": 3}, "st\\+\\+ has 2 rounds"),
    ],
)
def test_what_cannot_be_done_is_said_at_once(teacher, unlabelled, tmp_path, asked, message):
    with pytest.raises(InputError, match=message):
        selftrain(tmp_path / "out", request(teacher, unlabelled, **asked))
    assert not (tmp_path / "out").exists()


def test_a_teacher_that_is_none_is_refused(teacher, unlabelled, tmp_path):
    with pytest.raises(InputError, match="no run folder"):
        selftrain(tmp_path / "out", request(tmp_path, unlabelled))
    with pytest.raises(InputError, match="holds a model already"):
        selftrain(teacher, request(teacher, unlabelled))


def test_st_plus_plus_needs_snapshots(teacher, unlabelled, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("request.toml", "plan.toml", "splits.json", "report.html"):
        (bare / name).write_text((teacher / name).read_text())
    with pytest.raises(InputError, match=r"--set training\.snapshots=3"):
        selftrain(tmp_path / "out", request(bare, unlabelled, method="st++"))
    with pytest.raises(InputError, match="asked for differently"):
        module._start(module._Work(tmp_path, _noted(tmp_path, teacher), "cpu", module.silent))


def _noted(out: Path, teacher: Path) -> SelftrainRequest:
    """Another request than the one that is noted in `out`."""
    module._start(module._Work(out, request(teacher), "cpu", module.silent))
    return request(teacher, rounds=1)


def test_ids_beyond_an_ignore_label_are_kept(teacher, unlabelled, tmp_path):
    """Pseudo-labels are a data set of their own: what the labelled one ignores does not count there."""
    dataset = Run(teacher).dataset()
    images = module.find_unlabelled(Run(teacher), [unlabelled])
    assert module.label_images(images, dataset, teacher, tmp_path / "pseudo") == {}
    again = open_dataset(tmp_path / "pseudo")
    assert again.ignore_label is None
    for sample in again.labelled:
        assert sample.image[0].parent == unlabelled
        np.testing.assert_array_equal(again.labels(sample), read_labels(sample.labels))
