"""Every known way in which data sets lie on disk."""

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from broken import make_dataset, write_png, write_tiff
from morula.data.layouts import open_dataset, survey
from morula.errors import InputError

PLANE = np.arange(108, dtype=np.uint8).reshape(9, 12)


def lay(root: Path, *names: str) -> Path:
    """Write a small image or label file under each of `names`."""
    for name in names:
        (write_png if name.endswith(".png") else write_tiff)(root / name, PLANE)
    return root


def pairs(root: Path) -> dict[str, tuple[list[str], list[str]]]:
    """Image and label names by sample id."""
    return {
        sample.id: (
            [path.relative_to(root).as_posix() for path in sample.image],
            [path.relative_to(root).as_posix() for path in sample.labels],
        )
        for sample in open_dataset(root).samples
    }


@pytest.mark.parametrize("images", ["images", "imgs"])
@pytest.mark.parametrize("labels", ["labels", "masks"])
def test_folders_with_equal_stems(images: str, labels: str, tmp_path: Path) -> None:
    lay(tmp_path, f"{images}/a.png", f"{images}/day 2/b.png", f"{images}/c.png")
    lay(tmp_path, f"{labels}/a.tif", f"{labels}/day 2/b.png")
    assert pairs(tmp_path) == {
        "a": ([f"{images}/a.png"], [f"{labels}/a.tif"]),
        "c": ([f"{images}/c.png"], []),
        "day 2/b": ([f"{images}/day 2/b.png"], [f"{labels}/day 2/b.png"]),
    }


def test_neurips_cellseg_with_unlabelled_images_beside(tmp_path: Path) -> None:
    lay(tmp_path, "images/cell_1.png", "images/cell_2.png", "labels/cell_1_label.tiff", "unlabeled/x.png")
    assert pairs(tmp_path) == {
        "cell_1": (["images/cell_1.png"], ["labels/cell_1_label.tiff"]),
        "cell_2": (["images/cell_2.png"], []),
        "unlabeled/x": (["unlabeled/x.png"], []),
    }


def test_one_mask_file_per_object(tmp_path: Path) -> None:
    lay(tmp_path, "a/images/a.png", "a/masks/1.png", "a/masks/2.png", "b/images/b.png")
    assert pairs(tmp_path) == {
        "a": (["a/images/a.png"], ["a/masks/1.png", "a/masks/2.png"]),
        "b": (["b/images/b.png"], []),
    }


def test_nnunet_raw(tmp_path: Path) -> None:
    lay(tmp_path, "imagesTr/a_0000.tif", "imagesTr/a_0001.tif", "imagesTr/b_0000.tif", "imagesTr/b_0001.tif")
    lay(tmp_path, "imagesTr/a_0000.png", "labelsTr/a.tif", "labelsTr/b.tif", "imagesTs/c_0000.tif")
    header = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "liver": 1, "ignore": 2},
        "numTraining": 2,
        "file_ending": ".tif",
    }
    (tmp_path / "dataset.json").write_text(json.dumps(header))
    dataset = open_dataset(tmp_path)
    assert pairs(tmp_path) == {
        name: ([f"imagesTr/{name}_0000.tif", f"imagesTr/{name}_0001.tif"], [f"labelsTr/{name}.tif"])
        for name in "ab"
    }
    assert dataset.channels == ("T1", "T2")
    assert dataset.image(dataset.samples[0]).channels == ("T1", "T2")
    assert dataset.ignore_label == 2
    assert (dataset.labels(dataset.samples[0]) == -1).sum() == 1
    assert dataset.task == "semantic"
    assert dataset.classes == {"liver": 1}


def test_nnunet_raw_of_version_1_and_equal_channel_names(tmp_path: Path) -> None:
    lay(tmp_path, "imagesTr/a_0000.tif", "labelsTr/a.tif")
    (tmp_path / "dataset.json").write_text('{"modality": {"0": "MRI"}, "file_ending": ".tif"}')
    assert open_dataset(tmp_path).channels == ("MRI",)
    (tmp_path / "dataset.json").write_text('{"channel_names": {"0": "x", "1": "x"}, "file_ending": ".tif"}')
    assert open_dataset(tmp_path).channels is None


