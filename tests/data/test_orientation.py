"""Images come as viewers show them."""

import struct
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile

from morula.data.axes import Raw
from morula.data.formats import read_image, read_labels
from morula.data.orientation import orientation_of_jpeg, upright

ROWS = np.array([[1, 2, 3], [4, 5, 6]])

# Exif 2.32: where the first row and the first column of the stored image belong.
UPRIGHT = {
    1: [[1, 2, 3], [4, 5, 6]],  # top, left
    2: [[3, 2, 1], [6, 5, 4]],  # top, right
    3: [[6, 5, 4], [3, 2, 1]],  # bottom, right
    4: [[4, 5, 6], [1, 2, 3]],  # bottom, left
    5: [[1, 4], [2, 5], [3, 6]],  # left, top
    6: [[4, 1], [5, 2], [6, 3]],  # right, top
    7: [[6, 3], [5, 2], [4, 1]],  # right, bottom
    8: [[3, 6], [2, 5], [1, 4]],  # left, bottom
}


def exif(orientation: int, order: str = "<") -> bytes:
    """A directory of two entries, the second of which is the orientation."""
    entries = ((256, 4, 1, 77), (274, 3, 1, orientation))
    content = b"".join(
        struct.pack(order + ("HHIH2x" if kind == 3 else "HHII"), tag, kind, count, value)
        for tag, kind, count, value in entries
    )
    head = b"II*\0" if order == "<" else b"MM\0*"
    return b"Exif\0\0" + head + struct.pack(order + "IH", 8, 2) + content + bytes(4)


def photograph(path: Path, pixels: np.ndarray, app1: bytes) -> None:
    """A JPEG with one more segment APP1."""
    content = imagecodecs.jpeg_encode(pixels, level=100)
    place = 4 + int.from_bytes(content[4:6], "big") if content[2:4] == b"\xff\xe0" else 2
    segment = b"\xff\xe1" + (len(app1) + 2).to_bytes(2, "big") + app1
    path.write_bytes(content[:place] + segment + content[place:])


def scene() -> np.ndarray:
    """Smooth, and different in each corner."""
    y, x = np.mgrid[:24, :40]
    return np.stack([5 * y + 20, 4 * x + 20, y + 3 * x], -1).astype(np.uint8)


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_every_orientation(orientation: int) -> None:
    raw = Raw(ROWS, "YX", sizes_um={"Y": 2.0, "X": 3.0})
    turned = upright(raw, orientation)
    assert turned.pixels.tolist() == UPRIGHT[orientation]
    assert turned.sizes_um == ({"Y": 3.0, "X": 2.0} if orientation > 4 else raw.sizes_um)
    colour = upright(Raw(np.stack([ROWS] * 3, -1), "YXS"), orientation)
    assert colour.pixels[..., 2].tolist() == UPRIGHT[orientation]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_photographs_are_read_as_opencv_shows_them(orientation: int, order: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    photograph(path, scene(), exif(orientation, order))
    shown = cv2.imread(str(path))[..., ::-1].transpose(2, 0, 1).astype(int)
    found = read_image(path).pixels
    assert found.shape == shown.shape == (3, 40, 24) if orientation > 4 else (3, 24, 40)
    assert np.abs(found - shown).max() <= 4  # another inverse cosine transform


@pytest.mark.parametrize(
    "app1", [b"Exif\0\0", exif(6)[:-20], exif(9), exif(0), b"http://ns.adobe.com/xap", b""]
)
def test_what_makes_no_sense_turns_nothing(app1: bytes, tmp_path: Path) -> None:
    photograph(tmp_path / "a.jpg", scene(), app1)
    assert read_image(tmp_path / "a.jpg").pixels.shape == (3, 24, 40)
    assert orientation_of_jpeg((b"\xff\xd8\xff\xe1\0\0" + app1)[:9]) == 1


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_tiff_and_its_labels_come_upright(orientation: int, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, ROWS.astype(np.uint8), metadata=None, extratags=[(274, 3, 1, orientation, True)])
    assert read_image(path).pixels[0].tolist() == UPRIGHT[orientation]
    assert read_labels(path).tolist() == UPRIGHT[orientation]


def test_ome_tiff_stays_as_its_programs_show_it(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, ROWS.astype(np.uint8), ome=True, extratags=[(274, 3, 1, 6, True)])
    assert read_image(path).pixels[0].tolist() == ROWS.tolist()
