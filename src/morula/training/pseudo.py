"""Pseudo-labels: unlabelled images become a data set, labelled by a model.

::

    FOLDER/  labels/ID.tif, overlays/ID.jpg, measurements.csv, run.json   what `morula predict` writes
             dataset.toml    how the images are read, where it had to be said
             index.csv       id, image (where it lies), labels; written last: the data set is whole
"""

import csv
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from morula.data.dataset import Dataset, find_images
from morula.data.files import read_bytes, write_text
from morula.data.sample import Sample
from morula.errors import InputError
from morula.prediction.predict import predict
from morula.prediction.record import ImageRow
from morula.spec import dump_toml
from morula.training.run import Run

INDEX = "index.csv"


def find_unlabelled(teacher: Run, paths: Sequence[Path]) -> dict[str, Sample]:
    """The images to label, by id, without those that are labelled already, be it under another name.

    A file is known again by its bytes: an image that was saved anew, in another format or cropped, counts as
    another one.

    Args:
        teacher: A finished run.
        paths: Files and folders of images; none: the unlabelled images of the run's data set.

    Raises:
        InputError: There is none.
    """
    found = [Sample(id_, (path,)) for id_, path in find_images(paths)] if paths else teacher.unlabelled()
    known = [path for sample in teacher.labelled() for path in sample.image]
    sizes = {path.stat().st_size for path in known if path.is_file()}
    seen = {_identity(path, sizes) for path in known}
    new = {sample.id: sample for sample in found if _identity(sample.image[0], sizes) not in seen}
    if not new:
        where = ", ".join(map(str, paths)) or teacher.request().data
        msg = (
            f"{where} holds no unlabelled image (found {len(found)}, all of them labelled in the data set of"
            f" {teacher.folder}). Give a folder of others: --unlabelled DIR"
        )
        raise InputError(msg)
    several = next((sample.id for sample in new.values() if len(sample.image) > 1), None)
    if several is not None:
        msg = f"{several} lies in one file per channel. Save its channels in one file; give --unlabelled DIR."
        raise InputError(msg)
    return new


def label_images(
    images: Mapping[str, Sample],
    dataset: Dataset,
    model: Path,
    folder: Path,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, str]:
    """Label `images` with `model` and make `folder` a data set of them; passed over when it is one.

    Images in which nothing is found are left out: more likely the model fails there than that they are empty.

    Args:
        images: One file each, by id.
        dataset: How they are to be read.
        model: A run folder.
        folder: Of the new data set.
        device: As torch names it.
        progress: Called with images done and all.

    Returns:
        File and message of each image that could not be read or predicted.

    Raises:
        InputError: `folder` cannot be written.
    """
    if not (folder / INDEX).exists():
        summary = predict(
            {name: sample.image[0] for name, sample in images.items()},
            folder,
            model=model,
            axes=dataset.axes,
            channels=dataset.channels,
            pixel_size=dataset.spacing_um,
            diameter="trained",
            device=device,
            progress=progress,
        )
        found = [row for row in summary.rows if row.failure is None and row.n_objects]
        _write_dataset(folder, dataset, images, found)
    rows = json.loads((folder / "run.json").read_text(encoding="utf-8"))["images"]
    return {row["image"]: row["failure"] for row in rows if row.get("failure")}


def count_labelled(folder: Path) -> int:
    """Images in what `label_images` made."""
    with (folder / INDEX).open(encoding="utf-8", newline="") as file:
        return sum(1 for _ in csv.DictReader(file))


def _write_dataset(
    folder: Path, dataset: Dataset, images: Mapping[str, Sample], rows: Sequence[ImageRow]
) -> None:
    facts = {"axes": dataset.axes, "channels": dataset.channels, "spacing_um": dataset.spacing_um}
    write_text(folder / "dataset.toml", dump_toml(facts))
    columns = sorted({column for row in rows for column in images[row.id].attributes})
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["id", "image", "labels", *columns])
    for row in rows:
        sample = images[row.id]
        cells = [sample.attributes.get(column, "") for column in columns]
        table.writerow([row.id, sample.image[0].resolve(), row.labels, *cells])
    write_text(folder / INDEX, text.getvalue())


def _identity(path: Path, sizes: set[int]) -> str:
    """Equal for files of equal content; those whose size is none of `sizes` go by their place."""
    if path.is_file() and path.stat().st_size in sizes:
        return hashlib.sha256(read_bytes(path)).hexdigest()
    return str(path.resolve())
