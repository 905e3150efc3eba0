"""How data sets lie on disk, and which of these ways a folder follows."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from morula.data.dataset import (
    CHANNEL_FILE,
    IMAGE_FOLDERS,
    LABEL_ENDINGS,
    LABEL_FOLDERS,
    UNLABELLED_FOLDERS,
    Dataset,
    id_of,
    images_below,
    refuse_twins,
)
from morula.data.index import Description, join_index, read_description, read_index
from morula.data.ome_zarr import labels_inside
from morula.data.sample import Sample
from morula.errors import InputError
from morula.types import PathLike, Spacing

_OPENERS = (*IMAGE_FOLDERS, "imagesTr")
"""Folders by which a data set is known."""

_KNOWN = """
  images/a.png, labels/a.tif               also imgs and masks; also labels/a_label.tif (NeurIPS CellSeg)
  images/a_0000.nii.gz, labels/a.nii.gz    one file per channel
  imagesTr/a_0000.png, labelsTr/a.png, dataset.json    nnU-Net raw
  a/images/a.png, a/masks/*.png            one mask file per object (DSB 2018)
  a.png, a_masks.tif                       labels beside their images (Cellpose)
  a.zarr, images/a.zarr                    OME-Zarr, labels inside or in labels/a.zarr
  index.csv                                with the columns image and labels: paths
  dataset.toml                             with the keys images and labels: folders"""


@dataclass(frozen=True)
class Survey:
    """A data set and what was found beside its samples."""

    dataset: Dataset
    """What can be used."""

    orphans: tuple[Path, ...]
    """Label files without an image."""

    rows: frozenset[str]
    """Ids in the index, with or without an image."""

    index: Path | None
    """The index, if there is one."""


@dataclass(frozen=True)
class _Found:
    samples: list[Sample]
    orphans: tuple[Path, ...] = ()
    channels: tuple[str, ...] | None = None
    ignore_label: int | None = None
    classes: Mapping[str, int] | None = None


def open_dataset(
    root: PathLike,
    *,
    axes: str | None = None,
    channels: tuple[str, ...] | None = None,
    spacing_um: Spacing | None = None,
) -> Dataset:
    """Find the samples below `root`, whatever the layout; what is given goes before ``dataset.toml``.

    Raises:
        InputError: No such folder, no layout that is known (the message lists them), or a bad index,
            ``dataset.toml`` or ``dataset.json``.
    """
    return survey(Path(root), axes=axes, channels=channels, spacing_um=spacing_um).dataset


def survey(
    root: Path,
    *,
    axes: str | None = None,
    channels: tuple[str, ...] | None = None,
    spacing_um: Spacing | None = None,
) -> Survey:
    """As `open_dataset`, with the files and index rows that belong to no sample.

    Raises:
        InputError: See `open_dataset`.
    """
    if not root.is_dir():
        msg = f"{root} is not a folder. Give the folder that holds the images and labels."
        raise InputError(msg)
    description = read_description(root)
    index = root / description.index
    if not index.exists() and "index" in description.model_fields_set:
        msg = (
            f"{root / 'dataset.toml'} names the index {description.index}, which is not there. Mend the key."
        )
        raise InputError(msg)
    table = read_index(index) if index.exists() else []
    found = _find(root, description, table)
    refuse_twins((sample.id, sample.image[0]) for sample in found.samples)
    rows = {row.get("id") or _id_of_row(root, row["image"]): row for row in table}
    samples = sorted(join_index(found.samples, rows, index), key=lambda sample: sample.id)
    dataset = Dataset(
        root,
        tuple(samples),
        axes=axes or description.axes,
        channels=channels or description.channels or found.channels,
        spacing_um=spacing_um or description.spacing,
        ignore_label=found.ignore_label if description.ignore_label is None else description.ignore_label,
        **_meaning(description, found),
    )
    return Survey(dataset, found.orphans, frozenset(rows), index if table else None)


def _meaning(description: Description, found: _Found) -> dict[str, Any]:
    """What the labels mean: as the user says, else as nnU-Net's names of classes say."""
    classes = description.classes or found.classes or {}
    task = description.task or ("semantic" if classes else None)
    if task == "instances":
        return {"task": task}
    return {"task": task, "classes": dict(classes), "tolerance_mm": description.tolerance_mm}


def _find(root: Path, description: Description, table: list[dict[str, str]]) -> _Found:
    """The samples of the first layout that `root` follows."""
    layouts: tuple[Callable[[], _Found | None], ...] = (
        lambda: _indexed(root, table),
        lambda: _nnunet_raw(root),
        lambda: _folders(root, description),
        lambda: _mask_per_object(root),
        lambda: _labels_beside(root),
    )
    for layout in layouts:
        found = layout()
        if found is not None and found.samples:
            return found
    inner = [path for path in sorted(root.glob("*/*")) if path.is_dir() and path.name in _OPENERS]
    hint = f" Did you mean {inner[0].parent}?" if inner else ""
    msg = f"{root} holds no images in a known layout.{hint} Known layouts:{_KNOWN}"
    raise InputError(msg)


