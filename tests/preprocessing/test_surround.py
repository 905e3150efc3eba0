import cv2
import numpy as np
import pytest

from morula.data.sample import RGB, Image
from morula.preprocessing.surround import find_field, without_surround

TINT = np.array([1.0, 0.9, 0.8])[:, None, None]


def eyepiece(side: int = 300, radius: float = 0.45, dtype: type = np.uint8) -> tuple[np.ndarray, np.ndarray]:
    """A bright tinted field with dark objects seen through a round hole: RGB, and where the hole is."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: int(0.75 * side), :side]
    field = rng.normal(200, 10, y.shape) - 12 * np.hypot(y - y.mean(), x - x.mean()) / side
    field[y.shape[0] // 2 :][: side // 20, side // 2 :][:, : side // 10] = 3
    hole = np.hypot(y - y.mean(), x - x.mean()) < radius * 0.75 * side
    seen = np.where(hole, field, rng.integers(0, 9, y.shape))
    seen = cv2.GaussianBlur(seen, (0, 0), side / 300)
    return (seen * TINT).astype(dtype), hole


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("side", [100, 300, 1500])
def test_the_surround_gets_the_median_of_the_field(side: int, dtype: type):
    pixels, hole = eyepiece(side, dtype=dtype)
    before = pixels.copy()
    shown = without_surround(Image(pixels, RGB)).pixels
    np.testing.assert_array_equal(pixels, before)
    assert shown.dtype == dtype
    middle = np.median(pixels[:, hole], axis=1)
    np.testing.assert_allclose(
        shown[:, ~hole], np.broadcast_to(middle[:, None], shown[:, ~hole].shape), rtol=0.02
    )
    # Inside, but for the faded edge, all stays, dark objects too.
    inner = cv2.erode(hole.astype(np.uint8), np.ones((2 * (side // 30) + 1,) * 2)).astype(bool)
    np.testing.assert_array_equal(shown[:, inner], pixels[:, inner])
    assert (pixels[0, inner] < 10).any()


def test_a_field_cut_by_the_frame_and_a_small_one():
    assert find_field(eyepiece(300, radius=0.62)[0]) is not None
    assert find_field(eyepiece(300, radius=0.3)[0]) is not None
    assert find_field(eyepiece(300, radius=0.15)[0]) is None


def disc(levels: tuple[float, float, float], radius: float) -> np.ndarray:
    """Three stains of a textured round object on black."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:240, :320]
    inside = np.hypot(y - 120, x - 160) < radius
    dome = np.sqrt(np.maximum(0, 1 - (np.hypot(y - 120, x - 160) / radius) ** 2)) * rng.uniform(
        0.5, 1, y.shape
    )
    return np.stack([np.where(inside, level * dome, 4) for level in levels]).astype(np.uint8)


@pytest.mark.parametrize(
    "pixels",
    [
        disc((120, 160, 200), 100),
        disc((0, 30, 200), 100),
        np.repeat(eyepiece()[0][:1], 3, 0),
        np.full((3, 200, 200), 200, np.uint8) * TINT.astype(np.float32),
        np.zeros((3, 200, 200), np.uint8),
        np.ones((3, 4, 4), np.uint8),
    ],
    ids=["stained ball", "blue ball", "grey", "no surround", "black", "tiny"],
)
def test_everything_else_stays_as_it_is(pixels: np.ndarray):
    image = Image(pixels, RGB)
    assert without_surround(image) is image


def test_crowded_nuclei_on_black_are_no_field():
    rng = np.random.default_rng(1)
    crowd = np.zeros((240, 320), np.uint8)
    for _ in range(60):
        centre = tuple(int(v) for v in rng.normal((160, 120), 40))
        cv2.circle(crowd, centre, 14, int(rng.integers(120, 255)), -1)
    image = Image((crowd * TINT).astype(np.uint8), RGB)
    assert without_surround(image) is image


def test_other_images_are_not_looked_at():
    for image in (Image(eyepiece()[0][:1], ("grey",)), Image(eyepiece()[0], ("a", "b", "c"))):
        assert without_surround(image) is image
    volume = Image(np.zeros((3, 2, 30, 30), np.uint8), RGB)
    assert without_surround(volume) is volume
