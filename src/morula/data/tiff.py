"""TIFF and OME-TIFF, with their axes, channel names and pixel sizes."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from morula.data.axes import MICROMETRES, Raw
from morula.data.orientation import TAG, upright
from morula.data.problems import BadFileError, damaged

_LETTERS = {"X", "Y", "Z", "C", "S", "T"}


def read_tiff(path: Path) -> Raw:
    """The image of a TIFF file; pyramids give their full resolution, thumbnails beside it are passed over.

    Pixel sizes are taken from OME-XML and ImageJ metadata only: the resolution tag of other files is the
    dots per inch of a printer more often than the truth. The orientation tag is heeded, save in OME-TIFF and
    files of ImageJ, whose programs pass over it.

    Raises:
        InputError: The file is truncated or damaged, or holds several images of full size.
    """
    import tifffile

    try:
        with _complaints() as complaints, tifffile.TiffFile(path) as tif:
            raw = _read_series(tif, path)
    except BadFileError:
        raise
    except Exception as error:  # whatever damaged bytes lead to
        raise damaged(path, error) from error
    if complaints:
        raise damaged(path, complaints[0])
    return raw


def write_tiff(path: Path, pixels: np.ndarray, axes: str) -> None:
    """Write `pixels` as a zstd-compressed TIFF that says its `axes`."""
    import tifffile

    tifffile.imwrite(path, pixels, compression="zstd", photometric="minisblack", metadata={"axes": axes})


class _Collector(logging.Handler):
    """Keeps what is logged by one thread."""

    def __init__(self) -> None:
        super().__init__()
        self.thread = threading.get_ident()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self.thread and record.levelno >= logging.ERROR:
            self.messages.append(record.getMessage())


@contextmanager
def _complaints() -> Iterator[list[str]]:
    # tifffile logs that pages are missing, then returns the remaining ones as if nothing had happened.
    logger = logging.getLogger("tifffile")
    collector = _Collector()
    logger.addHandler(collector)
    try:
        yield collector.messages
    finally:
        logger.removeHandler(collector)


def _read_series(tif: Any, path: Path) -> Raw:
    series = tif.series[0]
    rivals = [other for other in tif.series[1:] if np.prod(other.shape) >= np.prod(series.shape)]
    if rivals:
        shapes = ", ".join(str(other.shape) for other in tif.series)
        msg = f"{path} holds several images (shapes {shapes}); expected one. Save each as its own file."
        raise BadFileError("several images", msg)
    letters = "".join(letter if letter in _LETTERS else "?" for letter in series.axes)
    if tif.is_ome:
        channels, sizes = _from_ome(tif.ome_metadata or "")
    else:
        channels, sizes = (), _from_imagej(tif) if tif.is_imagej else {}
    raw = Raw(series.asarray(), letters, channels, sizes)
    tag = None if tif.is_ome or tif.is_imagej else series.keyframe.tags.get(TAG)
    return raw if tag is None else upright(raw, int(tag.value))


def _from_ome(xml: str) -> tuple[tuple[str, ...], dict[str, float]]:
    """Channel names and pixel sizes of the first image in OME-XML."""
    from xml.etree import ElementTree

    pixels = ElementTree.fromstring(xml).find("{*}Image/{*}Pixels")
    if pixels is None:
        return (), {}
    names = tuple(channel.get("Name", "") for channel in pixels.findall("{*}Channel"))
    sizes = {}
    for letter in "ZYX":
        scale = MICROMETRES.get(pixels.get(f"PhysicalSize{letter}Unit", "µm").lower())
        size = pixels.get(f"PhysicalSize{letter}")
        if size and scale:
            sizes[letter] = float(size) * scale
    return names if all(names) else (), sizes


def _from_imagej(tif: Any) -> dict[str, float]:
    """Pixel sizes of ImageJ: pixels per unit in the resolution tags, the unit in its metadata."""
    metadata = tif.imagej_metadata or {}
    scale = MICROMETRES.get(str(metadata.get("unit", "")).lower())
    if scale is None:
        return {}
    sizes = {}
    tags = tif.pages[0].tags
    for letter in "YX":
        tag = tags.get(f"{letter}Resolution")
        if tag is not None and tag.value[0]:
            sizes[letter] = scale * tag.value[1] / tag.value[0]
    if metadata.get("spacing"):
        sizes["Z"] = scale * float(metadata["spacing"])
    return sizes
