"""Images and labels from files of any known format, and labels back into files."""

from pathlib import Path

import numpy as np

from morula.data.axes import Raw, arrange_image, arrange_labels, show
from morula.data.files import read_start, write_atomic
from morula.data.nifti import is_nifti, read_nifti
from morula.data.numpy_file import read_numpy
from morula.data.ome_zarr import is_zarr, read_zarr
from morula.data.problems import BadFileError
from morula.data.raster import read_raster
from morula.data.sample import Image
from morula.data.tiff import read_tiff, write_tiff
from morula.errors import InputError
from morula.types import Labels, PathLike, Spacing

__all__ = [
    "IMAGE_SUFFIXES",
    "is_image_name",
    "read_image",
    "read_labels",
    "stem_of",
    "write_atomic",
    "write_labels",
]

IMAGE_SUFFIXES = (
    ".ome.tiff",
    ".ome.tif",
    ".tiff",
    ".tif",
    ".png",
    ".jpg",
    ".jpeg",
    ".bmp",
    ".npy",
    ".npz",
    ".nii.gz",
    ".nii",
    ".ome.zarr",
    ".zarr",
)
"""Suffixes of images that can be read, the longest first; ``.zarr`` is a folder."""

_TIFF_MAGIC = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_JPEG_MAGIC = b"\xff\xd8\xff"


def is_image_name(path: Path) -> bool:
    """Whether the name ends in one of `IMAGE_SUFFIXES` and is not hidden."""
    return path.name.lower().endswith(IMAGE_SUFFIXES) and not path.name.startswith(".")


def stem_of(path: Path) -> str:
    """The file's name without its image suffix: ``a.ome.tif`` and ``a.nii.gz`` are ``a``.

    >>> stem_of(Path("cells/a.nii.gz"))
    'a'
    """
    lower = path.name.lower()
    suffix = next((suffix for suffix in IMAGE_SUFFIXES if lower.endswith(suffix)), path.suffix)
    return path.name[: len(path.name) - len(suffix)]


def read_image(
    path: PathLike | tuple[PathLike, ...],
    *,
    axes: str | None = None,
    channels: tuple[str, ...] | None = None,
    spacing_um: Spacing | None = None,
) -> Image:
    """Read one image; what is given by option goes before what the file says.

    But for what is meant for other files of a folder: colours stay colours, axes that are fewer or more than
    the option's stay as they are, and channel names that the file has in another order are refused.

    Args:
        path: The file, or one file per channel (each with a single channel and the same shape).
        axes: One letter of ``C Z Y X`` (``S``: RGB samples) per axis of the stored array, in its order.
        channels: One name per channel.
        spacing_um: Micrometres per pixel, one number or one per spatial axis in the order ``z y x``.

    Returns:
        Pixels ``(C, *spatial)`` in the file's own dtype (booleans as uint8). An opaque alpha channel is
        dropped.

    Raises:
        InputError: The file is missing, damaged or of an unknown format, its axes are ambiguous, or the
            file contradicts an option.
    """
    if isinstance(path, PathLike):
        return arrange_image(_read(Path(path)), str(path), axes, channels, spacing_um)
    if len(path) == 1:
        return read_image(path[0], axes=axes, channels=channels, spacing_um=spacing_um)
    parts = [read_image(part, axes=axes, spacing_um=spacing_um) for part in path]
    for part, file in zip(parts, path, strict=True):
        if part.pixels.shape[0] != 1 or part.pixels.shape != parts[0].pixels.shape:
            msg = (
                f"{file} has shape {part.pixels.shape}, {path[0]} has {parts[0].pixels.shape}; expected one"
                " channel per file and equal shapes. Export the channels again."
            )
            raise BadFileError("wrong shape", msg)
    names = tuple(part.channels[0] for part in parts)
    joined = Raw(
        np.concatenate([part.pixels for part in parts]),
        "CZYX" if parts[0].ndim == 3 else "CYX",
        () if "grey" in names else names,
    )
    return arrange_image(joined, show(path), joined.axes, channels, spacing_um or parts[0].spacing_um)


def as_image(
    array: np.ndarray,
    *,
    axes: str | None = None,
    channels: tuple[str, ...] | None = None,
    spacing_um: Spacing | None = None,
) -> Image:
    """An image from an array in memory, by the rules by which files are read.

    Args:
        array: Pixels in any number type; two axes are ``Y X``.
        axes: One letter of ``C Z Y X`` (``S``: RGB samples) per axis; needed from three axes on.
        channels: One name per channel.
        spacing_um: Micrometres per pixel, one number or one per spatial axis in the order ``z y x``.

    Raises:
        InputError: Three or more axes without `axes`, or values that no image has.

    Example:
        >>> as_image(np.zeros((4, 5, 3), np.uint8), axes="YXS").pixels.shape
        (3, 4, 5)
    """
    return arrange_image(Raw(array, "?" * array.ndim), "the array", axes, channels, spacing_um)


