"""Data sets in memory, and the images of a prediction."""

import os
from pathlib import Path

import numpy as np
import pytest

from broken import make_dataset, write_png, write_tiff
from morula.data.dataset import find_images, foreign_notes
from morula.data.layouts import open_dataset
from morula.errors import InputError


def test_reads_images_and_labels(tmp_path: Path) -> None:
    dataset = open_dataset(make_dataset(tmp_path), spacing_um=(0.5,))
    sample = dataset.labelled[1]
    assert sample.id == "1"
    assert dataset.image(sample).pixels.shape == (1, 64, 64)
    assert dataset.image(sample).spacing_um == (0.5, 0.5)
    assert dataset.labels(sample).shape == (64, 64)
    assert dataset.labels(sample).dtype == np.int32


def test_the_ignore_label_is_not_annotated(tmp_path: Path) -> None:
    root = make_dataset(tmp_path)
    (root / "dataset.toml").write_text("ignore_label = 1\n")
    dataset = open_dataset(root)
    assert set(np.unique(dataset.labels(dataset.samples[0]))) >= {-1, 0, 2}
    assert 1 not in dataset.labels(dataset.samples[0])


def test_labels_of_an_unlabelled_sample_are_refused(tmp_path: Path) -> None:
    root = make_dataset(tmp_path)
    (root / "labels" / "0.tif").unlink()
    dataset = open_dataset(root)
    assert [sample.id for sample in dataset.unlabelled] == ["0"]
    with pytest.raises(InputError, match="0 has no labels"):
        dataset.labels(dataset.unlabelled[0])


def test_selects_by_any_column(tmp_path: Path) -> None:
    root = make_dataset(tmp_path)
    (root / "index.csv").write_text("id,modality,fold,field\n0,a,0,x\n1,b,0,y\n2,a,1,z\n3,a,,z\n")
    dataset = open_dataset(root)

    def ids(**where: str) -> list[str]:
        chosen = dataset.select({column: set(values.split(",")) for column, values in where.items()})
        return [sample.id for sample in chosen.samples]

    assert ids(modality="a") == ["0", "2", "3"]
    assert ids(modality="a", fold="0,1") == ["0", "2"]
    assert ids(field="z") == ids(group="z") == ["2", "3"]
    assert ids(id="1,3") == ["1", "3"]
    assert ids(modality="c") == []
    with pytest.raises(InputError, match=r"no column 'stain'\. Known: field, fold, group, id, modality"):
        dataset.select({"stain": {"HE"}})


def test_axes_of_the_option_apply_to_labels_without_channels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    np.save(tmp_path / "images" / "a.npy", rng.integers(0, 9, (20, 21, 5, 2)))
    np.save(tmp_path / "labels" / "a.npy", rng.integers(0, 9, (20, 21, 5)))
    dataset = open_dataset(tmp_path, axes="yxzc")
    assert dataset.image(dataset.samples[0]).pixels.shape == (2, 5, 20, 21)
    assert dataset.labels(dataset.samples[0]).shape == (5, 20, 21)


def image(path: Path) -> Path:
    write_png(path, np.zeros((9, 9), np.uint8))
    return path


def test_finds_images_with_their_subfolders(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/10.png", "a.tif", "c.d.jpg", ".hidden.png", "b/.cache/3.png"):
        image(tmp_path / name)
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "e.zarr" / "0").mkdir(parents=True)
    image(tmp_path / "e.zarr" / "0" / "0.png")
    found = find_images([tmp_path])
    assert [stem for stem, _ in found] == ["a", "b/10", "b/2", "c.d", "e"]
    assert dict(found)["b/2"] == tmp_path / "b" / "2.png"


def test_finds_single_files_of_any_name(tmp_path: Path) -> None:
    path = image(tmp_path / "a.dat")
    assert find_images([path, image(tmp_path / "b.png")]) == [("a", path), ("b", tmp_path / "b.png")]


def test_labels_of_a_data_set_and_earlier_results_are_no_images(tmp_path: Path) -> None:
    make_dataset(tmp_path, 2)
    image(tmp_path / "images" / "out" / "overlays" / "0.png")
    (tmp_path / "images" / "out" / "run.json").write_text("{}")
    assert [stem for stem, _ in find_images([tmp_path])] == ["images/0", "images/1"]
    assert [stem for stem, _ in find_images([tmp_path / "images"])] == ["0", "1"]
    assert [stem for stem, _ in find_images([tmp_path / "labels"])] == ["0", "1"]