def test_classes_of_nnunet_version_1_and_of_dataset_toml(tmp_path: Path) -> None:
    lay(tmp_path, "imagesTr/a_0000.tif", "labelsTr/a.tif")
    header = {"labels": {"0": "background", "1": "liver", "5": "spleen"}, "file_ending": ".tif"}
    (tmp_path / "dataset.json").write_text(json.dumps(header))
    dataset = open_dataset(tmp_path)
    assert (dataset.task, dataset.classes) == ("semantic", {"liver": 1, "spleen": 5})
    text = "classes = {Leber = 1, Milz = 5}\ntolerance_mm = {Leber = 3}\n"
    (tmp_path / "dataset.toml").write_text(text)
    dataset = open_dataset(tmp_path)
    assert (dataset.task, dataset.classes) == ("semantic", {"Leber": 1, "Milz": 5})
    assert dataset.tolerance_mm == {"Leber": 3.0}
    (tmp_path / "dataset.toml").write_text('task = "instances"\n')
    dataset = open_dataset(tmp_path)
    assert (dataset.task, dataset.classes) == ("instances", {})


def test_data_that_do_not_say_what_labels_mean(tmp_path: Path) -> None:
    lay(tmp_path, "images/a.tif", "labels/a.tif")
    assert open_dataset(tmp_path).task is None
    (tmp_path / "dataset.toml").write_text('task = "semantic"\n')
    assert open_dataset(tmp_path).task == "semantic"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('task = "organs"', "task = 'organs'"),
        ('task = "instances"\nclasses.a = 1', "leave out one of the two"),
        ("classes = {a = 1, b = 1}", "two classes have the same label"),
        ("classes.a = 0", "classes.a = 0"),
        ("classes.a = 1\ntolerance_mm.b = 2", "'b', which is no class; known: a"),
    ],
)
def test_bad_classes_are_refused(text: str, message: str, tmp_path: Path) -> None:
    lay(tmp_path, "images/a.tif", "labels/a.tif")
    (tmp_path / "dataset.toml").write_text(text)
    with pytest.raises(InputError, match=message):
        open_dataset(tmp_path)


def test_regions_of_nnunet_are_refused(tmp_path: Path) -> None:
    lay(tmp_path, "imagesTr/a_0000.tif", "labelsTr/a.tif")
    header = {"labels": {"background": 0, "whole": [1, 2], "core": 2}, "file_ending": ".tif"}
    (tmp_path / "dataset.json").write_text(json.dumps(header))
    with pytest.raises(InputError, match=r"class 'whole' has the label \[1, 2\].*its own label"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"labels": [1]}', '{"channel_names": {"red": 0}}'])
def test_a_bad_dataset_json_is_refused(text: str, tmp_path: Path) -> None:
    lay(tmp_path, "imagesTr/a_0000.tif", "labelsTr/a.tif")
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(InputError, match=r"dataset\.json of nnU-Net"):
        open_dataset(tmp_path)


def test_channel_files_in_plain_folders(tmp_path: Path) -> None:
    lay(tmp_path, "images/a_0001.tif", "images/a_0000.tif", "images/b_0000.tif", "labels/a.tif")
    assert pairs(tmp_path) == {
        "a": (["images/a_0000.tif", "images/a_0001.tif"], ["labels/a.tif"]),
        "b_0000": (["images/b_0000.tif"], []),
    }


def test_numbers_at_the_end_of_names_are_no_channels(tmp_path: Path) -> None:
    lay(tmp_path, "images/t_0000.tif", "images/t_0001.tif", "labels/t_0000.tif", "labels/t_0001.tif")
    assert list(pairs(tmp_path)) == ["t_0000", "t_0001"]


def test_labels_beside_their_images(tmp_path: Path) -> None:
    lay(tmp_path, "a.png", "a_masks.tif", "b.png", "b_cp_masks.png", "c.png", "deeper/d.png")
    assert pairs(tmp_path) == {
        "a": (["a.png"], ["a_masks.tif"]),
        "b": (["b.png"], ["b_cp_masks.png"]),
        "c": (["c.png"], []),
    }


def test_an_index_with_paths(tmp_path: Path) -> None:
    lay(tmp_path, "x/one.png", "y/eins.tif", "x/two.png")
    (tmp_path / "index.csv").write_text("id,image,labels,fold\na,x/one.png,y/eins.tif,1\nb,x/two.png,,\n")
    assert pairs(tmp_path) == {"a": (["x/one.png"], ["y/eins.tif"]), "b": (["x/two.png"], [])}
    assert open_dataset(tmp_path).samples[0].fold == 1
    (tmp_path / "index.csv").write_text("image,labels\nx/one.png,y/eins.tif\n")
    assert list(pairs(tmp_path)) == ["x/one"]