def _indexed(root: Path, table: list[dict[str, str]]) -> _Found | None:
    """Every row of the index names its files, relative to the root."""
    if not table or "image" not in table[0]:
        return None
    samples = []
    for row in table:
        image = root / row["image"]
        labels = (root / row["labels"],) if row.get("labels") else ()
        samples.append(Sample(row.get("id") or _id_of_row(root, row["image"]), (image,), labels))
    # Bare names mean images in a folder, which another layout finds.
    return _Found(samples) if any(sample.image[0].exists() for sample in samples) else None


def _id_of_row(root: Path, image: str) -> str:
    return id_of(root / image, root)


def _nnunet_raw(root: Path) -> _Found | None:
    """nnU-Net's raw format, version 1 or 2: its labels are classes by definition; no test images."""
    if not (root / "imagesTr").is_dir():
        return None
    header = _read_json(root / "dataset.json")
    ending = header.get("file_ending", ".nii.gz")
    images = [path for path in images_below(root / "imagesTr") if path.name.endswith(ending)]
    folder = root / "labelsTr"
    labels = [path for path in images_below(folder) if path.name.endswith(ending)] if folder.is_dir() else []
    found = _pair(_ids(images, root / "imagesTr"), _ids(labels, folder), by_channel=True)
    names = header.get("channel_names", header.get("modality", {}))
    channels = tuple(str(names[key]) for key in sorted(names, key=int))
    classes = _nnunet_classes(header.get("labels", {}), root / "dataset.json")
    ignore = classes.pop("ignore", None)
    unique = bool(channels) and len(set(channels)) == len(channels)
    return replace(found, channels=channels if unique else None, ignore_label=ignore, classes=classes or None)


def _nnunet_classes(labels: Mapping[str, Any], path: Path) -> dict[str, int]:
    """Name to label of every class but the background (0): names are keys in version 2, values in version 1.

    Raises:
        InputError: A class has no whole number, or several (nnU-Net's regions).
    """
    numbered = bool(labels) and all(str(key).isdecimal() for key in labels)
    pairs = [(name, key) if numbered else (key, name) for key, name in labels.items()]
    classes = {}
    for name, label in pairs:
        if isinstance(label, list) or not str(label).isdecimal():
            msg = (
                f"{path}: class {name!r} has the label {label!r}; expected one whole number (regions made of "
                "several labels cannot be trained on). Give every class its own label."
            )
            raise InputError(msg)
        classes[str(name)] = int(label)
    return {name: label for name, label in classes.items() if label != 0}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        header = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        for key in ("channel_names", "modality", "labels"):
            if not isinstance(header.get(key, {}), Mapping):
                msg = f"{key} is not a table"
                raise ValueError(msg)
        [int(key) for key in header.get("channel_names", header.get("modality", {}))]
        return header
    except (OSError, ValueError, AttributeError) as error:
        msg = f"{path} is no dataset.json of nnU-Net: {error}. Mend it, or use folders 'images' and 'labels'."
        raise InputError(msg) from error


