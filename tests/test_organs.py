"""Organs from data to scores, through the command line."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from morula.evaluation.report_evaluate import read_json
from morula.planning.planner import merge, read_recipe
from morula.spec import dump_toml
from tiny import morula

AFFINE = np.diag([-1.2, 1.2, 5.0, 1.0])


def write_case(root: Path, name: str, seed: int) -> None:
    """A bright ball and a dark box in noise, the planes far apart."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices((8, 24, 24))
    shift = rng.integers(-2, 3)
    labels = np.zeros(z.shape, np.uint8)
    labels[((z - 4) * 4) ** 2 + (y - 8 - shift) ** 2 + (x - 8) ** 2 < 36] = 1
    labels[2:6, 15:20, 12 + shift : 19 + shift] = 2
    image = (np.array([100, 260, 20])[labels] + rng.normal(0, 15, labels.shape)).astype(np.int16)
    for folder, array, ending in (("imagesTr", image, "_0000"), ("labelsTr", labels, "")):
        (root / folder).mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(array.T, AFFINE), root / folder / f"{name}{ending}.nii.gz")


@pytest.fixture
def organs(tmp_path: Path) -> Path:
    root = tmp_path / "Dataset001_Organs"
    for number in range(4):
        write_case(root, f"case_{number}", number)
    (root / "dataset.json").write_text(
        '{"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1, "spleen": 2},'
        ' "numTraining": 4, "file_ending": ".nii.gz"}'
    )
    return root


CHANGES = (
    "training.validate_every=3",
    "training.patch_size=[4,16,16]",
    "network.features=[4,8]",
    "network.strides=[[1,2,2]]",
    "network.kernels=[[1,3,3],[3,3,3]]",
    "inference.mirror=none",
)
SMALL = [word for change in CHANGES for word in ("--set", change)]


@pytest.mark.slow
def test_from_data_to_scores(organs: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    words = [*SMALL, "--set", "training.steps=3"]
    done = morula("train", organs, "-o", run, "--recipe", "nnunet-sdm", "--folds", "2", *words)
    assert done.exit_code == 0, done.output
    assert "liver" in done.output
    metrics = read_json(run / "metrics.json")
    assert [fold["n_images"] for fold in metrics["folds"]] == [2, 2]
    assert metrics["peak_memory_mb"] > 0
    assert all(row["seconds"] > 0 for row in metrics["images"])
    plan = (run / "plan.toml").read_text()
    for text in ('task = "semantic"', "liver = 1", 'kind = "fixed"', 'interpolation = "cubic"'):
        assert text in plan
    assert "Spread" in (run / "report.html").read_text()

    done = morula("predict", organs / "imagesTr", "-o", out, "--model", run)
    assert done.exit_code == 0, done.output
    labels = sorted((out / "labels").iterdir())
    assert [path.name for path in labels] == [f"case_{n}_0000.nii.gz" for n in range(4)]
    np.testing.assert_allclose(nibabel.load(labels[0]).affine, AFFINE, rtol=1e-6)
    assert nibabel.load(labels[0]).shape == (24, 24, 8)
    done = morula("evaluate", out, organs, "-o", out / "scores")
    assert done.exit_code == 0, done.output
    assert read_json(out / "scores" / "metrics.json")["n_images"] == 4
    done = morula("tune", run, organs, "-o", tmp_path / "tuned")
    assert done.exit_code == 2
    assert "nothing to tune" in done.output


@pytest.mark.slow
def test_networks_with_and_without_the_second_head_are_compared(organs: Path, tmp_path: Path) -> None:
    (organs / "dataset.json").write_text('{"file_ending": ".nii.gz"}')
    shared = read_recipe("nnunet-sdm")
    for name, distance, steps in (("with", True, 3), ("without", False, 4)):
        table = merge(shared, {"representation": {"distance": distance}, "training": {"steps": steps}})
        (tmp_path / f"{name}.toml").write_text(dump_toml(table))
    names = [str(tmp_path / f"{name}.toml") for name in ("with", "without")]
    told = ("--set", "task=semantic", "--set", "classes.liver=1", "--set", "classes.spleen=2")
    done = morula("compare", organs, "--recipes", *names, "-o", tmp_path / "out", *told, *SMALL)
    assert done.exit_code == 0, done.output
    assert "Mean Dice" in done.stdout
    found = read_json(tmp_path / "out" / "comparison.json")
    assert {row["name"]: row["steps"] for row in found["entrants"]} == {"with": 3, "without": 4}
    assert found["task"] == "semantic"
    assert "dice_spleen" in found["entrants"][0]["scores"]
    assert (tmp_path / "out" / "report.html").exists()


def test_recipes_for_objects_are_refused(organs: Path, tmp_path: Path) -> None:
    done = morula("plan", organs, "-o", tmp_path / "run", "--recipe", "hover")
    assert done.exit_code == 2
    assert "Recipes that fit: auto, nnunet-sdm." in done.output.replace("\n", " ")


def test_the_user_says_what_the_data_do_not(organs: Path, tmp_path: Path) -> None:
    (organs / "dataset.json").write_text('{"file_ending": ".nii.gz"}')
    words = ("plan", organs, "-o", tmp_path / "run", "--recipe", "nnunet-sdm")
    done = morula(*words)
    assert done.exit_code == 2
    assert "--set task=semantic" in done.output
    unnamed = morula(
        "plan", organs, "-o", tmp_path / "unnamed", "--recipe", "nnunet-sdm", "--set", "task=semantic"
    )
    assert unnamed.exit_code == 0, unnamed.output
    assert "class 1" in unnamed.output
    assert "must not be mirrored" in " ".join(unnamed.output.split())
    done = morula(*words, "--set", "task=semantic", "--set", "classes.liver=1", "--set", "classes.spleen=2")
    assert done.exit_code == 0, done.output
    assert "spleen = 2" in (tmp_path / "run" / "plan.toml").read_text()


def test_naming_classes_says_that_labels_are_classes(organs: Path, tmp_path: Path) -> None:
    (organs / "dataset.json").write_text('{"file_ending": ".nii.gz"}')
    words = ("plan", organs, "-o", tmp_path / "run", "--set", "classes.liver=1")
    done = morula(*words, "--set", "classes.spleen=2")
    assert done.exit_code == 0, done.output
    assert 'task = "semantic"' in (tmp_path / "run" / "plan.toml").read_text()
    for label, message in (("0", "greater than or equal to 1"), ("1", "two classes have the same label")):
        bad = morula(*words[:3], tmp_path / f"bad{label}", *words[4:], "--set", f"classes.spleen={label}")
        assert bad.exit_code == 2
        assert message in " ".join(bad.output.split())
