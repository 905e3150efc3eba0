"""TIFF and OME-TIFF, with their axes, colours, channel names and pixel sizes."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from morula.data.axes import MICROMETRES, Raw
from morula.data.orientation import TAG, upright
from morula.data.problems import BadFileError, damaged
from morula.data.sample import RGB
from morula.types import Spacing

_LETTERS = {"X", "Y", "Z", "C", "S", "T"}

_PHOTOMETRIC = 262
"""Number of the tag that says what the numbers mean."""

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _MASK, _YCBCR = 0, 1, 2, 3, 4, 6
"""Values of that tag."""

_JPEG = (6, 7, 33007, 34892)
"""Compressions whose decoder turns YCbCr into RGB."""

_ALPHA = (1, 2)
"""Values of the tag ExtraSamples that mean transparency; 0 is not specified."""

_LEVEL = 2
"""Of deflate for labels: higher levels take longer and save next to nothing."""


def read_tiff(path: Path, *, as_numbers: bool = False) -> Raw:
    """The image of a TIFF file; pyramids give their full resolution, thumbnails beside it are passed over.

    Pixel sizes are taken from OME-XML and ImageJ metadata only: the resolution tag of other files is the
    dots per inch of a printer more often than the truth. The orientation tag is heeded, save in OME-TIFF and
    files of ImageJ, whose programs pass over it. A file of a set of OME-TIFF files is an image of its own:
    its own planes, with the names that its metadata give them.

    Args:
        path: The file.
        as_numbers: Leave the numbers as they are stored, as labels need them. Else those of a palette become
            colours, and integers of which 0 is white are inverted, save in files whose palettes say no more
            than how to show intensities (ImageJ, OME-TIFF).

    Raises:
        InputError: The file is truncated or damaged, holds several images of full size, lacks planes that
            its metadata name, or holds colours that are neither RGB nor a palette.
    """
    import tifffile

    try:
        with _complaints() as complaints, tifffile.TiffFile(path) as tif:
            raw, page = (_read_member(tif, path) if tif.is_ome else None) or _read_series(tif, path)
            if not as_numbers:
                raw = _in_colour(raw, page, _meaning(page, path), shown=bool(tif.is_ome or tif.is_imagej))
            tag = None if tif.is_ome or tif.is_imagej else page.tags.get(TAG)
            raw = raw if tag is None else upright(raw, int(tag.value))
    except BadFileError:
        raise
    except Exception as error:  # whatever damaged bytes lead to
        raise damaged(path, error) from error
    if complaints:
        raise damaged(path, complaints[0])
    return raw


def write_tiff(path: Path, pixels: np.ndarray, axes: str, spacing_um: Spacing | None = None) -> None:
    """Write `pixels` as a deflate-compressed TIFF that says its `axes`, and its pixel size along y and x."""
    import tifffile

    # Pixels per centimetre, first along x.
    resolution = None if spacing_um is None else (1e4 / spacing_um[-1], 1e4 / spacing_um[-2])
    tifffile.imwrite(
        path,
        pixels,
        compression="zlib",
        compressionargs={"level": _LEVEL},
        photometric="minisblack",
        metadata={"axes": axes},
        resolution=resolution,
        resolutionunit=resolution and "CENTIMETER",
    )


class _Collector(logging.Handler):
    """Keeps what is logged by one thread."""

    def __init__(self) -> None:
        super().__init__()
        self.thread = threading.get_ident()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        grave = record.levelno >= logging.ERROR or "Missing data are zeroed" in message
        if record.thread == self.thread and grave:
            self.messages.append(message)


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


def _read_series(tif: Any, path: Path) -> tuple[Raw, Any]:
    """The image of a file that is complete in itself, and the page that says how to read it."""
    series = tif.series[0]
    rivals = [other for other in tif.series[1:] if np.prod(other.shape) >= np.prod(series.shape)]
    if rivals:
        shapes = ", ".join(str(other.shape) for other in tif.series)
        msg = f"{path} holds several images (shapes {shapes}); expected one. Save each as its own file."
        raise BadFileError("several images", msg)
    if tif.is_ome:
        channels, sizes = _names(_first_pixels(tif)), _sizes(_first_pixels(tif))
    else:
        channels, sizes = (), _from_imagej(tif) if tif.is_imagej else {}
    _meaning(series.keyframe, path)
    return Raw(series.asarray(), _letters(series.axes), channels, sizes), series.keyframe


def _letters(axes: str) -> str:
    return "".join(letter if letter in _LETTERS else "?" for letter in axes)


def _meaning(page: Any, path: Path) -> int:
    """What the numbers of a page mean: `_WHITE_IS_ZERO`, `_BLACK_IS_ZERO`, `_RGB` or `_PALETTE`.

    Raises:
        InputError: Something else, which no decoder makes RGB.
    """
    kind = int(page.photometric)
    if kind == _MASK or (kind == _WHITE_IS_ZERO and _PHOTOMETRIC not in page.tags):
        return _BLACK_IS_ZERO
    if kind == _YCBCR and page.compression in _JPEG:
        return _RGB
    several = page.samplesperpixel > 1
    if kind in (_BLACK_IS_ZERO, _RGB) or (kind in (_WHITE_IS_ZERO, _PALETTE) and not several):
        return kind
    name = getattr(page.photometric, "name", kind)
    msg = (
        f"{path} holds colours of the kind {name}; expected grey, RGB or a palette. Save an image as RGB,"
        " labels as one grey channel."
    )
    raise BadFileError("unusable values", msg)


def _in_colour(raw: Raw, page: Any, kind: int, *, shown: bool) -> Raw:
    """`raw` with numbers that mean brightness, or colours named as such.

    Args:
        raw: As stored.
        page: One of its pages.
        kind: What its numbers mean.
        shown: Whether palettes say no more than how to show the numbers.
    """
    if kind == _WHITE_IS_ZERO and not shown:
        return replace(raw, pixels=_inverted(raw.pixels, page.bitspersample))
    if kind == _PALETTE and not shown:
        colours = np.asarray(page.colormap).T
        colours = (colours >> 8 if colours.max() > 255 else colours).astype(np.uint8)
        return replace(raw, pixels=colours[raw.pixels], axes=f"{raw.axes}S")
    return _samples(raw, page, RGB if kind == _RGB else ())


def _inverted(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Integers that count from black, of those that count from white; others have no brightness."""
    if pixels.dtype.kind == "u":
        return pixels.dtype.type(2**bits - 1) - pixels
    return ~pixels if pixels.dtype.kind == "i" else pixels


