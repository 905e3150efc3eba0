"""NIfTI, plain and compressed."""

import gzip
import zlib
from pathlib import Path
from typing import Any, cast

import numpy as np

from morula.data.axes import Raw
from morula.data.files import read_bytes, read_start, write_atomic
from morula.data.problems import damaged
from morula.types import Labels

_TOLERANCE = 0.1
"""Voxels by which two grids may lie apart: headers are stored in single precision."""

_GZIP = b"\x1f\x8b"

_MICROMETRES = {"mm": 1e3, "micron": 1.0, "meter": 1e6}


def read_nifti(path: Path) -> Raw:
    """A NIfTI volume in the order ``(z, y, x)``: the file's axes reversed, never reoriented.

    A file that leaves the unit open means millimetres, as NIfTI readers agree.

    Raises:
        InputError: The file is truncated, damaged or no NIfTI.
    """
    content = read_bytes(path)
    if not content.startswith(_GZIP):
        return _parse(path, content)
    import imagecodecs

    try:
        # libdeflate is 5 to 10 times as fast as zlib, but knows neither several members nor what is cut off.
        return _parse(path, cast("bytes", imagecodecs.gzip_decode(content)))
    except (RuntimeError, SystemError, ValueError, MemoryError):
        pass
    try:
        inflated = gzip.decompress(content)
    except Exception as error:  # whatever damaged bytes lead to
        raise damaged(path, error) from error
    return _parse(path, inflated)


def is_nifti(path: Path) -> bool:
    """Whether the name says so."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def compare_places(path: Path, other: Path) -> str:
    """How two NIfTI files of equal shape lie apart in space, as their headers say; empty when they do not.

    They agree when each corner of the grid lies at the same place, to a tenth of a voxel. Numbers are in the
    order ``x y z`` and in the unit of the headers (mm, as a rule), as other programs show them.

    Raises:
        InputError: A file is missing or cannot be read.
    """
    (shape, one), (_, two) = _header(path), _header(other)
    lengths = (*shape, 1, 1, 1)[:3]
    # Corners of the grid in homogeneous coordinates, one per column.
    corners = np.array([(*np.multiply(corner, lengths) - corner, 1) for corner in np.ndindex(2, 2, 2)]).T
    away = np.linalg.norm(((two - one) @ corners)[:3], axis=0).max()
    ndim = min(len(shape), 3)
    sizes, others = (np.linalg.norm(affine[:3, :ndim], axis=0) for affine in (one, two))
    if away <= _TOLERANCE * min(*sizes, *others):
        return ""
    if not np.allclose(sizes, others, rtol=1e-3):
        return f"voxels of {_numbers(others)} against {_numbers(sizes)}"
    if not np.allclose(one[:3, :ndim], two[:3, :ndim], atol=1e-3 * sizes.max()):
        return "the axes point in other directions"
    return f"shifted by {_numbers((two - one)[:3, 3])}"


def _header(path: Path) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape in the file's own order, and affine, without reading the pixels."""
    start = read_start(path, 1 << 16)
    if start.startswith(_GZIP):
        start = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(start, 1024)
    header_class = _kind(start).header_class
    header = header_class(start[: header_class.sizeof_hdr], check=False)
    return tuple(header.get_data_shape()), np.asarray(header.get_best_affine(), float)


def _numbers(values: np.ndarray) -> str:
    return " x ".join(f"{value:.4g}" for value in values)


def _kind(content: bytes) -> Any:
    """The class of nibabel for version 1 or 2 of the format."""
    import nibabel

    second = content[:4] in (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c")
    return nibabel.Nifti2Image if second else nibabel.Nifti1Image


def _parse(path: Path, content: bytes) -> Raw:
    try:
        volume = _kind(content).from_bytes(content)
        pixels = np.asanyarray(volume.dataobj).T
        unit = str(volume.header.get_xyzt_units()[0])
        sizes = volume.header.get_zooms()
    except Exception as error:  # whatever damaged bytes lead to
        raise damaged(path, error) from error
    letters = "CTZYX"[-pixels.ndim :] if pixels.ndim <= 5 else "?" * pixels.ndim
    scale = _MICROMETRES.get(unit, 1e3)
    # Sizes are stored in single precision: seven digits are theirs, the rest is noise (7.6999998).
    named = zip("XYZ", sizes, strict=False)
    return Raw(pixels, letters, (), {letter: scale * float(f"{size:.7g}") for letter, size in named})


def write_nifti_labels(path: Path, labels: Labels, like: Path) -> None:
    """Write labels as NIfTI that lies in space where `like` lies; all of it or nothing.

    Args:
        path: Ends in ``.nii`` or ``.nii.gz``; missing folders are made.
        labels: Ids ``(z, y, x)`` on the grid of `like`, none negative.
        like: The image, whose header says where its voxels lie.

    Raises:
        InputError: `like` cannot be read, or the disk is full or read-only.
    """
    content = read_bytes(like)
    if content.startswith(_GZIP):
        content = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(content, 1024)
    kind = _kind(content)
    header = kind.header_class(content[: kind.header_class.sizeof_hdr], check=False)
    highest = int(labels.max(initial=0))
    dtype = np.uint8 if highest < 1 << 8 else np.uint16 if highest < 1 << 16 else np.int32
    volume = kind(labels.T.astype(dtype), None, header)
    # The header is the image's: its numbers are not those of labels.
    volume.header.set_data_dtype(dtype)
    volume.header.set_slope_inter(1, 0)
    volume.header["cal_min"], volume.header["cal_max"] = 0, 0
    raw = volume.to_bytes()
    with write_atomic(path) as part:
        part.write_bytes(gzip.compress(raw, 4, mtime=0) if path.name.lower().endswith(".gz") else raw)