@pytest.mark.parametrize(
    ("labels", "images"),
    [
        (["x_masks.tif", "x_cp_masks.png"], ["x.png"]),
        (["sub/a_label.tif"], ["sub/a.png"]),
        (["labelsTr/a.png", "labelsTs/b.png"], ["imagesTr/a_0000.png", "imagesTs/b_0000.png"]),
        ([], ["a_label.tif", "b_mask.png", "sub/a.png", "labelsTr/c.png", "_mask.png"]),
    ],
)
def test_labels_of_every_layout_are_no_images(tmp_path: Path, labels: list[str], images: list[str]) -> None:
    for name in labels + images:
        image(tmp_path / name)
    found = find_images([tmp_path])
    assert sorted(path.relative_to(tmp_path).as_posix() for _, path in found) == sorted(images)
    every = [tmp_path / name for name in labels + images]
    assert len(find_images(every)) == len(every)


def test_images_of_kinds_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    for name in ("a.png", "b.csv", "c.txt", ".d.czi", "e.zarr/f.czi"):
        image(tmp_path / name)
    assert foreign_notes([tmp_path, tmp_path / "a.png"]) == ()
    (tmp_path / "x.CZI").touch()
    assert foreign_notes([tmp_path])[0].startswith("1 file of another kind was passed over (.czi); export it")
    image(tmp_path / "sub" / "y.nd2")
    image(tmp_path / "sub" / "z.nd2")
    (note,) = foreign_notes([tmp_path, tmp_path / "sub"])
    assert note.startswith("3 files of other kinds were passed over (.czi, .nd2); export them as OME-TIFF")
    (tmp_path / "a.png").unlink()
    (tmp_path / "e.zarr").rename(tmp_path / ".e.zarr")
    with pytest.raises(InputError, match=r"no images in .* 3 files of other kinds were passed over"):
        find_images([tmp_path])


def test_equal_stems_of_two_folders_are_told_apart(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/1.png", "b/2.png"):
        image(tmp_path / name)
    found = find_images([tmp_path / "a", tmp_path / "b"])
    assert [stem for stem, _ in found] == ["2", "a/1", "b/1"]


def test_equal_stems_of_one_folder_are_refused(tmp_path: Path) -> None:
    image(tmp_path / "1.png")
    write_tiff(tmp_path / "1.tif", np.zeros((9, 9), np.uint8))
    with pytest.raises(InputError, match=r"1\.png and .*1\.tif have the same name"):
        find_images([tmp_path])


def test_the_same_file_twice_counts_once(tmp_path: Path) -> None:
    path = image(tmp_path / "1.png")
    assert find_images([path, tmp_path]) == [("1", path)]


def test_nothing_to_predict_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        find_images([tmp_path / "images"])
    with pytest.raises(InputError, match=r"no images in .*Known suffixes: \.bmp"):
        find_images([tmp_path])


def test_what_a_prediction_wrote_into_a_folder_is_no_image(tmp_path: Path) -> None:
    for name in ("a.png", "labels/a.tif", "overlays/a.png"):
        (image if name.endswith("png") else lambda path: write_tiff(path, np.zeros((9, 9), np.uint8)))(
            tmp_path / name
        )
    (tmp_path / "run.json").write_text("{}")
    assert [stem for stem, _ in find_images([tmp_path])] == ["a"]
    (tmp_path / "a.png").unlink()
    with pytest.raises(InputError, match=r"2 are labels, or lie in results"):
        find_images([tmp_path])


def test_links_that_lead_back_are_not_followed(tmp_path: Path) -> None:
    image(tmp_path / "sub" / "a.png")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "aloop").symlink_to(".", target_is_directory=True)
    image(tmp_path.parent / "elsewhere" / "b.png")
    (tmp_path / "link").symlink_to(tmp_path.parent / "elsewhere", target_is_directory=True)
    assert [stem for stem, _ in find_images([tmp_path])] == ["link/b", "sub/a"]


@pytest.mark.parametrize(
    ("name", "message"), [(b"bad\xff.png", "not UTF-8"), (b"two\nlines.png", "line break")]
)
def test_names_that_no_table_can_hold_are_refused(tmp_path: Path, name: bytes, message: str) -> None:
    path = image(tmp_path / "a.png")
    try:
        path.rename(tmp_path / os.fsdecode(name))
    except OSError:
        pytest.skip("this file system has no such names")
    for given in ([tmp_path], list(tmp_path.iterdir())):
        with pytest.raises(InputError, match=f"{message}.*Rename") as caught:
            find_images(given)
        str(caught.value).encode()
