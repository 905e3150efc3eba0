"""The doctor, on whole data sets."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from broken import N_IMAGES, SPOILERS, cut, make_dataset, write_png
from morula.data.check import check
from morula.data.problems import KINDS
from morula.errors import InputError

# What a spoiler brings along of necessity.
_COMPANIONS = {
    "NaN or infinity": {"mixed number types"},
    "nothing finite": {"mixed number types"},
    "transparent pixels": {"mixed channels"},
    "tiny image": {"no objects", "constant image"},
    "labelled background": {"several pieces"},
    "different places": {"mixed pixel sizes"},
}


def test_a_clean_data_set_has_no_problems(tmp_path: Path) -> None:
    report = check(make_dataset(tmp_path))
    assert report.problems == ()
    assert (report.n_images, report.n_labels) == (N_IMAGES, N_IMAGES)


@pytest.mark.parametrize("kind", SPOILERS)
def test_every_kind_is_named_with_its_file_and_a_remedy(kind: str, tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "data")
    SPOILERS[kind](root)
    report = check(root)
    found = {problem.kind for problem in report.problems}
    assert kind in found
    assert found - {kind} <= _COMPANIONS.get(kind, set())
    for problem in report.problems:
        assert problem.severity == KINDS[problem.kind]
        assert root in (problem.path, *problem.path.parents)
        assert problem.path.exists()
        assert str(problem.path) in problem.message or str(root) in problem.message
        assert problem.message.endswith(".")


def test_every_kind_has_a_spoiler_or_a_test_of_its_own() -> None:
    assert set(KINDS) - set(SPOILERS) == {"missing file", "unreadable file", "unknown format"}


def test_bad_samples_are_named_and_the_others_still_checked(tmp_path: Path) -> None:
    root = make_dataset(tmp_path)
    (root / "images" / "1.png").write_bytes(b"")
    cut(root / "labels" / "2.tif")
    report = check(root)
    assert report.unusable == {"1", "2"}
    assert [problem.kind for problem in report.errors] == ["empty file", "truncated file"]
    assert report.warnings == ()


def test_progress_counts_every_sample(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    check(make_dataset(tmp_path), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, N_IMAGES) for done in range(1, N_IMAGES + 1)]


def test_options_reach_the_files(tmp_path: Path) -> None:
    root = make_dataset(tmp_path)
    SPOILERS["ambiguous axes"](root)
    assert {problem.kind for problem in check(root, axes="CYX").problems} == {"mixed channels"}


def test_turned_labels_are_told(tmp_path: Path) -> None:
    root = make_dataset(tmp_path)
    image = np.random.default_rng(0).integers(0, 255, (64, 32), dtype=np.uint8)
    write_png(root / "images" / "0.png", image)
    write_png(root / "labels" / "0.png", np.pad(np.ones((8, 8), np.uint8), ((8, 16), (8, 48))))
    (root / "labels" / "0.tif").unlink()
    (problem,) = check(root).problems
    assert problem.kind == "wrong shape"
    assert "turned by 90 degrees" in problem.message


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (np.eye(4), ""),
        (np.eye(4) + 1e-4, ""),
        (np.diag([1, 1, 2, 1]), "voxels of 0.5 x 0.5 x 4 against 0.5 x 0.5 x 2"),
        (np.diag([-1, -1, 1, 1]), "the axes point in other directions"),
        (np.eye(4)[[1, 0, 2, 3]], "the axes point in other directions"),
        (np.eye(4) + np.outer([1, 0, 0, 0], [0, 0, 0, 7]), "shifted by 7 x 0 x 0"),
    ],
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_volumes_that_lie_apart_are_told(change: np.ndarray, told: str, suffix: str, tmp_path: Path) -> None:
    affine, rng = np.diag([0.5, 0.5, 2.0, 1.0]), np.random.default_rng(0)
    for folder, place in (("images", affine), ("labels", change @ affine)):
        (tmp_path / folder).mkdir()
        pixels = rng.integers(0, 2, (20, 20, 9), dtype=np.uint8)
        nibabel.save(nibabel.Nifti1Image(pixels, place), tmp_path / folder / f"a{suffix}")
    messages = [each.message for each in check(tmp_path).problems if each.kind == "different places"]
    assert len(messages) == bool(told)
    assert all(f"say their headers: {told}. " in message for message in messages)


def test_a_group_in_two_folds_leaks(tmp_path: Path) -> None:
    root = make_dataset(tmp_path)
    (root / "index.csv").write_text("id,fold,field\n0,0,a\n1,1,a\n2,0,b\n3,1,c\n")
    (problem,) = check(root).problems
    assert problem.kind == "leakage between folds"
    assert "1.png in fold 1; scores" in problem.message
    (root / "index.csv").write_text("id,fold,field\n0,0,a\n1,,a\n2,0,b\n3,1,c\n")
    (problem,) = check(root).problems
    assert "1.png in no fold" in problem.message


def test_equal_images_are_told_to_whom_splits_them(tmp_path: Path) -> None:
    root = make_dataset(tmp_path)
    SPOILERS["duplicated image"](root)
    assert check(root).duplicates == (("0", "1"),)
    for index in (2, 3):
        write_png(root / "images" / f"{index}.png", np.zeros((64, 64), np.uint8))
    assert check(root).duplicates == (("0", "1"),)  # black images are constant, not one and the same


def test_images_left_unlabelled_on_purpose_are_no_problem(tmp_path: Path) -> None:
    root = make_dataset(tmp_path)
    (root / "labels" / "0.tif").unlink()
    (root / "unlabelled").mkdir()
    (root / "images" / "0.png").rename(root / "unlabelled" / "0.png")
    assert check(root).problems == ()


def test_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no images in a known layout"):
        check(tmp_path)
