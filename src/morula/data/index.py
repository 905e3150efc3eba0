"""The two files with which a user describes a data set: ``index.csv`` and ``dataset.toml``."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, model_validator

from morula.data.dataset import GROUP_COLUMNS
from morula.data.sample import Sample
from morula.errors import InputError
from morula.spec import Spec, load, validate

Rows = Mapping[str, Mapping[str, str]]
"""Index rows by sample id."""

_MISSPELT = {
    **dict.fromkeys(("label", "labels", "mask", "masks", "label_file"), "labels"),
    **dict.fromkeys(("image", "images", "img", "image_file"), "image"),
    **{name: name for name in ("id", "fold", "group")},
}
"""Names of columns in small letters, and what is meant."""

_NOT_ATTRIBUTES = ("id", "image", "labels", "fold")


class Description(Spec, frozen=True):
    """``dataset.toml``: what the files of a data set do not say themselves. Every key may be left out."""

    images: str | None = None
    """Folder of the images, relative to the data set."""

    labels: str | None = None
    """Folder of the labels, relative to the data set."""

    axes: str | None = None
    """One letter of ``C Z Y X`` (``S``: RGB samples) per axis of the image arrays."""

    channels: tuple[str, ...] | None = None
    """One name per channel."""

    spacing_um: float | tuple[float, ...] | None = None
    """Micrometres per pixel: one number, or one per spatial axis in the order ``z y x``."""

    ignore_label: int | None = None
    """The stored label value that means "not annotated"."""

    task: Literal["instances", "semantic"] | None = None
    """What the labels mean: ids of objects, or classes such as organs. `classes` alone says the latter."""

    classes: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """Name of each class to its label."""

    tolerance_mm: dict[str, PositiveFloat] = Field(default_factory=dict)
    """Name of a class to the distance that its surface may be off (normalised surface distance)."""

    index: str = Field("index.csv", min_length=1)
    """The table of samples, relative to the data set."""

    @model_validator(mode="after")
    def _classes_agree(self) -> "Description":
        if self.classes and self.task == "instances":
            msg = "classes are named, but task = 'instances'; leave out one of the two"
            raise ValueError(msg)
        if len(set(self.classes.values())) < len(self.classes):
            msg = f"two classes have the same label: {self.classes}"
            raise ValueError(msg)
        for name in self.tolerance_mm:
            if name not in self.classes:
                msg = f"tolerance_mm names {name!r}, which is no class; known: {', '.join(self.classes)}"
                raise ValueError(msg)
        return self

    @property
    def spacing(self) -> tuple[float, ...] | None:
        """`spacing_um` as one number per axis (a single one serves all axes)."""
        return (float(self.spacing_um),) if isinstance(self.spacing_um, int | float) else self.spacing_um


def read_description(root: Path) -> Description:
    """``dataset.toml`` of the data set at `root`; all defaults where there is none.

    Raises:
        InputError: It is no TOML or has an unknown key or a bad value.
    """
    path = root / "dataset.toml"
    return load(Description, path) if path.exists() else validate(Description, {})


def read_index(path: Path) -> list[dict[str, str]]:
    """Rows of an ``index.csv`` (commas, semicolons or tabs), each with the key ``id`` or ``image``.

    Raises:
        InputError: No such columns, a row with too many cells, an id twice, or one that is no path below a
            folder.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            file.seek(0)
            delimiter = max(",;\t", key=header.count)
            reader = csv.DictReader(file, delimiter=delimiter)
            reader.fieldnames = _columns(reader.fieldnames or (), path)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        msg = f"{path} cannot be read as a table: {error}. Save it as CSV in UTF-8."
        raise InputError(msg) from error
    if not rows or not {"id", "image"} & set(rows[0]):
        msg = f"{path} needs a header with the column 'id' (or 'image') and one row per image."
        raise InputError(msg)
    key = "id" if "id" in rows[0] else "image"
    seen: set[str] = set()
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values() or not row[key] or row[key] in seen:
            what = "is a second row of" if row[key] in seen else "has too few or too many cells:"
            msg = f"{path}, line {number} {what} {key} {row[key]!r}. Mend or remove it."
            raise InputError(msg)
        _check_id(key, row[key], f"{path}, line {number}")
        seen.add(row[key])
    return rows


def _columns(names: Sequence[str], path: Path) -> list[str]:
    """Names of the columns, without blanks around them.

    Raises:
        InputError: One looks like a column that decides something, but is spelt otherwise.
    """
    columns = [name.strip() for name in names]
    for name in columns:
        meant = _MISSPELT.get(name.lower(), name)
        # Where the other columns suffice, these may tell anything about an image.
        needed = {"labels": "image" in columns, "image": "id" not in columns}
        elsewhere = not needed.get(meant, True)
        if meant != name and meant not in columns and not elsewhere:
            msg = f"{path}: unknown column {name!r}. Did you mean {meant!r}? Rename it."
            raise InputError(msg)
    return columns


def _check_id(key: str, value: str, place: str) -> None:
    """Refuse ids that lead out of a folder: results are written below their folder under the id.

    Raises:
        InputError: Names the row.
    """
    name = PurePosixPath(value)
    inside = bool(name.parts) and not name.is_absolute() and ".." not in name.parts and "\0" not in value
    if key == "image" and not inside:
        msg = (
            f"{place}: image {value!r} does not lie below the data set. Give it a name in a column 'id', or"
            " move it there."
        )
        raise InputError(msg)
    if key == "id" and not (inside and name.as_posix() == value and "\\" not in value):
        msg = (
            f"{place}: id {value!r} is no plain name; expected one such as a or plate1/a, without '..', '\\',"
            " an empty part or a leading '/'. Rename it."
        )
        raise InputError(msg)


def join_index(samples: Sequence[Sample], rows: Rows, path: Path) -> list[Sample]:
    """`samples` with their fold, group and attributes from the index at `path`.

    Raises:
        InputError: A fold that is not a whole number.
    """
    return [_with_row(sample, rows.get(sample.id, {}), path) for sample in samples]


def _with_row(sample: Sample, row: Mapping[str, str], path: Path) -> Sample:
    fold = row.get("fold", "").strip()
    if fold and not fold.isdecimal():
        msg = f"{path}: fold {fold!r} of {sample.id} is not a whole number. Number the folds 0, 1, 2, ..."
        raise InputError(msg)
    group = next((row[column] for column in GROUP_COLUMNS if row.get(column)), sample.id)
    attributes = {column: value for column, value in row.items() if column not in _NOT_ATTRIBUTES}
    return replace(sample, group=group, fold=int(fold) if fold else None, attributes=attributes)
