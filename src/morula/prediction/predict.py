"""The stage: images in, labels, overlays, measurements and exports out."""

import itertools
import platform
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from morula.data.axes import check_axes, show
from morula.data.dataset import foreign_notes
from morula.data.files import make_folder, write_atomic
from morula.data.formats import read_image, write_labels
from morula.data.image_checks import check_image
from morula.data.lock import hold
from morula.data.nifti import is_nifti, write_nifti_labels
from morula.data.outputs import claim
from morula.data.sample import Image
from morula.errors import InputError
from morula.labels.measure import measure
from morula.planning.plan import Mirror
from morula.prediction.exports import check_rois, write_geojson, write_rois
from morula.prediction.inputs import Input, find_inputs
from morula.prediction.large import WHOLE
from morula.prediction.measurements import Measurements, name_classes
from morula.prediction.overlay import draw_overlay, jpeg
from morula.prediction.record import (
    Diameter,
    ImageRow,
    Options,
    PredictSummary,
    Record,
    digest_of,
    peak_memory_mb,
    places_of,
    stamp_of,
)
from morula.prediction.scale import check_diameter
from morula.prediction.segmentation import Segmentation
from morula.prediction.shipped import find_folder, fingerprint_of, read_plan
from morula.spec import nearest
from morula.types import PathLike

if TYPE_CHECKING:
    from morula.prediction.model import Model
else:
    # Torch takes seconds to import and is not needed to show help or refuse a wrong option.
    Model = Any

EXPORTS = {"roi": "rois/{}.zip", "geojson": "geojson/{}.geojson"}
"""What ``export`` may name, and where it goes."""

RESULTS = ("labels/{}.tif", "labels/{}.nii.gz", "overlays/{}.jpg", *EXPORTS.values())
"""Every file that an image may leave in the output folder."""

Result = tuple[ImageRow, list[dict[str, Any]]]
"""An image's row in the record, and its objects' rows in the table."""

LEAST_CERTAIN = 10
"""Objects per image that are named for a look."""


class OutputError(InputError):
    """The output folder cannot be written: no further image can be finished either."""


