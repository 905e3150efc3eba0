"""The stage: images in, labels, overlays, measurements and exports out."""

import platform
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from morula.data.axes import show
from morula.data.files import write_atomic
from morula.data.formats import read_image, write_labels
from morula.data.image_checks import check_image
from morula.data.nifti import is_nifti, write_nifti_labels
from morula.data.sample import Image
from morula.errors import InputError
from morula.labels.measure import measure
from morula.prediction.exports import check_rois, write_geojson, write_rois
from morula.prediction.inputs import Input, find_inputs
from morula.prediction.measurements import Measurements, name_classes
from morula.prediction.overlay import draw_overlay
from morula.prediction.record import (
    Diameter,
    ImageRow,
    Options,
    PredictSummary,
    Record,
    peak_memory_mb,
    stamp_of,
)
from morula.prediction.segmentation import Segmentation
from morula.prediction.shipped import find_folder, fingerprint_of, read_plan
from morula.spec import nearest

if TYPE_CHECKING:
    from morula.prediction.model import Model
else:
    # Torch takes seconds to import and is not needed to show help or refuse a wrong option.
    Model = Any

EXPORTS = {"roi": "rois/{}.zip", "geojson": "geojson/{}.geojson"}
"""What ``export`` may name, and where it goes."""

LEAST_CERTAIN = 10
"""Objects per image that are named for a look."""


class OutputError(InputError):
    """The output folder cannot be written: no further image can be finished either."""


