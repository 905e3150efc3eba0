"""OME-Zarr (Zarr versions 2 and 3) and plain Zarr arrays."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from morula.data.axes import MICROMETRES, Raw
from morula.data.problems import BadFileError, damaged

_MARKS = ("zarr.json", ".zgroup", ".zarray", ".zattrs")


def is_zarr(path: Path) -> bool:
    """Whether `path` is a folder with Zarr metadata."""
    return path.is_dir() and any((path / mark).exists() for mark in _MARKS)


def read_zarr(path: Path) -> Raw:
    """The full resolution of an OME-Zarr image or label image, or a plain Zarr array (its axes are unknown).

    Raises:
        InputError: The store is damaged, or holds several images (a plate, a series).
    """
    import zarr

    try:
        node = zarr.open(path, mode="r")
        if isinstance(node, zarr.Array):
            return Raw(np.asarray(node[...]), _letters_of(node))
        return _read_group(path, node)
    except BadFileError:
        raise
    except Exception as error:  # whatever damaged bytes lead to
        raise damaged(path, error) from error


def labels_inside(path: Path) -> Path | None:
    """The label image that an OME-Zarr image carries with it; None without one.

    Raises:
        InputError: It carries several.
    """
    folder = path / "labels"
    found = sorted(child for child in folder.iterdir() if is_zarr(child)) if folder.is_dir() else []
    if len(found) > 1:
        names = ", ".join(child.name for child in found)
        msg = f"{path} carries {len(found)} label images ({names}); expected one. Keep one of them."
        raise BadFileError("several images", msg)
    return found[0] if found else None


def _read_group(path: Path, group: Any) -> Raw:
    attributes: Mapping[str, Any] = group.attrs.asdict()
    attributes = attributes.get("ome", attributes)
    scales = attributes.get("multiscales")
    if not scales:
        return _read_container(path, group)
    level = scales[0]["datasets"][0]
    array = group[level["path"]]
    axes = scales[0].get("axes") or list("tczyx")[-array.ndim :]
    names = [axis if isinstance(axis, str) else axis["name"] for axis in axes]
    units = ["" if isinstance(axis, str) else axis.get("unit", "") for axis in axes]
    factors = _scale(level, array.ndim) * _scale(scales[0], array.ndim)
    sizes = {
        name.upper(): float(factor) * MICROMETRES[unit.lower()]
        for name, unit, factor in zip(names, units, factors, strict=True)
        if unit.lower() in MICROMETRES
    }
    channels = attributes.get("omero", {}).get("channels", [])
    labels = tuple(str(channel.get("label", "")) for channel in channels)
    letters = "".join(name.upper() if name.upper() in "TCZYX" else "?" for name in names)
    return Raw(np.asarray(array[...]), letters, labels if all(labels) else (), sizes)


def _read_container(path: Path, group: Any) -> Raw:
    """A group that is no image itself: bioformats2raw puts a single image into the group ``0``."""
    if "0" in group and "1" not in group and "plate" not in group.attrs:
        inner = group["0"]
        if "multiscales" in (inner.attrs.get("ome") or inner.attrs):
            return _read_group(path / "0", inner)
    msg = (
        f"{path} is a Zarr group without an image of its own (a plate, a series or plain arrays)."
        " Give the path of one image in it, such as " + str(path / "0") + "."
    )
    raise BadFileError("several images", msg)


def _scale(node: Mapping[str, Any], ndim: int) -> np.ndarray:
    for step in node.get("coordinateTransformations", []):
        if step.get("type") == "scale":
            return np.asarray(step["scale"], float)
    return np.ones(ndim)


def _letters_of(array: Any) -> str:
    """Letters of a plain array: its dimension names when they are letters of axes."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS") or ()
    letters = "".join(str(name).upper() for name in names)
    known = len(letters) == array.ndim and set(letters) <= set("TCZYX") and len(set(letters)) == array.ndim
    return letters if known else "?" * array.ndim