def _samples(raw: Raw, page: Any, colours: tuple[str, ...]) -> Raw:
    """`raw` whose samples are colours or an alpha where the file says so, else plain channels."""
    if "S" not in raw.axes:
        return raw
    axis = raw.axes.index("S")
    count = raw.pixels.shape[axis]
    alpha = page.extrasamples[-1:] != () and page.extrasamples[-1] in _ALPHA
    if colours and count == len(colours) + 1:
        # OpenCV writes an alpha without saying so; where it is opaque, it says nothing either way.
        alpha = alpha or np.ptp(raw.pixels.take(-1, axis)) == 0
    if not colours and not alpha:
        return raw if "C" in raw.axes else replace(raw, axes=raw.axes.replace("S", "C"))
    names = colours + tuple(f"channel {index}" for index in range(len(colours), count))
    if alpha:
        names = ("grey", "alpha") if count == 2 else (*names[:-1], "alpha")
    return replace(raw, channels=names)


@dataclass(frozen=True)
class _Planes:
    """Where OME-XML says that the planes of one image lie."""

    pixels: Any
    """Its element ``Pixels``."""

    own: dict[tuple[int, ...], int]
    """Page of this file, by the plane's numbers along ``T``, ``C``, ``Z``."""

    lost: tuple[tuple[int, ...], ...]
    """Planes that should lie in this file and do not."""

    elsewhere: frozenset[str]
    """Names of the other files that hold planes."""


def _root(tif: Any) -> Any:
    from xml.etree import ElementTree

    return ElementTree.fromstring(tif.ome_metadata or "")


def _first_pixels(tif: Any) -> Any:
    return _root(tif).find("{*}Image/{*}Pixels")


