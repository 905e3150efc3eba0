"""What the numbers of a TIFF mean, and which planes are its own."""

import struct
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import tifffile

from morula.data.formats import read_image, read_labels, write_labels
from morula.data.problems import BadFileError
from morula.errors import InputError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 200, (24, 32), dtype=np.uint8)
COLOUR = RNG.integers(0, 255, (24, 32, 3), dtype=np.uint8)
COLOUR_MAP = RNG.integers(0, 256, (3, 256)).astype(np.uint16) * 257


def write(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    tifffile.imwrite(path, pixels, metadata=None, **options)
    return path


def test_palettes_become_colours_save_in_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", GREY, photometric="palette", colormap=COLOUR_MAP)
    image = read_image(path)
    assert image.channels == ("red", "green", "blue")
    np.testing.assert_array_equal(image.pixels, cv2.imread(str(path))[..., ::-1].transpose(2, 0, 1))
    np.testing.assert_array_equal(image.pixels, (COLOUR_MAP >> 8)[:, GREY])
    np.testing.assert_array_equal(read_labels(path), GREY)


def test_look_up_tables_of_imagej_only_show(tmp_path: Path) -> None:
    options = {"photometric": "palette", "colormap": COLOUR_MAP, "metadata": None}
    tifffile.imwrite(tmp_path / "a.tif", GREY, description="ImageJ=1.54f\nimages=1\n", **options)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels[0], GREY)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_white_is_zero_is_inverted_save_in_labels(dtype: type, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", GREY.astype(dtype), photometric="miniswhite")
    limits = np.iinfo(dtype)
    read = read_image(path).pixels[0].astype(int)
    np.testing.assert_array_equal(read, limits.max + limits.min - GREY.astype(int))
    np.testing.assert_array_equal(read_labels(path), GREY)


def test_white_is_zero_of_few_bits_and_of_fractions(tmp_path: Path) -> None:
    tags = {256: 4, 257: 1, 258: 4, 259: 1, 262: 0, 273: 8, 277: 1, 278: 1, 279: 2}
    entries = b"".join(struct.pack("<HHIHxx", tag, 3, 1, value) for tag, value in tags.items())
    head = struct.pack("<2sHI", b"II", 42, 10) + bytes([0x01, 0x8F])
    (tmp_path / "a.tif").write_bytes(head + struct.pack("<H", len(tags)) + entries + bytes(4))
    assert read_image(tmp_path / "a.tif").pixels.tolist() == [[[15, 14, 7, 0]]]
    fractions = write(tmp_path / "b.tif", GREY.astype(np.float32), photometric="miniswhite")
    np.testing.assert_array_equal(read_image(fractions).pixels[0], GREY)


@pytest.mark.parametrize("kind", ["separated", "cielab", "icclab", "ycbcr", "logl", "cfa"])
def test_other_colours_are_refused(kind: str, tmp_path: Path) -> None:
    count = 4 if kind == "separated" else 3
    path = write(tmp_path / "a.tif", np.dstack([COLOUR, GREY])[..., :count], photometric="rgb")
    with tifffile.TiffFile(path, mode="r+") as tif:
        tif.pages[0].tags[262].overwrite(int(tifffile.PHOTOMETRIC[kind.upper()]))
    with pytest.raises(
        BadFileError, match=f"kind {kind.upper()}; expected grey, RGB .* Save an image as RGB"
    ):
        read_image(path)


def test_jpeg_in_tiff_is_rgb(tmp_path: Path) -> None:
    smooth = np.full((32, 32, 3), (200, 30, 90), np.uint8)
    path = write(tmp_path / "a.tif", smooth, photometric="rgb", compression="jpeg")
    with tifffile.TiffFile(path) as tif:
        assert tif.pages[0].photometric == tifffile.PHOTOMETRIC.YCBCR
    image = read_image(path)
    assert image.channels == ("red", "green", "blue")
    assert np.abs(image.pixels.reshape(3, -1).astype(int).T - smooth[0, 0]).max() <= 4


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_samples_without_a_meaning_are_channels(count: int, planar: str, tmp_path: Path) -> None:
    stack = RNG.integers(0, 255, (count, 24, 32), dtype=np.uint8)
    stack[-1] = 7
    pixels = stack if planar == "separate" else stack.transpose(1, 2, 0)
    options = {"photometric": "minisblack", "planarconfig": planar, "extrasamples": [0] * (count - 1)}
    path = write(tmp_path / "a.tif", pixels, **options)
    image = read_image(path)
    np.testing.assert_array_equal(image.pixels, stack)
    assert image.channels == tuple(f"channel {index}" for index in range(count))
    assert read_image(path, channels=tuple("abcd"[:count])).channels == tuple("abcd"[:count])


def test_alpha_is_where_the_file_says_so(tmp_path: Path) -> None:
    pair = np.stack([GREY, GREY[::-1]], -1)
    path = write(tmp_path / "a.tif", pair, photometric="minisblack", extrasamples=["unassalpha"])
    assert read_image(path).channels == ("grey", "alpha")
    three = np.dstack([pair, pair[..., :1]])
    path = write(tmp_path / "b.tif", three, photometric="minisblack", extrasamples=[0, 2])
    assert read_image(path).channels == ("channel 0", "channel 1", "alpha")
    four = np.dstack([COLOUR, GREY])
    path = write(tmp_path / "c.tif", four, photometric="rgb", extrasamples=["assocalpha"])
    assert read_image(path).channels == ("red", "green", "blue", "alpha")
    path = write(tmp_path / "d.tif", four, photometric="rgb", extrasamples=["unspecified"])
    assert read_image(path).channels == ("red", "green", "blue", "channel 3")


def test_an_opaque_alpha_of_opencv_is_dropped(tmp_path: Path) -> None:
    opaque = np.dstack([COLOUR, np.full_like(GREY, 255)])
    cv2.imwrite(str(tmp_path / "a.tif"), opaque)
    image = read_image(tmp_path / "a.tif")
    assert image.channels == ("red", "green", "blue")
    np.testing.assert_array_equal(image.pixels, COLOUR[..., ::-1].transpose(2, 0, 1))


OME = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


def ome_xml(sizes: dict[str, int], planes: list[dict[str, Any]], names: list[str], uuid: str = "") -> str:
    """OME-XML of one image of 24 x 32 pixels; a plane with ``file`` lies in that one."""
    root = ElementTree.Element("OME", {"xmlns": OME} | ({"UUID": f"urn:uuid:{uuid}"} if uuid else {}))
    lengths = {f"Size{letter}": str(length) for letter, length in ({"X": 32, "Y": 24} | sizes).items()}
    image = ElementTree.SubElement(root, "Image", ID="Image:0")
    about = {"ID": "Pixels:0", "Type": "uint8", "DimensionOrder": "XYZCT", "PhysicalSizeX": "0.5"}
    pixels = ElementTree.SubElement(image, "Pixels", about | {"PhysicalSizeY": "0.5"} | lengths)
    for index, name in enumerate(names):
        ElementTree.SubElement(pixels, "Channel", ID=f"Channel:0:{index}", SamplesPerPixel="1", Name=name)
    for plane in planes:
        entry = {key: str(value) for key, value in plane.items() if key != "file"}
        data = ElementTree.SubElement(pixels, "TiffData", entry)
        if "file" in plane:
            file = ElementTree.SubElement(data, "UUID", FileName=plane["file"])
            file.text = f"urn:uuid:{plane['file']}"
    return ElementTree.tostring(root, encoding="unicode")


def write_set(folder: Path, along: str, length: int, sizes: dict[str, int], names: list[str]) -> list[Path]:
    """A set of files, one per number along an axis, each with every plane of it."""
    files = [f"a_{along}{number}.ome.tif" for number in range(length)]
    count = int(np.prod(list(sizes.values()))) // length
    planes = [
        {"file": file, "IFD": 0, f"First{along}": number, "PlaneCount": count}
        for number, file in enumerate(files)
    ]
    for number, file in enumerate(files):
        pixels = (
            np.full((count, 24, 32), 10 * number, np.uint8) + np.arange(count, dtype=np.uint8)[:, None, None]
        )
        xml = ome_xml(sizes, planes, names, file)
        write(folder / file, pixels, photometric="minisblack", description=xml)
    return [folder / file for file in files]


def test_a_file_of_a_set_holds_its_own_channel(tmp_path: Path) -> None:
    paths = write_set(tmp_path, "C", 2, {"C": 2, "Z": 3, "T": 1}, ["Actin", "DAPI"])
    for number, (path, name) in enumerate(zip(paths, ("Actin", "DAPI"), strict=True)):
        image = read_image(path)
        assert image.channels == (name,)
        assert image.pixels[0, :, 0, 0].tolist() == [10 * number + z for z in range(3)]
    assert read_image(tuple(paths)).channels == ("Actin", "DAPI")
    assert read_image(tuple(paths)).pixels.shape == (2, 3, 24, 32)
    paths[1].unlink()
    assert read_image(paths[0]).channels == ("Actin",)


def test_a_file_of_a_set_holds_its_own_time_point(tmp_path: Path) -> None:
    paths = write_set(tmp_path, "T", 3, {"C": 2, "Z": 1, "T": 3}, ["Actin", "DAPI"])
    for number, path in enumerate(paths):
        image = read_image(path)
        assert image.channels == ("Actin", "DAPI")
        assert image.pixels[:, 0, 0].tolist() == [10 * number, 10 * number + 1]
        assert image.spacing_um == (0.5, 0.5)


def test_a_file_of_a_set_without_planes_or_a_full_stack_is_refused(tmp_path: Path) -> None:
    (path,) = write_set(tmp_path, "C", 1, {"C": 1, "Z": 1, "T": 1}, ["Actin"])
    xml = ome_xml({"C": 1, "Z": 1, "T": 1}, [{"file": "b.ome.tif", "IFD": 0}], ["Actin"], "a")
    write(path, GREY, photometric="minisblack", description=xml)
    with pytest.raises(BadFileError, match=r"no planes of its own, but speaks of b\.ome\.tif"):
        read_image(path)
    corners = [{"IFD": 0}, {"IFD": 1, "FirstC": 1, "FirstZ": 1}, {"file": "b.ome.tif", "FirstC": 1}]
    xml = ome_xml({"C": 2, "Z": 2, "T": 1}, corners, ["Actin", "DAPI"], "a")
    write(path, np.stack([GREY] * 2), photometric="minisblack", description=xml)
    with pytest.raises(BadFileError, match="2 planes that make no full stack"):
        read_image(path)


@pytest.mark.parametrize(
    ("planes", "lost"),
    [
        ([{"IFD": 0, "PlaneCount": 2}], "lacks 1 .*channel DAPI, z 0, time 0"),
        ([{"IFD": 0}], "lacks 1 .*channel DAPI, z 0"),
        ([{"IFD": 0, "FirstC": 1}], "lacks 1 .*channel Actin, z 0"),
        ([{}], "lacks 1 .*channel DAPI"),
    ],
)
def test_missing_planes_are_named(planes: list[dict[str, Any]], lost: str, tmp_path: Path) -> None:
    xml = ome_xml({"C": 2, "Z": 1, "T": 1}, planes, ["Actin", "DAPI"])
    path = write(tmp_path / "a.ome.tif", GREY, photometric="minisblack", description=xml)
    with pytest.raises(BadFileError, match=lost):
        read_image(path)


def test_planes_that_are_all_there_are_read(tmp_path: Path) -> None:
    stack = RNG.integers(0, 255, (2, 24, 32), dtype=np.uint8)
    planes = [{"IFD": 1, "FirstC": 0}, {"IFD": 0, "FirstC": 1}]
    xml = ome_xml({"C": 2, "Z": 1, "T": 1}, planes, ["Actin", "DAPI"])
    path = write(tmp_path / "a.ome.tif", stack, photometric="minisblack", description=xml)
    np.testing.assert_array_equal(read_image(path).pixels, stack[::-1])
    assert read_image(path, channels=("actin", "dapi")).channels == ("actin", "dapi")
    with pytest.raises(InputError, match="names its channels Actin, DAPI itself"):
        read_image(path, channels=("DAPI", "Actin"))


def test_opencv_reads_labels_and_other_programs_their_pixel_size(tmp_path: Path) -> None:
    labels = RNG.integers(0, 500, (24, 32), dtype=np.int32)
    write_labels(tmp_path / "a.tif", labels, (0.5, 0.25))
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.tif"), cv2.IMREAD_UNCHANGED), labels)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.pages[0].get_resolution("MICROMETER") == pytest.approx((4.0, 2.0))
    np.testing.assert_array_equal(read_labels(tmp_path / "a.tif"), labels)
