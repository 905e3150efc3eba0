"""Objects for other programs: ImageJ's ROI Manager and QuPath, exact to the pixel edge.

The ``.roi`` format is documented in ImageJ's source, ``ij/io/RoiDecoder.java`` of
https://github.com/imagej/ImageJ; GeoJSON is RFC 7946 with the members that QuPath reads (``objectType``,
``measurements``, ``plane``).
"""

import json
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from morula.data.files import write_atomic, write_text
from morula.errors import InputError
from morula.labels.outlines import Outlines, outlines
from morula.types import Labels

IMAGEJ_LIMIT_PX = 60_000
"""ImageJ stores coordinates in 16 bits and reads the highest of them as negative numbers."""

_POLYGON, _COMPOSITE = 0, 1
_MOVE, _LINE, _CLOSE = 0.0, 1.0, 4.0
_VERSION = 227


def write_rois(path: Path, labels: Labels) -> None:
    """A zip of one ``.roi`` per object (3D: per object and plane), named by id, for ImageJ's ROI Manager.

    Args:
        path: The zip file; written as a whole or not at all.
        labels: Ids ``(*spatial)``.

    Raises:
        InputError: The image is larger than the format allows, or the file cannot be written.
    """
    check_rois(labels)
    with (
        write_atomic(path) as part,
        zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as file,
    ):
        for plane, found in _planes(labels):
            for id_, rings in found.objects().items():
                name = f"{id_:06d}" if labels.ndim == 2 else f"{id_:06d}-{plane + 1:04d}"
                corners = [found.ring(ring) for ring in rings]
                file.writestr(f"{name}.roi", encode_roi(corners, plane + 1 if labels.ndim == 3 else 0))


def check_rois(labels: Labels) -> None:
    """Refuse images that are too large for ImageJ's ROIs.

    Raises:
        InputError: A side is longer than the format's coordinates.
    """
    if max(labels.shape[-2:]) > IMAGEJ_LIMIT_PX:
        msg = f"ImageJ's ROIs end at {IMAGEJ_LIMIT_PX} px and the image has {labels.shape}. Export geojson."
        raise InputError(msg)


def encode_roi(rings: list[np.ndarray], position: int = 0) -> bytes:
    """One object as the bytes of a ``.roi`` file: a polygon, or a composite when it has pieces or holes.

    Args:
        rings: Corners ``(n, 2)`` in ``y, x`` of each outline and hole.
        position: Plane in the stack, from 1; 0 when there is only one.
    """
    joined = np.concatenate(rings)
    (top, left), (bottom, right) = joined.min(0).tolist(), joined.max(0).tolist()
    if len(rings) == 1 and len(joined) < 1 << 16:
        kind, count, floats = _POLYGON, len(joined), b""
        columns = np.concatenate([joined[:, 1] - left, joined[:, 0] - top])
        body = columns.astype(">u2").tobytes()
    else:
        path = np.concatenate([_segments(ring) for ring in rings])
        kind, count, floats = _COMPOSITE, 0, struct.pack(">I", len(path))
        body = path.astype(">f4").tobytes()
    header = struct.pack(">4sHBxHHHHH", b"Iout", _VERSION, kind, top, left, bottom, right, count)
    header = header.ljust(36, b"\0") + floats
    header = header.ljust(56, b"\0") + struct.pack(">I", position)
    return header.ljust(64, b"\0") + body


def _segments(ring: np.ndarray) -> np.ndarray:
    """Move to the first corner, lines to the others, close: ``code, x, y`` as Java's paths store them."""
    codes = np.full(len(ring), _LINE)
    codes[0] = _MOVE
    return np.append(np.column_stack([codes, ring[:, 1], ring[:, 0]]).ravel(), _CLOSE)


def write_geojson(path: Path, labels: Labels, confidence: Mapping[int, float] | None = None) -> None:
    """All objects as detections of a GeoJSON feature collection that QuPath imports.

    Args:
        path: The file; written as a whole or not at all.
        labels: Ids ``(*spatial)``; coordinates are pixels of this image.
        confidence: A measurement that each detection gets.

    Raises:
        InputError: The file cannot be written.
    """
    scores = confidence or {}
    features = [
        _feature(id_, found, rings, plane if labels.ndim == 3 else None, scores.get(id_))
        for plane, found in _planes(labels)
        for id_, rings in found.objects().items()
    ]
    collection = {"type": "FeatureCollection", "features": features}
    write_text(path, json.dumps(collection, separators=(",", ":")))


def _planes(labels: Labels) -> Iterator[tuple[int, Outlines]]:
    for plane, image in enumerate(labels[None] if labels.ndim == 2 else labels):
        yield plane, outlines(image)


def _feature(
    id_: int, found: Outlines, rings: list[int], plane: int | None, confidence: float | None
) -> dict[str, Any]:
    polygons = _polygons(found, rings)
    geometry: dict[str, Any] = {"type": "MultiPolygon", "coordinates": polygons}
    if len(polygons) == 1:
        geometry = {"type": "Polygon", "coordinates": polygons[0]}
    if plane is not None:
        geometry["plane"] = {"c": -1, "z": plane, "t": 0}
    properties: dict[str, Any] = {"objectType": "detection", "name": str(id_)}
    if confidence is not None:
        properties["measurements"] = {"confidence": round(confidence, 4)}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def _polygons(found: Outlines, rings: list[int]) -> list[list[list[list[int]]]]:
    """Each outline with the holes inside it, as closed rings of ``x, y``."""
    outer = sorted((ring for ring in rings if found.areas[ring] > 0), key=lambda ring: int(found.areas[ring]))
    polygons = {ring: [_closed(found, ring)] for ring in outer}
    for hole in (ring for ring in rings if found.areas[ring] < 0):
        polygons[_around(found, outer, hole)].append(_closed(found, hole))
    return list(polygons.values())


def _around(found: Outlines, outer: list[int], hole: int) -> int:
    """The smallest outline around a hole."""
    y, x = min(found.ring(hole).tolist())
    for ring in outer:
        contour = found.ring(ring)[:, ::-1].reshape(-1, 1, 2)
        # The middle of the hole's first pixel: its corner may lie on the outline itself.
        if cv2.pointPolygonTest(contour, (x + 0.5, y + 0.5), False) > 0:
            return ring
    return outer[-1]


def _closed(found: Outlines, ring: int) -> list[list[int]]:
    corners = found.ring(ring)[:, ::-1].tolist()
    return [*corners, corners[0]]
