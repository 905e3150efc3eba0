"""``run.json``: what was predicted, with what, and how each image fared."""

import csv
import dataclasses
import hashlib
import io
import json
import resource
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from morula.data.axes import show
from morula.data.files import write_text
from morula.errors import InputError
from morula.prediction.inputs import Input
from morula.prediction.reliability import look_first
from morula.prediction.scale import Diameter

FILE = "run.json"
"""Name of the record in the output folder."""

TABLE = "images.csv"
"""Name of the table of images in the output folder."""

COLUMNS = (
    *("id", "n_objects", "median_diameter_px", "channel", "mean_confidence"),
    *("reliability", "look_first", "failure"),
)
"""Of the table: `ImageRow` fields, and why an image should be looked at first."""

_SAVE_EVERY_S = 2.0


@dataclass(frozen=True)
class Options:
    """The options of one call; see `morula.prediction.predict.predict`."""

    axes: str | None = None
    channels: tuple[str, ...] | None = None
    only_channel: str | None = None
    pixel_size: tuple[float, ...] | None = None
    diameter: Diameter = "auto"
    device: str = "cpu"
    engine: str = "auto"
    mirror: str | None = None
    export: tuple[str, ...] = ()

    def key(self, weights_hash: str) -> str:
        """Twelve hexadecimal digits that change when the model, or an option that decides labels, changes."""
        deciding = [self.axes, self.channels, self.pixel_size, self.diameter, self.mirror]
        deciding += [self.only_channel] if self.only_channel else []
        return hashlib.sha256(json.dumps([weights_hash, *deciding]).encode()).hexdigest()[:12]

    def command(self, images: Sequence[Path], out: Path, model: str | Path) -> str:
        """The command that does the same, whether this was called so or from Python."""
        given: dict[str, str | None] = {
            "--model": str(model),
            "--axes": self.axes,
            "--channels": ",".join(self.channels or ()),
            "--only-channel": self.only_channel,
            "--pixel-size": ",".join(f"{size:g}" for size in self.pixel_size or ()),
            "--diameter": None if self.diameter == "auto" else str(self.diameter),
            "--device": self.device,
            "--engine": self.engine,
            "--mirror": self.mirror,
            "--export": ",".join(self.export),
        }
        pairs = [word for name, value in given.items() if value for word in (name, value)]
        return shlex.join(["morula", "predict", *map(str, images), "-o", str(out), *pairs])


