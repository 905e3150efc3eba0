"""The shipped default model on images that are none of its business, and on those that are."""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from morula.prediction.predict import predict
from morula.prediction.reliability import UNRELIABLE

SIDE = 256
PHOTOGRAPHS = (
    "astronaut",
    "camera",
    "chelsea",
    "coffee",
    "rocket",
    "motorcycle_left",
    "page",
    "text",
    "grass",
)


def patterns() -> Iterator[tuple[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    yield "uniform noise", rng.integers(0, 256, (SIDE, SIDE))
    yield "colour noise", rng.integers(0, 256, (SIDE, SIDE, 3))
    yield "gaussian noise", rng.normal(128, 30, (SIDE, SIDE))
    pepper, drawn = np.full((SIDE, SIDE), 128), rng.random((SIDE, SIDE))
    pepper[drawn < 0.05], pepper[drawn > 0.95] = 0, 255
    yield "salt and pepper", pepper
    clouds = cv2.GaussianBlur(rng.normal(0, 1, (SIDE, SIDE)), (0, 0), 4)
    yield "clouds", 255 * (clouds - clouds.min()) / np.ptp(clouds)
    yield "white", np.full((SIDE, SIDE), 255)
    yield "black", np.zeros((SIDE, SIDE))
    yield "gradient", x
    yield "chessboard", 255 * ((y // 16 + x // 16) % 2)
    yield "stripes", 255 * (y // 12 % 2)


def text() -> np.ndarray:
    page = np.full((SIDE, 2 * SIDE), 255, np.uint8)
    for line in range(8):
        words = ("a page of text that was", "scanned by mistake, 0123456789")[line % 2]
        cv2.putText(page, words, (8, 28 + 28 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 0, 1, cv2.LINE_AA)
    return page


@pytest.fixture
def far(tmp_path: Path) -> Path:
    folder = tmp_path / "far"
    folder.mkdir()
    for name, pixels in patterns():
        cv2.imwrite(str(folder / f"{name}.png"), np.clip(pixels, 0, 255).astype(np.uint8))
    cv2.imwrite(str(folder / "dark on light.png"), text())
    cv2.imwrite(str(folder / "light on dark.png"), 255 - text())
    for name in PHOTOGRAPHS:
        path = next(Path(skimage.data.__file__).parent.glob(f"{name}.*"))
        cv2.imwrite(str(folder / f"{name}.png"), np.asarray(cv2.imread(str(path)))[:400, :400])
    return folder


@pytest.mark.slow
def test_foreign_images_give_no_confident_nonsense(far: Path, tmp_path: Path):
    summary = predict([far], tmp_path / "out")
    assert summary.done == len(summary.rows) > 20
    trusted = {row.id: row.reliability for row in summary.rows if (row.reliability or 0) >= UNRELIABLE}
    assert trusted == {}
    assert [row.id for row in summary.rows if not row.doubts] == []


@pytest.mark.slow
def test_the_samples_give_no_warning(tmp_path: Path):
    summary = predict([Path(str(files("morula") / "samples" / "images"))], tmp_path / "out")
    assert {row.id: row.doubts for row in summary.rows if row.doubts} == {}
    assert all((row.reliability or 0) >= UNRELIABLE for row in summary.rows)
