"""``measurements.csv``: one row per object of all images, growing image by image."""

import csv
import io
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from morula.data.files import write_atomic
from morula.errors import InputError

FILE = "measurements.csv"
"""Name of the table in the output folder."""

Row = Mapping[str, float | int | str]


class Measurements:
    """The table of one output folder. Its first column names the image, the others grow as needed."""

    def __init__(self, folder: Path, keep: Collection[str] = ()) -> None:
        """Open the table and drop the rows of images that are not in `keep`, half-written ones too.

        Raises:
            InputError: The folder cannot be written.
        """
        self._path = folder / FILE
        self._columns: list[str] = ["image"]
        rows = [row for row in _read(self._path) if row["image"] in keep]
        self._columns += list(dict.fromkeys(name for row in rows for name in row if name != "image"))
        self._rewrite(rows)

    def append(self, image: str, rows: Sequence[Row]) -> None:
        """Add the objects of one image.

        Raises:
            InputError: The folder cannot be written.
        """
        new = [name for name in dict.fromkeys(n for row in rows for n in row) if name not in self._columns]
        if new:
            self._columns += new
            self._rewrite(_read(self._path))
        if not rows:
            return
        text = self._lines({"image": image, **{name: _text(v) for name, v in row.items()}} for row in rows)
        try:
            with self._path.open("a", newline="", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            reason = error.strerror or str(error)
            msg = f"{self._path} cannot be written: {reason}. Free some space or choose another folder."
            raise InputError(msg) from error

    def _rewrite(self, rows: Iterable[Mapping[str, str]]) -> None:
        with write_atomic(self._path) as part, part.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerow(self._columns)
            file.write(self._lines(rows))

    def _lines(self, rows: Iterable[Mapping[str, str]]) -> str:
        text = io.StringIO()
        csv.DictWriter(text, self._columns, restval="", lineterminator="\n").writerows(rows)
        return text.getvalue()


def name_classes(rows: Sequence[Mapping[str, Any]], classes: Mapping[str, int]) -> list[dict[str, Any]]:
    """Rows of measurements with the name of their class, and its volume in millilitres where it is known."""
    names = {label: name for name, label in classes.items()}
    named = []
    for row in rows:
        volume = {"volume_ml": row["volume_um3"] / 1e12} if classes and "volume_um3" in row else {}
        named.append({**({"class": names[row["label"]]} if classes else {}), **row, **volume})
    return named


def _read(path: Path) -> Iterator[dict[str, str]]:
    """Whole rows of the file, if it is there."""
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.DictReader(file)
        for row in reader:
            # A killed run may leave the last line short or, with it, a stray field.
            if "image" in row and None not in row and None not in row.values():
                yield row


def _text(value: float | int | str) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
