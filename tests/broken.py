"""Small data sets on disk, and ways to spoil them."""

from collections.abc import Callable
from pathlib import Path

import imagecodecs
import nibabel
import numpy as np
import tifffile

from synthetic import picture_of, touching_balls

N_IMAGES = 4


def make_dataset(root: Path, n: int = N_IMAGES) -> Path:
    """A clean data set ``images/ID.png``, ``labels/ID.tif`` of `n` different images."""
    labels = touching_balls(2)
    for index in range(n):
        write_png(root / "images" / f"{index}.png", picture_of(labels, seed=index))
        write_tiff(root / "labels" / f"{index}.tif", np.roll(labels, index).astype(np.uint16))
    return root


def write_png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(imagecodecs.png_encode(pixels))


def write_tiff(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata=None)


def cut(path: Path, share: float = 0.5) -> None:
    """Keep only the first `share` of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def _labels(root: Path) -> Path:
    return root / "labels" / "0.tif"


def _image(root: Path) -> Path:
    return root / "images" / "0.png"


def _relabel(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        write_tiff(_labels(root), change(tifffile.imread(_labels(root))))

    return spoil


def _repaint(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        pixels = change(imagecodecs.png_decode(_image(root).read_bytes()))
        _image(root).unlink()
        write_tiff(_image(root).with_suffix(".tif"), pixels)

    return spoil


def _index(rows: str) -> Callable[[Path], None]:
    return lambda root: root.joinpath("index.csv").write_text(rows) and None


def _pixel(labels: np.ndarray, value: float) -> np.ndarray:
    labels[0, 0] = value
    return labels


def _many(labels: np.ndarray) -> np.ndarray:
    """All 255 ids of 8 bits, as blocks of 3 x 3."""
    blocks = np.zeros((64, 64), np.uint8)
    ids = np.arange(256).astype(np.uint8)
    blocks.reshape(16, 4, 16, 4)[:, :3, :, :3] = ids.reshape(16, 1, 16, 1)
    return blocks


def _duplicate(root: Path) -> None:
    write_png(root / "images" / "1.png", imagecodecs.png_decode(_image(root).read_bytes()))


def _leak(root: Path) -> None:
    _duplicate(root)
    _index("id,fold\n0,0\n1,1\n2,0\n3,1\n")(root)


def _overlap(root: Path) -> None:
    for index in range(2):
        folder = root / f"cell {index}"
        write_png(folder / "images" / "a.png", picture_of(touching_balls(2), seed=index))
        for number in range(2):
            mask = np.zeros((64, 64), np.uint8)
            mask[10 + 8 * number : 20 + 8 * number, 10:20] = 255
            write_png(folder / "masks" / f"{number}.png", mask)
    for name in ("images", "labels"):
        for file in (root / name).iterdir():
            file.unlink()
        (root / name).rmdir()


def _text(path: Path) -> None:
    path.write_text("id,area\n1,20\n")


SPOILERS: dict[str, Callable[[Path], None]] = {
    "empty file": lambda root: _image(root).write_bytes(b"") and None,
    "not an image": lambda root: _text(_image(root)),
    "truncated file": lambda root: cut(_image(root)),
    "several images": lambda root: _two_series(_image(root)),
    "ambiguous axes": _repaint(lambda image: np.stack([image] * 3)),
    "wrong option": lambda root: (
        root.joinpath("dataset.toml").write_text('channels = ["red", "green"]\n') and None
    ),
    "unusable values": _repaint(lambda image: image.astype(np.complex64)),
    "tiny image": lambda root: _shrink(root),
    "constant image": _repaint(np.ones_like),
    "NaN or infinity": _repaint(lambda image: _pixel(image.astype(np.float32), np.nan)),
    "nothing finite": _repaint(lambda image: np.full(image.shape, np.inf, np.float32)),
    "transparent pixels": lambda root: _see_through(_image(root)),
    "wrong shape": _relabel(lambda labels: labels[:, 1:]),
    "labels in colour": lambda root: _colour(root),
    "lossy labels": lambda root: _compress(_labels(root)),
    "fractional labels": _relabel(lambda labels: labels / np.float32(2)),
    "negative ids": _relabel(lambda labels: _pixel(labels.astype(np.int16), -7)),
    "ids too large": _relabel(lambda labels: _pixel(labels.astype(np.uint32), 4_000_000_000)),
    "float labels": _relabel(lambda labels: labels.astype(np.float32)),
    "no objects": _relabel(np.zeros_like),
    "nothing annotated": lambda root: _ignore_all(root),
    "labelled background": _relabel(lambda labels: labels + 1),
    "several pieces": _relabel(lambda labels: _split(labels)),
    "8-bit overflow": _relabel(_many),
    "binary mask": _relabel(lambda labels: (labels % 2).astype(np.uint8) * 255),
    "very small objects": _relabel(lambda labels: _pixel(labels, 999)),
    "overlapping masks": _overlap,
    "different places": lambda root: _shift(root),
    "no labels at all": lambda root: [file.unlink() for file in (root / "labels").iterdir()] and None,
    "missing labels": lambda root: _labels(root).unlink(),
    "labels without image": lambda root: _image(root).unlink(),
    "index row without image": _index("id\n0\n1\n2\n3\n4\n"),
    "image without index row": _index("id,modality\n0,a\n1,a\n2,a\n"),
    "duplicated image": _duplicate,
    "leakage between folds": _leak,
    "mixed dimensions": lambda root: _stack(root),
    "mixed channels": lambda root: write_png(
        _image(root), np.stack([_read(root)] * 2 + [_read(root) // 2], -1)
    ),
    "mixed number types": lambda root: write_png(_image(root), _read(root).astype(np.uint16) * 200),
    "mixed pixel sizes": lambda root: _sized(root),
    "classes or objects": lambda root: _more(root),
    "unnamed class": lambda root: root.joinpath("dataset.toml").write_text("classes.liver = 1\n") and None,
}
"""A function per kind of problem that brings it, and where it can only it, into a clean data set."""


def _read(root: Path) -> np.ndarray:
    return imagecodecs.png_decode(_image(root).read_bytes())


def _two_series(path: Path) -> None:
    image = imagecodecs.png_decode(path.read_bytes())
    path.unlink()
    with tifffile.TiffWriter(path.with_suffix(".tif")) as writer:
        writer.write(image, metadata=None)
        writer.write(image[:, ::-1].repeat(2, 1), metadata=None)


def _shrink(root: Path) -> None:
    write_png(_image(root), _read(root)[:1, :1])
    write_tiff(_labels(root), tifffile.imread(_labels(root))[:1, :1])


def _see_through(path: Path) -> None:
    image = imagecodecs.png_decode(path.read_bytes())
    write_png(path, np.stack([image, image.T], -1))


def _colour(root: Path) -> None:
    labels = tifffile.imread(_labels(root)).astype(np.uint8)
    tifffile.imwrite(_labels(root), np.stack([labels] * 3, -1), photometric="rgb")


def _compress(path: Path) -> None:
    labels = tifffile.imread(path).astype(np.uint8)
    path.unlink()
    path.with_suffix(".jpg").write_bytes(imagecodecs.jpeg_encode(labels))


def _ignore_all(root: Path) -> None:
    root.joinpath("dataset.toml").write_text("ignore_label = 255\n")
    _relabel(lambda labels: np.full_like(labels, 255))(root)


def _split(labels: np.ndarray) -> np.ndarray:
    labels[:2] = 0
    labels[:1, :8] = labels.max()
    return labels


def _stack(root: Path) -> None:
    image, labels = _read(root), tifffile.imread(_labels(root))
    _image(root).unlink()
    for path, plane in ((_image(root).with_suffix(".tif"), image), (_labels(root), labels)):
        tifffile.imwrite(path, np.stack([plane] * 4), photometric="minisblack", metadata={"axes": "ZYX"})


def _more(root: Path) -> None:
    labels = tifffile.imread(_labels(root))
    for number in range(N_IMAGES, 6):
        write_png(root / "images" / f"{number}.png", picture_of(labels, seed=number))
        write_tiff(root / "labels" / f"{number}.tif", labels)


def _shift(root: Path) -> None:
    image, labels = _read(root), tifffile.imread(_labels(root))
    for path, pixels, corner in ((_image(root), image, 0.0), (_labels(root), labels, 3.0)):
        path.unlink()
        affine = np.diag([0.5, 0.5, 1.0, 1.0])
        affine[0, 3] = corner
        nibabel.save(nibabel.Nifti1Image(pixels.T, affine), path.with_suffix(".nii.gz"))


def _sized(root: Path) -> None:
    image = _read(root)
    _image(root).unlink()
    metadata = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(_image(root).with_suffix(".ome.tif"), image, photometric="minisblack", metadata=metadata)