def predict(  # noqa: PLR0913 - one parameter per option of the command
    images: Sequence[Path] | Mapping[str, Path],
    out: Path,
    *,
    model: str | Path = "nuclei",
    axes: str | None = None,
    channels: tuple[str, ...] | None = None,
    pixel_size: tuple[float, ...] | float | None = None,
    diameter: Diameter = "auto",
    device: str = "cpu",
    engine: str = "auto",
    mirror: bool = True,
    workers: int = 1,
    export: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> PredictSummary:
    """Segment images; images that an earlier run finished with the same model and options are skipped.

    Writes ``labels/ID.tif`` (classes of a NIfTI image: ``labels/ID.nii.gz``), ``overlays/ID.png``,
    ``measurements.csv`` and ``run.json`` into `out`, each file as a whole or not at all. An image that cannot
    be read or segmented is recorded and the others go on.

    Args:
        images: Files and folders; subfolders are kept in the ids. Or files by their ids.
        out: Output folder; made when missing.
        model: A shipped model's name or a run folder.
        axes: Letters of the stored axes, where files do not say.
        channels: Names of the channels, where files do not say.
        pixel_size: Micrometres, one number or one per axis, where files do not say.
        diameter: Typical object diameter in pixels of the image; ``"auto"`` estimates the scale of each image
            (see `morula.prediction.scale`), ``"trained"`` takes that of the training images.
        device: As torch names it.
        engine: What runs the network: ``torch``, ``openvino``, ``onnxruntime``, or ``auto`` for the fastest
            that is installed.
        mirror: Average over mirror images where the plan does; False is 4 (3D: 8) times faster, and a little
            less accurate.
        workers: Threads that read and write while the network runs.
        export: Any of `EXPORTS`.
        progress: Called with images (one image: tiles) done and all.

    Raises:
        InputError: No images, an unknown model, device, engine or export, or `out` cannot be written.
    """
    start = time.monotonic()
    for name in export:
        if name not in EXPORTS:
            msg = f"unknown export {nearest(name, list(EXPORTS))}"
            raise InputError(msg)
    given = list(images.values()) if isinstance(images, Mapping) else images
    found = find_inputs(images, read_plan(find_folder(model)).channels, channels=channels, axes=axes)
    spacing = (pixel_size,) if isinstance(pixel_size, int | float) else pixel_size
    options = Options(axes, channels, spacing, diameter, device, engine, mirror, tuple(export))
    record = Record.resume(out, _header(given, out, model, options))
    todo = [each for each in found if not record.finished(each, _exports(each.id, export))]
    for each in todo:
        record.rows.pop(each.id, None)
    record.save(now=True)
    job = _Job(out, options, record, Measurements(out, record.rows))
    if todo:
        job.run(todo, _load(model, options, record), workers, progress, len(found))
    record.header["seconds"] = round(time.monotonic() - start, 3)
    record.header["peak_memory_mb"] = peak_memory_mb()
    record.save(now=True)
    rows = tuple(record.rows[each.id] for each in found)
    return PredictSummary(out, rows, len(found) - len(todo), time.monotonic() - start)


def _load(model: str | Path, options: Options, record: Record) -> Model:
    from morula.prediction.model import Model

    loaded = Model.load(model, options.device, engine=options.engine)
    if not options.mirror:
        loaded = loaded.without_mirroring()
    record.header["engine"] = loaded.engine
    if loaded.engine == "torch":
        record.header["precision"] = loaded.precision
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


@dataclass(frozen=True)
class _Job:
    """One call of `predict`: reads ahead, segments one image after the other, writes behind."""

    out: Path
    options: Options
    record: Record
    measurements: Measurements

    def run(
        self,
        todo: Sequence[Input],
        model: Model,
        workers: int,
        progress: Callable[[int, int], None] | None,
        total: int,
    ) -> None:
        done = total - len(todo)
        tiles = progress if total == 1 else None
        pool = ThreadPoolExecutor(max(1, workers))
        writes: deque[Future[tuple[ImageRow, list[dict[str, Any]]]]] = deque()
        try:
            for source, image in self._read_ahead(pool, todo, max(1, workers)):
                row, results = self._segment(source, image, model, tiles)
                if results is None:
                    self._finish(row, [])
                else:
                    writes.append(pool.submit(self._write, row, source.files[0], *results))
                # At most as many results wait in memory as there are threads to write them.
                while len(writes) > workers or (writes and writes[0].done()):
                    self._finish(*writes.popleft().result())
                done += 1
                if progress and not tiles:
                    progress(done, total)
            while writes:
                self._finish(*writes.popleft().result())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            self._keep_record()

    def _keep_record(self) -> None:
        try:
            self.record.save(now=True)
        except InputError:
            # A full disk has been reported already; the last whole record still stands.
            return

    def _read_ahead(
        self, pool: ThreadPoolExecutor, todo: Sequence[Input], ahead: int
    ) -> Iterator[tuple[Input, "Future[Image]"]]:
        waiting: deque[tuple[Input, Future[Image]]] = deque()
        for source in todo:
            waiting.append((source, pool.submit(self._read, source.files)))
            if len(waiting) > ahead:
                yield waiting.popleft()
        yield from waiting

    def _read(self, files: tuple[Path, ...]) -> Image:
        options = self.options
        return read_image(files, axes=options.axes, channels=options.channels, spacing_um=options.pixel_size)

    def _segment(
        self,
        source: Input,
        reading: "Future[Image]",
        model: Model,
        progress: Callable[[int, int], None] | None,
    ) -> tuple[ImageRow, tuple[Image, Segmentation] | None]:
        start = time.monotonic()
        warnings = (source.warning,) if source.warning else ()
        row = ImageRow(source.id, show(source.files), stamp_of(source.files), warnings=warnings)
        try:
            image = reading.result()
            found = model.segment(image, diameter_px=self.options.diameter, progress=progress)
            if "roi" in self.options.export:
                check_rois(found.labels)
        except Exception as error:  # one bad image must not stop the others
            return _failed(row, error), None
        seconds, size = time.monotonic() - start, float(np.prod(image.pixels.shape[1:]) / 1e6)
        row = replace(row, seconds=round(seconds, 3), megapixels=round(size, 4), zoom=round(found.zoom, 4))
        return row, (image, found)

    def _write(
        self, row: ImageRow, file: Path, image: Image, found: Segmentation
    ) -> tuple[ImageRow, list[dict[str, Any]]]:
        """All files of one image, the first of which is `file`; runs beside the network."""
        try:
            doubts = [found.message for found in check_image(image, file, row.id)]
            rows = measure(found.labels, image, image.spacing_um, found.confidence)
            rows = name_classes(rows, self.record.header["classes"])
            picture = draw_overlay(image, found.labels)
        except Exception as error:  # one bad image must not stop the others
            return _failed(row, error), []
        exports = _exports(row.id, self.options.export)
        names = {"labels": f"labels/{row.id}{self._suffix(file)}", "overlay": f"overlays/{row.id}.png"}
        try:
            if names["labels"].endswith(".tif"):
                write_labels(self.out / names["labels"], found.labels)
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
        return replace(row, **names, exports=exports, warnings=warnings, **_digest(rows)), rows

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
    """An RGB picture as PNG, as a whole or not at all.

    Raises:
        InputError: The file cannot be written.
    """
    _, data = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))
    with write_atomic(path) as part:
        part.write_bytes(data.tobytes())


def _failed(row: ImageRow, error: Exception) -> ImageRow:
    # What is not the user's to mend is named by its kind, so that it can be reported.
    message = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    return replace(row, failure=message or type(error).__name__)


def _digest(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What the record says of an image's objects."""
    if not rows:
        return {"n_objects": 0}
    doubtful = sorted(rows, key=lambda row: row["confidence"])[:LEAST_CERTAIN]
    keys = ("label", "confidence", "centroid_z", "centroid_y", "centroid_x")
    return {
        "n_objects": len(rows),
        "median_diameter_px": round(float(np.median([row["equivalent_diameter_px"] for row in rows])), 3),
        "mean_confidence": round(float(np.mean([row["confidence"] for row in rows])), 4),
        "least_certain": tuple({key: round(row[key], 4) for key in keys if key in row} for row in doubtful),
    }
