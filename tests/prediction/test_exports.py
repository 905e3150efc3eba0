import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from morula.errors import InputError
from morula.prediction.exports import write_geojson, write_rois
from rings import fill


def decode_roi(data: bytes) -> tuple[list[np.ndarray], int]:
    """Rings ``(n, 2)`` in ``y, x`` and the plane, read by the table in ImageJ's RoiDecoder."""
    assert data[:4] == b"Iout"
    version, kind = struct.unpack_from(">HB", data, 4)
    assert version >= 217
    top, left, bottom, right, count = struct.unpack_from(">5H", data, 8)
    floats, position = struct.unpack_from(">I", data, 36)[0], struct.unpack_from(">I", data, 56)[0]
    if floats:
        assert kind == 1
        path = np.frombuffer(data, ">f4", floats, 64).tolist()
        rings: list[list[tuple[int, int]]] = []
        while path:
            code = path.pop(0)
            if code == 4:
                continue
            x, y = int(path.pop(0)), int(path.pop(0))
            if code == 0:
                rings.append([])
            rings[-1].append((y, x))
        return [np.array(ring) for ring in rings], position
    assert kind == 0
    x, y = np.frombuffer(data, ">u2", 2 * count, 64).astype(int).reshape(2, count)
    assert (x.max(), y.max()) == (right - left, bottom - top)
    return [np.column_stack([y + top, x + left])], position


def with_pieces() -> np.ndarray:
    labels = np.zeros((12, 14), np.int32)
    labels[1:6, 1:6] = 1
    labels[1, 1] = 0
    labels[3, 3] = 0
    labels[4:11, 8:13] = 7
    labels[0:2, 10] = 7
    labels[6:9, 9:12] = 0
    labels[7, 10] = 7
    labels[9:11, 2:5] = 70_000
    return labels


def test_rois_give_back_the_labels(tmp_path: Path):
    labels = with_pieces()
    write_rois(tmp_path / "rois.zip", labels)
    found = np.zeros_like(labels)
    with zipfile.ZipFile(tmp_path / "rois.zip") as file:
        assert sorted(file.namelist()) == ["000001.roi", "000007.roi", "070000.roi"]
        for name in file.namelist():
            rings, position = decode_roi(file.read(name))
            assert position == 0
            found[fill(rings, labels.shape)] = int(name[:6])
    np.testing.assert_array_equal(found, labels)


def test_rois_of_a_volume_name_their_plane(tmp_path: Path):
    labels = np.zeros((3, 12, 14), np.int32)
    labels[1] = with_pieces()
    labels[2, :4, :4] = 1
    write_rois(tmp_path / "rois.zip", labels)
    found = np.zeros_like(labels)
    with zipfile.ZipFile(tmp_path / "rois.zip") as file:
        for name in file.namelist():
            rings, position = decode_roi(file.read(name))
            found[position - 1][fill(rings, labels.shape[1:])] = int(name[:6])
    np.testing.assert_array_equal(found, labels)


def test_images_too_large_for_imagej_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="Export geojson"):
        write_rois(tmp_path / "rois.zip", np.zeros((1, 60_001), np.int32))
    assert not list(tmp_path.iterdir())


def test_geojson_gives_back_the_labels(tmp_path: Path):
    labels = with_pieces()
    write_geojson(tmp_path / "a.geojson", labels, {1: 0.25, 7: 0.5})
    collection = json.loads((tmp_path / "a.geojson").read_text())
    assert collection["type"] == "FeatureCollection"
    found = np.zeros_like(labels)
    for feature in collection["features"]:
        kind, polygons = feature["geometry"]["type"], feature["geometry"]["coordinates"]
        polygons = polygons if kind == "MultiPolygon" else [polygons]
        assert all(ring[0] == ring[-1] for polygon in polygons for ring in polygon)
        for polygon in polygons:
            # Holes lie in their own polygon: each fills by itself.
            inside = fill([np.array(ring)[:-1, ::-1] for ring in polygon], labels.shape)
            found[inside] = int(feature["properties"]["name"])
    np.testing.assert_array_equal(found, labels)
    kinds = [feature["geometry"]["type"] for feature in collection["features"]]
    assert kinds == ["Polygon", "MultiPolygon", "Polygon"]
    properties = collection["features"][0]["properties"]
    assert properties == {"objectType": "detection", "name": "1", "measurements": {"confidence": 0.25}}


def test_geojson_of_a_volume_names_its_plane(tmp_path: Path):
    labels = np.zeros((3, 4, 4), np.int32)
    labels[2, 1:3, 1:3] = 5
    write_geojson(tmp_path / "a.geojson", labels)
    (feature,) = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert feature["geometry"] == {
        "type": "Polygon",
        "coordinates": [[[1, 1], [3, 1], [3, 3], [1, 3], [1, 1]]],
        "plane": {"c": -1, "z": 2, "t": 0},
    }