def _folders(root: Path, description: Description) -> _Found | None:
    """A folder of images and, perhaps, one of labels; unlabelled images may lie in a third."""
    image_folder = _named(root, description.images, IMAGE_FOLDERS)
    if image_folder is None:
        return None
    label_folder = _named(root, description.labels, LABEL_FOLDERS)
    images = _ids(images_below(image_folder), image_folder)
    labels = _ids(images_below(label_folder), label_folder) if label_folder else {}
    found = _pair(images, labels)
    if labels and images and not any(sample.labels for sample in found.samples):
        msg = (
            f"none of the {len(images)} images has labels of its name: {next(iter(images.values()))} and"
            f" {next(iter(labels.values()))}, for example. Give label files the names of their images."
        )
        raise InputError(msg)
    for folder in (root / name for name in UNLABELLED_FOLDERS):
        if folder.is_dir():
            files = _ids(images_below(folder), root)
            found.samples.extend(Sample(name, (path,)) for name, path in files.items())
    return found


def _named(root: Path, given: str | None, names: tuple[str, ...]) -> Path | None:
    """The folder that is given, else the first of `names` that exists."""
    if given is not None:
        if not (root / given).is_dir():
            msg = f"{root / 'dataset.toml'} names the folder {given}, which does not exist. Mend the key."
            raise InputError(msg)
        return root / given
    return next((root / name for name in names if (root / name).is_dir()), None)


def _ids(files: list[Path], folder: Path) -> dict[str, Path]:
    named = [(id_of(path, folder), path) for path in files]
    refuse_twins(named)
    return dict(named)


def _pair(images: dict[str, Path], labels: dict[str, Path], *, by_channel: bool = False) -> _Found:
    """Join images and labels by name; ``a_0000`` is the first channel of ``a`` where ``a`` has the labels."""
    cases: dict[str, list[Path]] = {}
    for name, path in images.items():
        match = CHANNEL_FILE.fullmatch(name)
        split = match is not None and (
            by_channel or (match[1] in labels and _labels_of(name, labels) is None)
        )
        cases.setdefault(match[1] if match and split else name, []).append(path)
    samples, used = [], set()
    for case, files in cases.items():
        own = _labels_of(case, labels) or labels_inside(files[0])
        used.add(own)
        samples.append(Sample(case, tuple(sorted(files)), (own,) if own else ()))
    return _Found(samples, tuple(path for path in labels.values() if path not in used))


def _labels_of(name: str, labels: Mapping[str, Path]) -> Path | None:
    candidates = [labels[name + ending] for ending in ("", *LABEL_ENDINGS) if name + ending in labels]
    if len(candidates) > 1:
        msg = f"{name} has several labels: {', '.join(map(str, candidates))}. Keep one of them."
        raise InputError(msg)
    return candidates[0] if candidates else None


def _mask_per_object(root: Path) -> _Found | None:
    """DSB 2018: a folder per image, with ``images/ID.png`` and one file per object in ``masks``."""
    samples = []
    for folder in sorted(root.glob("*/images")):
        files = images_below(folder)
        if len(files) != 1:
            return None
        masks = folder.parent / "masks"
        labels = tuple(images_below(masks)) if masks.is_dir() else ()
        samples.append(Sample(folder.parent.name, (files[0],), labels))
    return _Found(samples)


def _labels_beside(root: Path) -> _Found | None:
    """Labels in the folder of their images, told by the ending of their names; subfolders do not count."""
    files = _ids([path for path in images_below(root) if path.parent == root], root)
    labels = {
        name: path
        for name, path in files.items()
        if any(name.removesuffix(ending) in files and name.endswith(ending) for ending in LABEL_ENDINGS)
    }
    images = {name: path for name, path in files.items() if name not in labels}
    return _pair(images, labels)
