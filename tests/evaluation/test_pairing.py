import json
from pathlib import Path

import numpy as np
import pytest

from morula.data.formats import write_labels
from morula.errors import InputError
from morula.evaluation.pairing import look_like_intensities, pair_files, plain_folders, predictions_of
from synthetic import touching_balls


def write(folder: Path, *names: str) -> Path:
    for name in names:
        write_labels(folder / f"{name}.tif", np.ones((2, 2), np.int32))
    return folder


def ids(predicted: Path, truth: Path) -> list[str]:
    return [sample.id for sample, _ in pair_files(predicted, truth).pairs]


def test_plain_folders_pair_by_name(tmp_path: Path):
    pairing = pair_files(write(tmp_path / "p", "a", "b", "x"), write(tmp_path / "t", "b", "a", "y"))
    assert [(sample.id, path.name) for sample, path in pairing.pairs] == [("a", "a.tif"), ("b", "b.tif")]
    assert pairing.without_truth == ("x",)
    assert pairing.without_prediction == ("y",)


def test_endings_of_label_files_are_looked_through(tmp_path: Path):
    assert ids(write(tmp_path / "p", "a", "b_cp_masks"), write(tmp_path / "t", "a_label", "b")) == ["a", "b"]


def test_subfolders_pair_by_path_and_else_by_a_unique_name(tmp_path: Path):
    predicted = write(tmp_path / "p", "one/a", "two/a", "b")
    truth = write(tmp_path / "t", "one/a", "two/a", "deep/b")
    pairing = pair_files(predicted, truth)
    found = [(sample.id, path.relative_to(predicted).as_posix()) for sample, path in pairing.pairs]
    assert found == [("deep/b", "b.tif"), ("one/a", "one/a.tif"), ("two/a", "two/a.tif")]


def test_ambiguous_names_do_not_pair(tmp_path: Path):
    pairing = pair_files(write(tmp_path / "p", "a", "b"), write(tmp_path / "t", "one/a", "two/a", "b"))
    assert [sample.id for sample, _ in pairing.pairs] == ["b"]


def test_what_predict_wrote_counts_by_its_labels(tmp_path: Path):
    write(tmp_path / "p" / "labels", "a")
    write(tmp_path / "p" / "overlays", "a")
    assert ids(tmp_path / "p", write(tmp_path / "t", "a")) == ["a"]


@pytest.mark.parametrize("given", ["p", "p/labels"])
def test_only_what_a_prediction_lists_counts(tmp_path: Path, given: str):
    write(tmp_path / "p" / "labels", "a", "b", "deep/c", "failed")
    rows = [{"id": id_, "image": "-", "labels": f"labels/{id_}.tif"} for id_ in ("a", "deep/c")]
    record = {"key": "0", "images": [*rows, {"id": "failed", "image": "-", "failure": "broken"}]}
    (tmp_path / "p/run.json").write_text(json.dumps(record))
    pairing = pair_files(tmp_path / given, write(tmp_path / "t", "a", "b", "deep/c", "failed"))
    assert [sample.id for sample, _ in pairing.pairs] == ["a", "deep/c"]
    assert pairing.without_prediction == ("b", "failed")
    (tmp_path / "p/run.json").write_text('{"key": "0", "images": []}')
    with pytest.raises(InputError, match="holds no label files"):
        pair_files(tmp_path / given, tmp_path / "t")
    for other in ("[]", '{"images": []}'):
        (tmp_path / "p/run.json").write_text(other)
        assert ids(tmp_path / given, tmp_path / "t") == ["a", "b", "deep/c", "failed"]


def test_two_files_pair_whatever_their_names(tmp_path: Path):
    write(tmp_path, "mine", "theirs")
    assert ids(tmp_path / "mine.tif", tmp_path / "theirs.tif") == ["theirs"]


def test_a_folder_of_labels_beside_images_is_its_data_set(dataset: Path, predicted: Path):
    pairing = pair_files(predicted, dataset / "labels")
    assert len(pairing.pairs) == 4
    assert all(sample.image for sample, _ in pairing.pairs)
    assert pairing.pairs[0][0].attributes["modality"] == "dark"


def test_selection_leaves_others_out_without_a_word(dataset: Path, predicted: Path):
    pairing = pair_files(predicted, dataset, {"modality": {"dark"}})
    assert [sample.id for sample, _ in pairing.pairs] == ["a", "b"]
    assert (pairing.without_truth, pairing.without_prediction) == ((), ())


@pytest.mark.parametrize(
    ("predicted", "truth", "message"),
    [
        ("p", "nowhere", "nowhere does not exist"),
        ("empty", "t", "holds no label files"),
        ("p", "empty", "holds no label files"),
        ("other", "t", "no file in .*other has a truth of its name"),
    ],
)
def test_bad_folders_are_named(tmp_path: Path, predicted: str, truth: str, message: str):
    write(tmp_path / "p", "a")
    write(tmp_path / "t", "a")
    write(tmp_path / "other", "z")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        pair_files(tmp_path / predicted, tmp_path / truth)


@pytest.mark.parametrize("folder", ["images", "imagesTr"])
def test_images_are_never_taken_for_labels(tmp_path: Path, folder: str):
    """The truth was meant to lie there; scores against the images' intensities would mean nothing."""
    write(tmp_path / "truth" / folder, "a")
    (tmp_path / "truth/dataset.json").write_text('{"file_ending": ".tif"}')
    with pytest.raises(InputError, match="truth holds images, but no labels"):
        pair_files(write(tmp_path / "p", "a"), tmp_path / "truth")


def test_an_index_beside_plain_labels_is_no_harm(tmp_path: Path):
    write(tmp_path / "t", "a")
    (tmp_path / "t/index.csv").write_text("id\na\n")
    assert ids(write(tmp_path / "p", "a"), tmp_path / "t") == ["a"]


def test_predictions_are_found_for_ids(dataset: Path, predicted: Path):
    found = predictions_of(predicted, ["a", "plate <1>/c & d", "nothing"])
    assert set(found) == {"a", "plate <1>/c & d"}
    with pytest.raises(InputError, match="missing cannot be read"):
        predictions_of(predicted / "missing", ["a"])


def test_plain_folders_hold_label_files_and_nothing_else(dataset: Path, predicted: Path, tmp_path: Path):
    plain = write(tmp_path / "plain", "a")
    given = (predicted, dataset, plain, plain / "a.tif", tmp_path / "missing", dataset / "labels")
    assert plain_folders(*given) == [plain, dataset / "labels"]


@pytest.mark.parametrize("ndim", [2, 3])
def test_images_are_told_from_labels(ndim: int):
    rng = np.random.default_rng(0)
    noisy = rng.poisson(50, (40,) * ndim).astype(np.int32)
    assert look_like_intensities(noisy)
    assert not look_like_intensities(touching_balls(ndim))
    # Two classes, one object, nothing: many pieces alone are no image.
    assert not look_like_intensities((noisy > 50).astype(np.int32) + 1)
    assert not look_like_intensities(np.zeros((9,) * ndim, np.int32))
    # Every pixel an object of its own.
    assert not look_like_intensities(np.arange(1, 10**ndim + 1, dtype=np.int32).reshape((10,) * ndim))