def read_labels(
    path: PathLike | tuple[PathLike, ...], *, axes: str | None = None, ignore_label: int | None = None
) -> Labels:
    """Read instance ids, with the ids of the file.

    Args:
        path: The label file, or one mask file per object (non-zero is inside; ids are 1, 2, ... in the order
            given, a later object lies over an earlier one).
        axes: One letter of ``Z Y X`` per axis of the stored array; three axes without metadata are ``Z Y X``.
        ignore_label: The stored value that means "not annotated"; becomes -1.

    Returns:
        Ids ``(*spatial)``: 0 background, -1 not annotated.

    Raises:
        InputError: Not labels: colours, fractions, negative ids, or a damaged file.
    """
    if isinstance(path, PathLike):
        return to_labels(read_ids(path, axes=axes), str(path), ignore_label)
    if len(path) == 1:
        return read_labels(path[0], axes=axes, ignore_label=ignore_label)
    labels = np.zeros((), np.int32)
    for number, part in enumerate(path, 1):
        inside = read_ids(part, axes=axes) != 0
        if number == 1:
            labels = np.zeros(inside.shape, np.int32)
        if inside.shape != labels.shape:
            msg = f"{part} has shape {inside.shape}, {path[0]} has {labels.shape}. Export the masks again."
            raise BadFileError("wrong shape", msg)
        labels[inside] = number
    return labels


def read_ids(path: PathLike, *, axes: str | None = None) -> np.ndarray:
    """Read one label file as ``(*spatial)``, in the number type of the file and unchecked.

    Raises:
        InputError: The file is missing or damaged, a JPEG, holds colours, or its axes are ambiguous.
    """
    if Path(path).is_file() and read_start(Path(path), 3) == _JPEG_MAGIC:
        msg = f"{path} is a JPEG, whose compression changes ids. Export the labels anew as TIFF or PNG."
        raise BadFileError("lossy labels", msg)
    return arrange_labels(_read(Path(path), as_numbers=True), str(path), axes)


def to_labels(pixels: np.ndarray, name: str, ignore_label: int | None = None) -> Labels:
    """`pixels` as int32 ids, `ignore_label` as -1.

    Raises:
        InputError: Fractions, negative ids, or ids beyond 2147483647.
    """
    if pixels.dtype.kind == "b":
        return pixels.astype(np.int32)
    if pixels.dtype.kind not in "uif":
        msg = f"{name} holds {pixels.dtype} values; expected integer ids. Save labels as integers."
        raise BadFileError("unusable values", msg)
    # A fill value at the end of the number range may well be the ignore label.
    counted = True if ignore_label is None else pixels != ignore_label
    low, high = np.min(pixels, where=counted, initial=0), np.max(pixels, where=counted, initial=0)
    if pixels.dtype.kind == "f" and not (np.isfinite([low, high]).all() and (pixels % 1 == 0).all()):
        msg = f"{name} holds fractions, NaN or infinity; expected integer ids. Save labels as integers."
        raise BadFileError("fractional labels", msg)
    if high > np.iinfo(np.int32).max:
        msg = f"{name} holds ids up to {high}; expected at most 2147483647. Renumber the objects."
        raise BadFileError("ids too large", msg)
    if low < 0:
        msg = (
            f"{name} holds negative ids (down to {low}); expected 0 for background and positive ids."
            " If a negative number means 'not annotated', say so with 'ignore_label' in dataset.toml."
        )
        raise BadFileError("negative ids", msg)
    labels = pixels.astype(np.int32)
    if ignore_label is not None:
        labels[pixels == ignore_label] = -1
    return labels


def write_labels(path: PathLike, labels: Labels, spacing_um: Spacing | None = None) -> None:
    """Write instance ids as a deflate-compressed TIFF, uint16, or uint32 beyond 65,535; all of it or nothing.

    Args:
        path: Ends in ``.tif`` or ``.tiff``; missing folders are made.
        labels: Ids ``(*spatial)``, none negative.
        spacing_um: Micrometres per pixel and spatial axis; those along y and x are written, if any are.

    Raises:
        InputError: Negative ids, another suffix, or the disk is full or read-only.
    """
    path = Path(path)
    if path.suffix.lower() not in (".tif", ".tiff"):
        msg = f"{path}: labels are written as TIFF. Choose a name that ends in .tif."
        raise InputError(msg)
    if labels.size and labels.min() < 0:
        msg = f"{path}: labels with negative ids cannot be written. Replace 'not annotated' by 0 first."
        raise InputError(msg)
    wide = labels.size > 0 and labels.max() > np.iinfo(np.uint16).max
    with write_atomic(path) as part:
        write_tiff(part, labels.astype(np.uint32 if wide else np.uint16), "ZYX"[-labels.ndim :], spacing_um)


def _read(path: Path, *, as_numbers: bool = False) -> Raw:
    """The array of a file by its suffix; raster images and TIFF by their content."""
    name = path.name.lower()
    if is_zarr(path):
        return read_zarr(path)
    if path.is_dir():
        msg = f"{path} is a folder; expected an image file, or a .zarr folder with Zarr metadata."
        raise BadFileError("not an image", msg)
    if not name.endswith(IMAGE_SUFFIXES):
        msg = f"{path}: images of this kind cannot be read. Known: {' '.join(sorted(IMAGE_SUFFIXES))}."
        raise BadFileError("unknown format", msg)
    if name.endswith((".npy", ".npz")):
        return read_numpy(path)
    if is_nifti(path):
        return read_nifti(path)
    if read_start(path, 4) in _TIFF_MAGIC:
        return read_tiff(path, as_numbers=as_numbers)
    return read_raster(path)