def predict(  # noqa: PLR0913 - one parameter per option of the command
    images: PathLike | Sequence[PathLike] | Mapping[str, PathLike],
    out: PathLike,
    *,
    model: str | Path = "generalist",
    axes: str | None = None,
    channels: tuple[str, ...] | None = None,
    only_channel: str | None = None,
    pixel_size: tuple[float, ...] | float | None = None,
    diameter: Diameter = "auto",
    device: str = "cpu",
    engine: str = "auto",
    mirror: str | None = None,
    workers: int = 1,
    export: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> PredictSummary:
    """Segment images; images that an earlier run finished with the same model and options are skipped.

    Results of images that are predicted again (they, the model or options changed) are removed first.

    Writes ``labels/ID.tif`` (classes of a NIfTI image: ``labels/ID.nii.gz``), ``overlays/ID.jpg``,
    ``measurements.csv``, ``images.csv`` and ``run.json`` into `out`, each file as a whole or not at all. An
    image that cannot be read or segmented is recorded and the others go on.

    Args:
        images: A file or folder, or several; subfolders are kept in the ids. Or files by their ids.
        out: Output folder; made when missing.
        model: A shipped model's name or a run folder.
        axes: Letters of the stored axes, where files do not say.
        channels: Names of the channels, where files do not say.
        only_channel: The channel to look at, by its name or number from 0, as if the image were grey; all of
            them are measured.
        pixel_size: Micrometres, one number or one per axis, where files do not say.
        diameter: Typical object diameter in pixels of the image; ``"auto"`` estimates the scale of each image
            (see `morula.prediction.scale`), ``"trained"`` takes that of the training images.
        device: As torch names it.
        engine: What runs the network: ``torch``, ``openvino``, ``openvino-int8``, ``onnxruntime``, or
            ``auto`` for the fastest that is there.
        mirror: Mirror images to average over, ``none``, ``opposite`` or ``all``; None: as the plan says.
        workers: Images under way beside the first: read, decoded, written, or in the network.
        export: Any of `EXPORTS`.
        progress: Called with images (one image: tiles) done and all.

    Raises:
        InputError: No images, an unknown model, device, engine, mirror or export; or `out` cannot be written,
            holds something else (results of other images of the same names, or of other images by another
            model or with other options, too), or is being worked in.
    """
    start = time.monotonic()
    check_diameter(diameter)
    if axes is not None:
        check_axes(axes)
    for name in export:
        if name not in EXPORTS:
            msg = f"unknown export {nearest(name, list(EXPORTS))}"
            raise InputError(msg)
    if mirror is not None and mirror not in get_args(Mirror):
        msg = f"unknown mirror {nearest(mirror, list(get_args(Mirror)))}"
        raise InputError(msg)
    out = Path(out)
    wanted = _as_paths(images)
    given = list(wanted.values()) if isinstance(wanted, Mapping) else wanted
    _check_out(out, given)
    found = find_inputs(wanted, read_plan(find_folder(model)).channels, channels=channels, axes=axes)
    spacing = (pixel_size,) if isinstance(pixel_size, int | float) else pixel_size
    options = Options(axes, channels, only_channel, spacing, diameter, device, engine, mirror, tuple(export))
    header = {**_header(given, out, model, options), "notes": foreign_notes(given)}
    with hold(make_folder(out)):
        record = Record.resume(out, header)
        record.meet(found)
        todo = [each for each in found if not record.finished(each, _exports(each.id, export))]
        threads = 1 + max(1, workers)
        # Before anything is removed: a model may fail to load.
        loaded = _load(model, options, min(threads, len(found))) if todo else None
        for each in todo:
            record.discard(each.id, (name.format(each.id) for name in RESULTS))
        record.save(now=True)
        job = _Job(out, options, record, Measurements(out, record.rows))
        if loaded is not None:
            job.run(todo, loaded, threads, progress, len(found))
        record.header["seconds"] = round(time.monotonic() - start, 3)
        record.header["peak_memory_mb"] = peak_memory_mb()
        record.save(now=True)
        record.save_table()
    rows = tuple(record.rows[each.id] for each in found)
    seconds = time.monotonic() - start
    return PredictSummary(out, rows, len(found) - len(todo), seconds, header["notes"])


def _as_paths(images: PathLike | Sequence[PathLike] | Mapping[str, PathLike]) -> list[Path] | dict[str, Path]:
    if isinstance(images, PathLike):
        return [Path(images)]
    if isinstance(images, Mapping):
        return {name: Path(file) for name, file in images.items()}
    return [Path(file) for file in images]


def _check_out(out: Path, images: Sequence[Path]) -> None:
    """Refuse to write among the images or over something else.

    Raises:
        InputError: `out` is a folder of images, or holds other work.
    """
    for path in images:
        if path.is_dir() and path.resolve() == out.resolve():
            msg = f"{out} is the folder of the images. Choose another one for the results with -o."
            raise InputError(msg)
    claim(out, "a prediction")


def _load(model: str | Path, options: Options, streams: int) -> Model:
    from morula.prediction.model import Model

    loaded = Model.load(model, options.device, engine=options.engine, streams=streams)
    if options.mirror:
        loaded = loaded.mirroring(options.mirror)
    return loaded


def _header(images: Sequence[Path], out: Path, model: str | Path, options: Options) -> dict[str, Any]:
    folder = find_folder(model)
    weights = fingerprint_of(folder)
    libraries = ("torch", "numpy", "numba")
    return {
        "command": options.command(images, out, model),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "versions": {
            "morula": version("morula"),
            "python": platform.python_version(),
            **{name: version(name) for name in libraries},
        },
        "model": folder.resolve().name,
        "plan_hash": read_plan(folder).hash,
        "classes": read_plan(folder).classes,
        "weights_hash": weights,
        "device": options.device,
        "options": asdict(options),
        "key": options.key(weights),
    }


def _exports(id_: str, export: Sequence[str]) -> tuple[str, ...]:
    return tuple(EXPORTS[name].format(id_) for name in export)


class _Stopped(Exception):  # noqa: N818 - nothing went wrong with the image
    """The run is over; what is under way must end."""


@dataclass(frozen=True)
class _Job:
    """One call of `predict`: several images under way, each in a thread of its own, results in order.

    No more tiles are in the network at a time than its engine has streams (`morula.prediction.ensemble`): it
    works for some images while others are read, decoded, drawn and written.
    """

    out: Path
    options: Options
    record: Record
    measurements: Measurements
    stop: threading.Event = field(default_factory=threading.Event)
    huge: threading.Lock = field(default_factory=threading.Lock)
    ends: list[float] = field(default_factory=lambda: [time.monotonic()])

    def run(
        self,
        todo: Sequence[Input],
        model: Model,
        threads: int,
        progress: Callable[[int, int], None] | None,
        total: int,
    ) -> None:
        done = total - len(todo)

        def each_tile(tile: int, tiles: int) -> None:
            if self.stop.is_set():
                raise _Stopped
            if progress and total == 1:
                progress(tile, tiles)

        pool = ThreadPoolExecutor(threads)
        under_way: deque[Future[Result]] = deque()
        waiting = iter(todo)
        try:
            for _ in todo:
                # Results are small: a few may wait for the image before them.
                for source in itertools.islice(waiting, 2 * threads - len(under_way)):
                    under_way.append(pool.submit(self._one, source, model, each_tile))
                self._finish(*under_way.popleft().result())
                done += 1
                if progress and total > 1:
                    progress(done, total)
        finally:
            self.stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            self._keep_record()

    def _one(self, source: Input, model: Model, progress: Callable[[int, int], None]) -> Result:
        """All of one image, from its files to its results."""
        row, results = self._segment(source, model, progress)
        row, rows = (row, []) if results is None else self._write(row, source.files[0], *results)
        self.ends.append(time.monotonic())
        # From the end of another image to that of this one: their sum is the time of the run.
        return replace(row, seconds=round(self.ends[-1] - self.ends[-2], 3)), rows

    def _keep_record(self) -> None:
        try:
            self.record.save(now=True)
        except InputError:
            # A full disk has been reported already; the last whole record still stands.
            return

    def _read(self, files: tuple[Path, ...]) -> Image:
        options = self.options
        return read_image(files, axes=options.axes, channels=options.channels, spacing_um=options.pixel_size)

    def _segment(
        self, source: Input, model: Model, progress: Callable[[int, int], None]
    ) -> tuple[ImageRow, tuple[Image, Segmentation] | None]:
        warnings = (source.warning,) if source.warning else ()
        files = source.files
        row = ImageRow(
            source.id, show(files), places_of(files), stamp_of(files), digest_of(files), warnings=warnings
        )
        try:
            image = self._read(source.files)
            size = int(np.prod(image.pixels.shape[1:]))
            # One at a time of those that take much memory.
            with self.huge if size > WHOLE else nullcontext():
                only = self.options.only_channel
                seen = image if only is None else image.only(only)
                found = model.segment(seen, diameter_px=self.options.diameter, progress=progress)
            if "roi" in self.options.export:
                check_rois(found.labels)
        except Exception as error:  # one bad image must not stop the others
            return _failed(row, error), None
        precision = model.precision if model.engine == "torch" else None
        seen = {"zoom": round(found.zoom, 4), "channel": found.channel}
        row = replace(row, **seen, engine=model.engine, precision=precision)
        return replace(row, megapixels=round(size / 1e6, 4)), (image, found)

    def _write(self, row: ImageRow, file: Path, image: Image, found: Segmentation) -> Result:
        """All files of one image, the first of which is `file`."""
        try:
            doubts = [found.message for found in check_image(image, file, row.id)]
            rows = measure(found.labels, image, image.spacing_um, found.confidence)
            rows = name_classes(rows, self.record.header["classes"])
            picture = draw_overlay(image, found.labels)
        except Exception as error:  # one bad image must not stop the others
            return _failed(row, error), []
        exports = _exports(row.id, self.options.export)
        names = {"labels": f"labels/{row.id}{self._suffix(file)}", "overlay": f"overlays/{row.id}.jpg"}
        try:
            if names["labels"].endswith(".tif"):
                write_labels(self.out / names["labels"], found.labels, image.spacing_um)
            else:
                write_nifti_labels(self.out / names["labels"], found.labels, file)
            write_picture(self.out / names["overlay"], picture)
            for name, place in zip(self.options.export, exports, strict=True):
                if name == "roi":
                    write_rois(self.out / place, found.labels)
                else:
                    write_geojson(self.out / place, found.labels, found.confidence)
        except InputError as error:
            raise OutputError(str(error)) from error
        warnings = (*row.warnings, *doubts)
        return replace(row, **names, exports=exports, warnings=warnings, **_digest(rows, found)), rows

    def _suffix(self, file: Path) -> str:
        """Classes of a NIfTI image lie in space as it does, for the programs that show both."""
        if self.record.header["classes"] and is_nifti(file):
            return ".nii.gz"
        return ".tif"

    def _finish(self, row: ImageRow, rows: list[dict[str, Any]]) -> None:
        self.measurements.append(row.id, rows)
        self.record.rows[row.id] = row
        self.record.save(now=False)


def write_picture(path: Path, picture: np.ndarray) -> None:
    """An RGB picture as JPEG, as a whole or not at all.

    Raises:
        InputError: The file cannot be written.
    """
    with write_atomic(path) as part:
        part.write_bytes(jpeg(picture))


def _failed(row: ImageRow, error: Exception) -> ImageRow:
    # What is not the user's to mend is named by its kind, so that it can be reported.
    message = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    return replace(row, failure=message or type(error).__name__)


def _digest(rows: list[dict[str, Any]], found: Segmentation) -> dict[str, Any]:
    """What the record says of an image and its objects."""
    reliability = None if found.reliability is None else round(found.reliability, 4)
    trust = {"doubts": found.doubts, "reliability": reliability}
    if not rows:
        return {"n_objects": 0, **trust}
    doubtful = sorted(rows, key=lambda row: row["confidence"])[:LEAST_CERTAIN]
    keys = ("label", "confidence", "centroid_z", "centroid_y", "centroid_x")
    return {
        **trust,
        "n_objects": len(rows),
        "median_diameter_px": round(float(np.median([row["equivalent_diameter_px"] for row in rows])), 3),
        "mean_confidence": round(float(np.mean([row["confidence"] for row in rows])), 4),
        "least_certain": tuple({key: round(row[key], 4) for key in keys if key in row} for row in doubtful),
    }
