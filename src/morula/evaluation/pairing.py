"""Which predicted label file belongs to which truth."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from morula.data.dataset import IMAGE_FOLDERS, LABEL_ENDINGS, LABEL_FOLDERS, Dataset, id_of, images_below
from morula.data.formats import stem_of
from morula.data.layouts import open_dataset
from morula.data.sample import Sample
from morula.errors import InputError
from morula.labels.components import connected_components
from morula.prediction.record import listed_labels
from morula.types import Labels

Progress = Callable[[int, int], None]
"""Called with how many images are done, and how many there are."""

_FEWEST_VALUES, _FEWEST_PIECES = 16, 5
"""Of an image: different values, and pieces of each on average."""


@dataclass(frozen=True)
class Pairing:
    """Predicted label files beside the samples that hold their truth."""

    dataset: Dataset
    """Where the truth, the images (if any) and the index columns are read from."""

    pairs: tuple[tuple[Sample, Path], ...]
    """Truth and predicted file, sorted by id."""

    without_truth: tuple[str, ...]
    """Predicted ids that no truth belongs to."""

    without_prediction: tuple[str, ...]
    """Ids of the truth that no prediction belongs to."""


def pair_files(predicted: Path, truth: Path, select: Mapping[str, set[str]] | None = None) -> Pairing:
    """Pair label files by their path below both folders, else by their name where it is unique.

    Args:
        predicted: A label file, a folder of them, or what `morula predict` wrote (its ``labels`` count).
        truth: A label file, a folder of them, or a data set; only a data set has images and index columns.
        select: Index columns of `truth` and the values wanted; all samples when None.

    Raises:
        InputError: A folder is missing or empty, an unknown column, or nothing pairs.
    """
    dataset = find_truth(truth)
    files = predicted_files(predicted)
    samples = {sample.id: sample for sample in dataset.labelled}
    if predicted.is_file() and truth.is_file():
        return Pairing(dataset, ((dataset.labelled[0], predicted),), (), ())
    joined = _join(files, samples)
    wanted = {sample.id for sample in (dataset.select(select) if select else dataset).labelled}
    found = {name: file for name, file in joined.items() if name in wanted}
    if not joined:
        msg = (
            f"no file in {predicted} has a truth of its name in {truth}: {next(iter(files))!r} and"
            f" {next(iter(samples))!r}, for example. Give both the same names."
        )
        raise InputError(msg)
    if not found:
        msg = f"none of the {len(joined)} predicted images is selected; choose other values of the columns."
        raise InputError(msg)
    return Pairing(
        dataset,
        tuple((samples[name], files[found[name]]) for name in sorted(found)),
        tuple(sorted(set(files) - set(joined.values()))),
        tuple(sorted(wanted - set(found))),
    )


def predictions_of(predicted: Path, ids: Iterable[str]) -> dict[str, Path]:
    """Predicted label file of each of `ids` that has one, paired as `pair_files` does.

    Raises:
        InputError: There is no label file at all.
    """
    files = predicted_files(predicted)
    return {name: files[found] for name, found in _join(files, ids).items()}


def find_truth(truth: Path) -> Dataset:
    """The data set that holds the truth; a plain file or folder of labels becomes one without images.

    Raises:
        InputError: There is nothing, or no labels in it.
    """
    if truth.is_file():
        return Dataset(truth.parent, (Sample(stem_of(truth), (), (truth,)),))
    if not truth.is_dir():
        msg = f"{truth} does not exist. Give a folder of label files, or a data set with images and labels."
        raise InputError(msg)
    whole = _as_dataset(truth) or _labels_of_dataset(truth)
    if whole is not None:
        return whole
    files = images_below(truth)
    if not files:
        msg = f"{truth} holds no label files. Give a folder of label files, or a data set."
        raise InputError(msg)
    return Dataset(truth, tuple(Sample(_bare(id_of(path, truth)), (), (path,)) for path in files))


def predicted_files(predicted: Path) -> dict[str, Path]:
    """Predicted label files by their id; beside the record of a prediction, only those that it lists.

    Raises:
        InputError: There are none, or the record is broken.
    """
    if predicted.is_file():
        return {stem_of(predicted): predicted}
    folder = predicted / "labels" if (predicted / "labels").is_dir() else predicted
    files = images_below(folder)
    if folder.name == "labels" and (listed := listed_labels(folder.parent)) is not None:
        # Others are left over, of another model perhaps.
        files = [path for path in files if path in listed]
    if not files:
        msg = f"{folder} holds no label files. Give a folder of them, or what `morula predict` wrote."
        raise InputError(msg)
    return {id_of(path, folder): path for path in files}


def plain_folders(*given: Path) -> list[Path]:
    """Those that are folders of label files alone: no data set, nothing that `morula predict` wrote."""
    return [
        path for path in given if path.is_dir() and not (path / "labels").is_dir() and not _is_laid_out(path)
    ]


def look_like_intensities(labels: Labels) -> bool:
    """Whether `labels` are rather the pixels of an image: many values, each in many pieces.

    Args:
        labels: Ids ``(*spatial)``.
    """
    values = np.unique(labels[labels > 0]).size
    return values >= _FEWEST_VALUES and int(connected_components(labels).max()) >= _FEWEST_PIECES * values


def _is_laid_out(folder: Path) -> bool:
    signs = ("dataset.toml", "dataset.json", "index.csv", "images", "imgs", "imagesTr")
    return any((folder / name).exists() for name in signs) or any(folder.glob("*/masks"))


def _as_dataset(folder: Path) -> Dataset | None:
    """`folder` as a data set, if it is laid out as one and has labels.

    Raises:
        InputError: It has a folder of images but no labels: the images must not be taken for labels.
    """
    if not _is_laid_out(folder):
        return None
    dataset = open_dataset(folder)
    if not dataset.labelled and any((folder / name).is_dir() for name in (*IMAGE_FOLDERS, "imagesTr")):
        msg = f"{folder} holds images, but no labels for any of them. Give the folder with the truth."
        raise InputError(msg)
    return dataset if dataset.labelled else None


def _labels_of_dataset(folder: Path) -> Dataset | None:
    """The data set that has `folder` as its folder of labels, so that images and columns are found too."""
    if folder.resolve().name not in (*LABEL_FOLDERS, "labelsTr"):
        return None
    root = folder.resolve().parent
    try:
        dataset = _as_dataset(root)
    except InputError:
        # The labels can be read all the same; only pictures and strata are lost.
        return None
    if dataset is None:
        return None
    inside = [
        sample for sample in dataset.labelled if sample.labels[0].resolve().is_relative_to(folder.resolve())
    ]
    return dataset if inside else None


def _join(files: Iterable[str], samples: Iterable[str]) -> dict[str, str]:
    """Sample id to predicted id: equal paths first, then names that are unique on both sides."""
    names, ids = {_bare(name): name for name in files}, set(samples)
    found = {name: names[name] for name in ids if name in names}
    found |= {name: name for name in ids & set(names.values())}
    short_files, short_ids = _unique_names(names), _unique_names({name: name for name in ids})
    taken = set(found.values())
    for short in short_files.keys() & short_ids.keys():
        if short_ids[short] not in found and short_files[short] not in taken:
            found[short_ids[short]] = short_files[short]
    return found


def _unique_names(names: dict[str, str]) -> dict[str, str]:
    """Last part of every key to its value, where no other key ends in the same."""
    counts = Counter(name.rsplit("/", 1)[-1] for name in names)
    last = {name.rsplit("/", 1)[-1]: value for name, value in names.items()}
    return {short: value for short, value in last.items() if counts[short] == 1}


def _bare(name: str) -> str:
    """`name` without the ending that marks label files, or the first channel of a case (nnU-Net)."""
    endings = (*LABEL_ENDINGS, "_0000")
    return next((name.removesuffix(ending) for ending in endings if name.endswith(ending)), name)
