"""Files cut off at any place are never read as if they were whole."""

import contextlib
from pathlib import Path

import imagecodecs
import nibabel
import numpy as np
import pytest
import tifffile

from morula.data.formats import read_image
from morula.data.problems import BadFileError

RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 255, (5, 40, 48), dtype=np.uint8)
COLOUR = RNG.integers(0, 255, (40, 48, 3), dtype=np.uint8)
SHARES = [0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97]


def write(path: Path) -> None:
    """A file of the kind that the name of `path` asks for."""
    stack = {"photometric": "minisblack"}
    if path.suffix in (".png", ".jpg", ".bmp"):
        encode = {
            ".png": imagecodecs.png_encode,
            ".jpg": imagecodecs.jpeg_encode,
            ".bmp": imagecodecs.bmp_encode,
        }
        path.write_bytes(encode[path.suffix](COLOUR))
    elif path.name == "plain.tif":
        tifffile.imwrite(path, STACK, metadata={"axes": "ZYX"}, **stack)
    elif path.name == "zlib.tif":
        tifffile.imwrite(path, STACK, compression="zlib", metadata={"axes": "ZYX"}, **stack)
    elif path.name == "tiles.tif":
        tifffile.imwrite(path, STACK, compression="zstd", tile=(16, 16), metadata={"axes": "ZYX"}, **stack)
    elif path.name == "imagej.tif":
        tifffile.imwrite(path, STACK, imagej=True, metadata={"axes": "ZYX"}, **stack)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, STACK, metadata={"axes": "ZYX"}, ome=True, **stack)
    elif ".nii" in path.name:
        nibabel.save(nibabel.Nifti1Image(STACK, np.eye(4)), path)
    elif path.suffix == ".npz":
        np.savez(path, image=STACK[0])
    else:
        np.save(path, STACK[0])


NAMES = [
    *("a.png", "a.jpg", "a.bmp"),
    *("plain.tif", "zlib.tif", "tiles.tif", "imagej.tif", "a.ome.tif"),
    *("a.nii", "a.nii.gz", "a.npy", "a.npz"),
]


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("name", NAMES)
def test_what_is_cut_off_is_refused(name: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / name
    write(path)
    whole = read_image(path).pixels
    assert whole.size in (STACK.size, STACK[0].size, COLOUR.size)
    content = path.read_bytes()
    path.write_bytes(content[: max(1, int(len(content) * share))])
    if (name, share) == ("imagej.tif", 0.97):
        # Only headers of further pages are lost, which ImageJ ignores, too: the first says it all.
        np.testing.assert_array_equal(read_image(path).pixels, whole)
        return
    with pytest.raises(BadFileError, match=path.name) as caught:
        read_image(path)
    assert caught.value.kind in ("truncated file", "not an image")


@pytest.mark.parametrize("name", NAMES)
def test_empty_files_are_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(BadFileError, match=r"is empty \(0 bytes\)") as caught:
        read_image(tmp_path / name)
    assert caught.value.kind == "empty file"


@pytest.mark.parametrize("name", NAMES)
def test_text_is_no_image(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("This is a list of cells, and no picture of them.\n" * 30)
    with pytest.raises(BadFileError, match=name):
        read_image(tmp_path / name)


@pytest.mark.parametrize("name", NAMES)
def test_noise_in_the_header_never_escapes_as_another_error(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    write(path)
    content = path.read_bytes()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        spoiled = bytearray(content)
        for place in rng.integers(0, min(400, len(content)), 6):
            spoiled[place] = rng.integers(0, 256)
        path.write_bytes(spoiled)
        # What is still readable may be read; nothing but a named bad file may come out otherwise.
        with contextlib.suppress(BadFileError):
            read_image(path)