@dataclass(frozen=True)
class ImageRow:
    """How one image fared; paths of results are relative to the output folder."""

    id: str
    """Stem with its subfolder."""

    image: str
    """The file that was read, as messages show it: of several the first, and how many more."""

    files: tuple[str, ...] = ()
    """Where its files lie, whole and without links: another image of this id is not taken for it."""

    stamp: str = ""
    """Size and time of change of its files: a changed one is predicted again."""

    digest: str = ""
    """Of what is in its files: by it they are known again in another place."""

    failure: str | None = None
    """Why there is no result; None when there is one."""

    warnings: tuple[str, ...] = ()
    """What somebody should look at: NaN in the image, say."""

    labels: str | None = None
    overlay: str | None = None
    exports: tuple[str, ...] = ()

    zoom: float = 1.0
    """Working pixels per pixel of the image: by how much it was resampled before the network saw it."""

    channel: str | None = None
    """The only colour that the network saw of a composite of stains."""

    n_objects: int = 0
    median_diameter_px: float | None = None
    mean_confidence: float | None = None

    reliability: float | None = None
    """Expected F1 at IoU 0.5; None where classes were found."""

    doubts: tuple[str, ...] = ()
    """Why this image should be looked at, in words."""

    least_certain: tuple[dict[str, float | int], ...] = ()
    """Label, confidence and centroid of the objects to look at first."""

    engine: str | None = None
    """What ran the network: rows of several calls may differ."""

    precision: str | None = None
    """Numbers that the network computed with, where torch ran it."""

    megapixels: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class PredictSummary:
    """What a prediction did."""

    out: Path
    """The output folder."""

    rows: tuple[ImageRow, ...]
    """Every image of this call, in order, those that failed and those finished before included."""

    skipped: int
    """Images that an earlier run had finished."""

    seconds: float
    """Wall time of this call."""

    notes: tuple[str, ...] = ()
    """What was passed over."""

    @property
    def done(self) -> int:
        """Images with a result, those of an earlier run included."""
        return sum(row.failure is None for row in self.rows)

    @property
    def failed(self) -> dict[str, str]:
        """File and message of every image without a result."""
        return {row.image: row.failure for row in self.rows if row.failure is not None}

    @property
    def zooms(self) -> tuple[float, ...]:
        """Of every image that was resampled."""
        return tuple(row.zoom for row in self.rows if row.failure is None and row.zoom != 1)

    @property
    def stains(self) -> tuple[str, ...]:
        """Colours that were looked at alone, one for each such image."""
        return tuple(row.channel for row in self.rows if row.failure is None and row.channel is not None)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What somebody should look at; the messages name the files."""
        return tuple(warning for row in self.rows for warning in row.warnings)


def stamp_of(files: Sequence[Path]) -> str:
    """What changes when a file (or, for Zarr, a folder) is written again; empty when it cannot be asked."""
    try:
        return " ".join(f"{status.st_size}-{status.st_mtime_ns}" for status in map(Path.stat, files))
    except OSError:
        return ""


def places_of(files: Sequence[Path]) -> tuple[str, ...]:
    """Where files lie, whole and without links."""
    return tuple(str(path.resolve()) for path in files)


def digest_of(files: Sequence[Path]) -> str:
    """Thirty-two hexadecimal digits of what is in files; empty for folders (Zarr) and what cannot be read."""
    whole = hashlib.sha256()
    try:
        for path in files:
            with path.open("rb") as file:
                whole.update(hashlib.file_digest(file, "sha256").digest())
    except OSError:
        return ""
    return whole.hexdigest()[:32]


def peak_memory_mb() -> float:
    """The most memory that this process has held so far, in megabytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in kilobytes, macOS in bytes.
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)


