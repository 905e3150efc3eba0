from pathlib import Path

import numpy as np
import pytest

from morula.data.formats import write_labels
from morula.errors import InputError
from morula.evaluation.pairing import pair_files, predictions_of


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