def _read_member(tif: Any, path: Path) -> tuple[Raw, Any] | None:
    """The image of one file of a set of OME-TIFF files, and a page of it; None when the file is no such one.

    Raises:
        InputError: Planes are missing, or the file holds none or several images.
    """
    root = _root(tif)
    found = [_planes(pixels, tif, path, root.get("UUID")) for pixels in root.findall("{*}Image/{*}Pixels")]
    elsewhere = sorted(set().union(*(image.elsewhere for image in found)))
    mine = [image for image in found if image.own or image.lost] if elsewhere else found[:1]
    for image in mine:
        _refuse_lost(image, path)
    if not elsewhere:
        return None
    if len(mine) != 1:
        what = "several images" if mine else f"no planes of its own, but speaks of {', '.join(elsewhere[:3])}"
        msg = f"{path}, one of a set of OME-TIFF files, holds {what}. Export each image as its own file."
        raise BadFileError("several images", msg)
    (image,) = mine
    places = sorted(image.own)
    along = [sorted(set(numbers)) for numbers in zip(*places, strict=True)]
    shape = [len(numbers) for numbers in along]
    if np.prod(shape) != len(places):
        msg = f"{path} holds {len(places)} planes that make no full stack. Export the image as one file."
        raise BadFileError("ambiguous axes", msg)
    pages = [tif.pages[image.own[place]] for place in places]
    _meaning(pages[0], path)
    stack = np.stack([page.asarray() for page in pages]).reshape(*shape, *pages[0].shape)
    names = _names(image.pixels)
    kept = tuple(names[number] for number in along[1]) if len(names) > along[1][-1] else ()
    return Raw(stack, "TCZ" + _letters(pages[0].axes), kept, _sizes(image.pixels)), pages[0]


def _planes(pixels: Any, tif: Any, path: Path, uuid: str | None) -> _Planes:
    order = pixels.get("DimensionOrder", "XYCZT")[:1:-1]
    channel = pixels.find("{*}Channel")
    samples = 1 if channel is None else int(channel.get("SamplesPerPixel", 1))
    shape = [int(pixels.get(f"Size{letter}", 1)) // (samples if letter == "C" else 1) for letter in order]
    own: dict[int, int] = {}
    lost: set[int] = set()
    elsewhere: set[str] = set()
    entries = pixels.findall("{*}TiffData")
    for entry in entries:
        file = entry.find("{*}UUID")
        if file is not None and file.text != uuid and file.get("FileName", "").lower() != path.name.lower():
            elsewhere.add(file.get("FileName", "a file without name"))
            continue
        first = int(np.ravel_multi_index([int(entry.get(f"First{letter}", 0)) for letter in order], shape))
        default = len(tif.pages) if entry.get("IFD") is None else 1
        count = int(entry.get("PlaneCount", entry.get("NumPlanes", default)))
        for step in range(min(count, int(np.prod(shape)) - first)):
            page = int(entry.get("IFD", 0)) + step
            if page < len(tif.pages):
                own[first + step] = page
            else:
                lost.add(first + step)
    if entries and not elsewhere:
        lost |= set(range(int(np.prod(shape)))) - set(own)

    def place(plane: int) -> tuple[int, ...]:
        numbers = dict(zip(order, np.unravel_index(plane, shape), strict=True))
        return tuple(int(numbers[letter]) for letter in "TCZ")

    places = {place(plane): page for plane, page in own.items()}
    return _Planes(pixels, places, tuple(sorted(place(plane) for plane in lost)), frozenset(elsewhere))


def _refuse_lost(image: _Planes, path: Path) -> None:
    if not image.lost:
        return
    names = _names(image.pixels)
    shown = [
        f"channel {names[c] if c < len(names) else c}, z {z}, time {t}" for t, c, z in image.lost[:3]
    ] + ["..."] * (len(image.lost) > 3)
    msg = (
        f"{path} lacks {len(image.lost)} of the planes that its OME-XML names ({'; '.join(shown)}; counted"
        " from 0). Copy or export it again, with all planes in one file."
    )
    raise BadFileError("truncated file", msg)


def _names(pixels: Any) -> tuple[str, ...]:
    """Channel names in OME-XML; empty where one has none."""
    names = () if pixels is None else [channel.get("Name", "") for channel in pixels.findall("{*}Channel")]
    return tuple(names) if all(names) else ()


def _sizes(pixels: Any) -> dict[str, float]:
    """Pixel sizes in OME-XML, in micrometres."""
    sizes: dict[str, float] = {}
    if pixels is None:
        return sizes
    for letter in "ZYX":
        scale = MICROMETRES.get(pixels.get(f"PhysicalSize{letter}Unit", "µm").lower())
        size = pixels.get(f"PhysicalSize{letter}")
        if size and scale:
            sizes[letter] = float(size) * scale
    return sizes


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