@dataclass
class Record:
    """The growing ``run.json`` of one output folder."""

    folder: Path
    """The output folder."""

    header: dict[str, Any]
    """Command, versions, model ...; ``key`` says which earlier rows may be kept."""

    rows: dict[str, ImageRow] = field(default_factory=dict)
    """By image id."""

    replaced: dict[str, ImageRow] = field(default_factory=dict)
    """Finished images of an earlier run with another key, by id: their results are to go."""

    earlier: str = ""
    """Command of the earlier run."""

    _saved: float = 0.0
    _cost: float = 0.0

    @classmethod
    def resume(cls, folder: Path, header: dict[str, Any]) -> "Record":
        """A record that keeps the finished images of an earlier run with the same key.

        Raises:
            InputError: The earlier record is broken.
        """
        table = _read(folder / FILE)
        record = cls(folder, header, earlier=table.get("command", ""))
        finished = record.rows if table.get("key") == header["key"] else record.replaced
        finished.update({row.id: row for row in _rows(table) if row.failure is None})
        return record

    def meet(self, found: Sequence[Input]) -> None:
        """Compare the images of a call with the results that are there; moved files are known again.

        Raises:
            InputError: Results of another image of the same id are there, or results by another model or with
                other options that this call would not replace.
        """
        left = sorted(self.replaced.keys() - {each.id for each in found})
        left = [id_ for id_ in left if self._stands(self.replaced[id_])]
        if left:
            more = f" and {len(left) - 1} more" if len(left) > 1 else ""
            msg = (
                f"{self.folder} holds results of {left[0]}{more}, which this call was not asked for, by"
                f" another model or with other options ({self.earlier}). Choose another folder with -o, or"
                " name those images, too, to have all results replaced."
            )
            raise InputError(msg)
        for source in found:
            self._meet(source)

    def _meet(self, source: Input) -> None:
        row = self.rows.get(source.id) or self.replaced.get(source.id)
        if row is None or not row.files or row.files == places_of(source.files) or not self._stands(row):
            return
        if not row.digest or row.digest != digest_of(source.files):
            msg = (
                f"{self.folder} holds results of {row.files[0]}, and {source.files[0]} is another image of"
                f" the same name {source.id!r}. Choose another folder with -o."
            )
            raise InputError(msg)
        if source.id in self.rows:
            files = source.files
            self.rows[source.id] = replace(
                row, image=show(files), files=places_of(files), stamp=stamp_of(files)
            )

    def _stands(self, row: ImageRow) -> bool:
        return row.labels is not None and (self.folder / row.labels).is_file()

    def finished(self, source: Input, exports: tuple[str, ...]) -> bool:
        """Whether an image has all its results and has not changed since."""
        row = self.rows.get(source.id)
        if row is None or (row.files, row.stamp) != (places_of(source.files), stamp_of(source.files)):
            return False
        wanted = [row.labels, row.overlay, *exports]
        return all(name is not None and (self.folder / name).is_file() for name in wanted)

    def discard(self, id_: str, results: Iterable[str]) -> None:
        """Forget an image and remove its results, lest they be taken for those of what comes now.

        Raises:
            InputError: A file cannot be removed.
        """
        self.rows.pop(id_, None)
        self.replaced.pop(id_, None)
        for path in (self.folder / name for name in results):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                msg = f"{path} cannot be removed: {error.strerror or error}. Choose another folder with -o."
                raise InputError(msg) from error

    def save_table(self) -> None:
        """Write ``images.csv``: one row per image, for a spreadsheet.

        Raises:
            InputError: The folder cannot be written.
        """
        rows = [dataclasses.asdict(self.rows[id_]) for id_ in sorted(self.rows)]
        reasons = {row["id"]: "; ".join(why) for row, why in look_first(rows)}
        text = io.StringIO()
        writer = csv.DictWriter(text, list[str](COLUMNS), extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "look_first": reasons.get(row["id"], "")} for row in rows)
        write_text(self.folder / TABLE, text.getvalue())

    def save(self, *, now: bool) -> None:
        """Write the file, as a whole; unless `now`, only when the last time is a while ago.

        Raises:
            InputError: The folder cannot be written.
        """
        start = time.monotonic()
        # Thousands of images make the file large: saving takes a twentieth of the time at most.
        if not now and start - self._saved < max(_SAVE_EVERY_S, 20 * self._cost):
            return
        images = [_thawed(self.rows[id_]) for id_ in sorted(self.rows)]
        write_text(self.folder / FILE, json.dumps({**self.header, "images": images}, indent=1))
        self._saved = time.monotonic()
        self._cost = self._saved - start


def listed_labels(folder: Path) -> set[Path] | None:
    """Label files that the record in `folder` knows; None where no prediction left one.

    Raises:
        InputError: The record is broken.
    """
    table = _read(folder / FILE)
    if "key" not in table:
        return None
    return {folder / row.labels for row in _rows(table) if row.labels}


def _read(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        msg = f"{path} is broken: {error}. Delete it, or choose another output folder."
        raise InputError(msg) from error
    return table if isinstance(table, dict) else {}


def _rows(table: dict[str, Any]) -> list[ImageRow]:
    """The rows of a record; what another program calls so is none of them."""
    known = {item.name for item in dataclasses.fields(ImageRow)}
    entries = table.get("images")
    return [
        ImageRow(**{name: _frozen(value) for name, value in entry.items() if name in known})
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict) and {"id", "image"} <= entry.keys()
    ]


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _thawed(row: ImageRow) -> dict[str, Any]:
    """A row as JSON, without what it does not have."""
    return {name: value for name, value in dataclasses.asdict(row).items() if value not in (None, ())}
