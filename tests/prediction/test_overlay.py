import numpy as np
import pytest

from morula.data.sample import Image
from morula.prediction.overlay import (
    FOUND,
    INVENTED,
    LARGEST,
    MISSED,
    ON_DARK,
    ON_LIGHT,
    draw_overlay,
    first_met,
    fullest_plane,
)


def colours_in(picture: np.ndarray, palette: tuple[tuple[int, ...], ...]) -> set[int]:
    """Which colours of a palette occur undiluted."""
    return {i for i, colour in enumerate(palette) if (picture == np.array(colour)).all(-1).any()}


def squares() -> np.ndarray:
    """A chessboard of touching objects."""
    rows, columns = np.indices((60, 60)) // 15
    return (rows * 4 + columns + 1).astype(np.int32)


def test_small_images_are_enlarged_and_large_ones_shrunk():
    small = draw_overlay(Image(np.zeros((1, 64, 48), np.uint8), ("grey",)), np.zeros((64, 48), np.int32))
    assert small.shape == (512, 384, 3)
    large = draw_overlay(
        Image(np.zeros((1, 2000, 4000), np.uint8), ("grey",)), np.ones((2000, 4000), np.int32)
    )
    assert large.shape == (LARGEST // 2, LARGEST, 3)


@pytest.mark.parametrize(("level", "palette"), [(0, ON_DARK), (255, ON_LIGHT)])
def test_outlines_are_drawn_in_colours_for_the_background(level: int, palette: tuple[tuple[int, ...], ...]):
    pixels = np.full((1, 60, 60), level, np.uint8)
    pixels[0, 0, 0] = 255 - level
    picture = draw_overlay(Image(pixels, ("grey",)), squares())
    assert len(colours_in(picture, palette)) == len(palette)


def test_neighbours_differ():
    labels = np.tile(np.array([[1, 2]], np.int32).repeat(20, 1), (40, 1))
    pixels = np.zeros((1, 40, 40), np.uint8)
    picture = draw_overlay(Image(pixels, ("grey",)), labels)
    left, right = np.array_split(picture, 2, 1)
    assert colours_in(left, ON_DARK).isdisjoint(colours_in(right, ON_DARK))


def test_outlines_lie_inside_their_objects():
    labels = np.zeros((40, 40), np.int32)
    labels[10:30, 10:30] = 1
    picture = draw_overlay(Image(np.zeros((1, 40, 40), np.uint8), ("grey",)), labels)
    lit = np.argwhere(picture.any(-1)) / picture.shape[0] * 40
    assert lit.min() >= 9.8
    assert lit.max() <= 30.2


def test_with_the_truth_colours_say_what_was_found_invented_and_missed():
    truth, labels = np.zeros((2, 60, 60), np.int32)
    truth[5:20, 5:20], labels[6:20, 5:20] = 1, 4
    truth[40:55, 5:20], labels[40:55, 40:55] = 2, 5
    picture = draw_overlay(Image(np.zeros((1, 60, 60), np.uint8), ("grey",)), labels, truth)
    palette = (FOUND, INVENTED, MISSED)
    quarters = [half for rows in np.array_split(picture, 2) for half in np.array_split(rows, 2, 1)]
    assert [colours_in(quarter, palette) for quarter in quarters] == [{0}, set(), {2}, {1}]


def test_volumes_are_shown_as_a_plane_and_from_above(labels: np.ndarray):
    image = Image(np.where(labels > 0, 200, 0).astype(np.uint8)[None], ("grey",))
    picture = draw_overlay(image, labels)
    assert (picture.shape[1] > 1.9 * picture.shape[0]) == (labels.ndim == 3)


def test_from_above_the_first_object_hides_the_others():
    volume = np.array([[[0, 0, 3]], [[0, 2, 2]], [[-1, 1, 1]]], np.int32)
    assert first_met(volume).tolist() == [[0, 2, 3]]
    assert fullest_plane(volume) == 1
    assert fullest_plane(np.zeros((5, 2, 2), np.int32)) == 2


def test_channels_get_colours_and_rgb_stays_as_it_is():
    labels = np.zeros((40, 40), np.int32)
    pixels = np.zeros((2, 40, 40), np.uint16)
    pixels[0, :20], pixels[1, 20:] = 900, 50
    picture = draw_overlay(Image(pixels, ("dapi", "actin")), labels)
    np.testing.assert_allclose(picture[10, 10], [0, 255, 0], atol=20)
    np.testing.assert_allclose(picture[-10, 10], [255, 0, 255], atol=20)
    stained = np.zeros((3, 40, 40), np.uint8)
    stained[0], stained[2] = 200, np.linspace(0, 200, 40)
    picture = draw_overlay(Image(stained, ("red", "green", "blue")), labels)
    np.testing.assert_allclose(picture[20, 0], [255, 0, 0], atol=20)


def test_nan_and_constant_images_can_be_drawn():
    pixels = np.full((1, 20, 20), np.nan, np.float32)
    labels = np.zeros((20, 20), np.int32)
    labels[3:9, 3:9] = 70_000
    assert draw_overlay(Image(pixels, ("grey",)), labels).any()


def test_the_image_is_not_changed():
    pixels = np.random.default_rng(0).integers(0, 255, (1, 30, 30), np.uint8)
    before, labels = pixels.copy(), squares()[:30, :30].copy()
    draw_overlay(Image(pixels, ("grey",)), labels)
    np.testing.assert_array_equal(pixels, before)
    np.testing.assert_array_equal(labels, squares()[:30, :30])
