import base64
from pathlib import Path

import cv2
import numpy as np
import pytest

from morula.data.sample import Image
from morula.errors import InputError
from morula.evaluation.pictures import GAP_PX, PANEL_PX, WorstPictures, draw_comparison, embed
from synthetic import picture_of


def has(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((np.abs(picture.astype(int) - colour).max(-1) < 40).any())


TEAL, ORANGE, MAGENTA = (64, 224, 208), (255, 159, 28), (255, 82, 170)


def test_truth_stands_left_and_prediction_right(truth: np.ndarray):
    image = Image(picture_of(truth)[None], ("grey",))
    predicted = np.where(truth == 5, 0, truth).astype(np.int32)
    predicted[0:8, 50:60] = 99
    picture = draw_comparison(image, truth, predicted)
    side = len(picture)
    assert picture.shape == (side, 2 * side + GAP_PX, 3)
    left, right = picture[:, :side], picture[:, -side:]
    assert has(left, TEAL)
    assert not has(left, ORANGE)
    assert not has(left, MAGENTA)
    assert has(right, TEAL)
    assert has(right, ORANGE)
    assert has(right, MAGENTA)


def test_without_a_fitting_image_the_outlines_stand_on_black(truth: np.ndarray):
    other = Image(np.full((1, 5, 5), 200, np.uint8), ("grey",))
    for image in (None, other):
        assert np.median(draw_comparison(image, truth, truth)) == 0


def test_what_is_not_annotated_is_dimmed(truth: np.ndarray):
    image = Image(picture_of(np.ones_like(truth))[None], ("grey",))
    half = np.zeros_like(truth)
    half[:, 32:] = -1
    picture = draw_comparison(image, half, np.zeros_like(truth))
    third = len(picture) // 3
    assert picture[:, :third].mean() > 2 * picture[:, 2 * third : 3 * third].mean()


def test_a_volume_is_shown_by_its_fullest_plane():
    truth = np.zeros((5, 20, 30), np.int32)
    truth[3, 4:12, 4:12] = 1
    image = Image(np.zeros((1, *truth.shape), np.uint16), ("grey",))
    picture = draw_comparison(image, truth, np.zeros_like(truth))
    assert max(picture.shape) <= 2 * PANEL_PX + GAP_PX
    middle = picture.shape[1] // 2
    assert has(picture[:, :middle], TEAL)
    assert has(picture[:, middle:], MAGENTA)


def test_the_worst_are_kept_in_order_and_of_equals_the_first(truth: np.ndarray, tmp_path: Path):
    asked: list[str] = []
    worst = WorstPictures(3, lambda name: asked.append(name))
    for name, score in [("a", 0.5), ("b", 0.2), ("deep/c", 0.5), ("d", 0.5), ("e", 0.9), ("f", 0.1)]:
        worst.offer(name, score, truth, truth)
    assert asked == ["a", "b", "deep/c", "f"]
    written = worst.write(tmp_path)
    assert written == {name: f"overlays/{name}.jpg" for name in ("f", "b", "a")}
    assert {path.name for path in (tmp_path / "overlays").rglob("*")} == {"a.jpg", "b.jpg", "f.jpg"}


def test_an_image_that_cannot_be_read_is_drawn_on_black(truth: np.ndarray, tmp_path: Path):
    def broken(name: str) -> Image:
        raise InputError(name)

    worst = WorstPictures(1, broken)
    worst.offer("a", 0.5, truth, truth)
    picture = cv2.imread(str(tmp_path / worst.write(tmp_path)["a"]))
    assert picture is not None
    assert np.median(picture) < 10


def test_pictures_are_embedded_small(tmp_path: Path):
    picture = np.random.default_rng(0).integers(0, 255, (300, 900, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.jpg"), picture)
    text = embed(tmp_path / "a.jpg", longest_px=90)
    assert text.startswith("data:image/jpeg;base64,")
    content = np.frombuffer(base64.b64decode(text.split(",")[1]), np.uint8)
    assert cv2.imdecode(content, cv2.IMREAD_COLOR).shape == (30, 90, 3)


def test_a_picture_of_the_right_size_is_embedded_as_it_is(tmp_path: Path):
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((10, 10, 3), np.uint8))
    text = embed(tmp_path / "a.jpg")
    assert base64.b64decode(text.split(",")[1]) == (tmp_path / "a.jpg").read_bytes()


@pytest.mark.parametrize("content", [None, b"", b"junk"])
def test_no_picture_is_an_error(tmp_path: Path, content: bytes | None):
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.png is no picture"):
        embed(tmp_path / "a.png")