@pytest.mark.parametrize("version", [2, 3])
def test_ome_zarr_with_labels_inside(version: int, tmp_path: Path) -> None:
    axes = [{"name": letter, "type": "space"} for letter in "yx"]
    described = {"multiscales": [{"axes": axes, "datasets": [{"path": "0"}]}]}
    for name in ("a.zarr", "a.zarr/labels/cells", "b.zarr"):
        group = zarr.open_group(tmp_path / "images" / name, mode="w", zarr_format=version)
        group.attrs.update(described if version == 2 else {"ome": described})
        group.create_array("0", data=PLANE)
    dataset = open_dataset(tmp_path)
    assert pairs(tmp_path) == {
        "a": (["images/a.zarr"], ["images/a.zarr/labels/cells"]),
        "b": (["images/b.zarr"], []),
    }
    np.testing.assert_array_equal(dataset.labels(dataset.samples[0]), PLANE)


def test_labels_without_an_image_are_told_apart(tmp_path: Path) -> None:
    lay(tmp_path, "images/a.png", "labels/a.tif", "labels/b.tif")
    assert survey(tmp_path).orphans == (tmp_path / "labels" / "b.tif",)


def test_names_that_never_match_are_refused(tmp_path: Path) -> None:
    lay(tmp_path, "images/a.png", "labels/seg_a.tif")
    with pytest.raises(InputError, match=r"none of the 1 images has labels.*a\.png and .*seg_a\.tif"):
        open_dataset(tmp_path)


def test_two_labels_or_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    lay(tmp_path, "images/a.png", "labels/a.tif", "labels/a_label.tif")
    with pytest.raises(InputError, match="a has several labels"):
        open_dataset(tmp_path)
    (tmp_path / "labels" / "a_label.tif").unlink()
    lay(tmp_path, "images/a.tif")
    with pytest.raises(InputError, match=r"a\.png and .*a\.tif have the same name"):
        open_dataset(tmp_path)


def test_what_is_no_data_set_is_refused_with_the_known_layouts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        open_dataset(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"known layout\. Known layouts:(.|\n)*imagesTr(.|\n)*dataset\.toml"):
        open_dataset(tmp_path)
    make_dataset(tmp_path / "train")
    with pytest.raises(InputError, match=r"Did you mean .*train\?"):
        open_dataset(tmp_path)


def test_images_alone_are_an_unlabelled_data_set(tmp_path: Path) -> None:
    lay(tmp_path, "images/a.png", "images/b.png")
    dataset = open_dataset(tmp_path)
    assert len(dataset.unlabelled) == 2
    assert dataset.labelled == ()


SHARED = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.mark.skipif(not SHARED.exists(), reason="the development data are not here")
@pytest.mark.parametrize(
    ("name", "n", "ndim"),
    [
        ("dsb2018", 666, 2),
        ("kromp2020", 12, 2),
        ("t98g", 45, 2),
        ("hippocampus3d", 200, 3),
        ("chaos_t2", 10, 3),
    ],
)
def test_opens_real_data_sets(name: str, n: int, ndim: int) -> None:
    dataset = open_dataset(SHARED / name)
    assert len(dataset.labelled) == n
    image, labels = dataset.image(dataset.samples[0]), dataset.labels(dataset.samples[0])
    assert image.ndim == labels.ndim == ndim
    assert image.pixels.shape[1:] == labels.shape


def test_a_big_tiff_of_a_data_set_is_not_read_when_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(tmp_path, "images/a.tif", "labels/a.tif")
    monkeypatch.delattr(tifffile, "TiffFile")
    assert len(open_dataset(tmp_path).samples) == 1


def test_an_index_with_bare_names_joins_images_in_their_folder(tmp_path: Path) -> None:
    make_dataset(tmp_path, 2)
    (tmp_path / "index.csv").write_text("image,fold\n0.png,1\n1.png,0\n")
    samples = open_dataset(tmp_path).samples
    assert [(sample.id, sample.fold, len(sample.labels)) for sample in samples] == [("0", 1, 1), ("1", 0, 1)]
