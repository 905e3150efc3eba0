import math
from pathlib import Path

import numpy as np
import pytest

from echo import echo_plan
from morula.errors import InputError
from morula.planning.plan import Scaling
from morula.prediction.scale import (
    ERROR,
    LEAST_SURE,
    MARGIN,
    OCTAVE,
    QUITE_SURE,
    SIDE_PX,
    SURE_OF_SMALL,
    SURER,
    Look,
    busiest,
    check_diameter,
    find_zoom,
    is_estimated,
    looks_at,
    usual_diameter,
    window_at,
)
from morula.prediction.segmentation import Segmentation
from morula.preprocessing.intensity import Normalizer


def sees(sureness: dict[float, float], diameter_px: float, tried: list[float] | None = None):
    """A model that finds objects of `diameter_px` at zoom 1, and is as sure of them as it is told to be."""

    def look(zoom: float) -> Look | None:
        if tried is not None:
            tried.append(zoom)
        return Look(zoom, diameter_px * zoom, sureness[zoom]) if zoom in sureness else None

    return look


def test_the_zoom_at_which_the_model_is_surest_wins():
    sureness = {0.125: 0.6, 0.25: 0.9, 0.5: 0.7, 1.0: 0.3}
    assert find_zoom(sees(sureness, 80.0), 20.0) == 0.25


def test_the_trained_scale_stays_unless_another_is_better():
    even = {0.25: 0.8, 0.5: 0.8, 1.0: 0.8}
    assert find_zoom(sees(even, 20.0), 20.0) == 1
    # Two octaves from the usual size, one towards it is worth something.
    edge = 0.8 - 3 * OCTAVE + MARGIN
    assert find_zoom(sees({0.5: edge - 0.01, 1.0: 0.8}, 80.0), 20.0) == 1
    assert find_zoom(sees({0.5: edge + 0.01, 1.0: 0.8}, 80.0), 20.0) == 0.5


def test_objects_of_a_known_size_are_shrunk_only_where_that_makes_the_model_much_surer():
    assert find_zoom(sees({0.5: 0.6 + SURER - 0.01, 1.0: 0.6}, 40.0), 20.0) == 1
    assert find_zoom(sees({0.5: 0.6 + SURER + 0.01, 1.0: 0.6}, 40.0), 20.0) == 0.5


def test_objects_that_are_too_small_are_enlarged_where_the_model_is_nearly_as_sure():
    assert find_zoom(sees({1.0: 0.85, 2.0: 0.85 - SURER + 0.01}, 10.0), 20.0) == 2
    assert find_zoom(sees({1.0: 0.85, 2.0: 0.85 - SURER - 0.01}, 10.0), 20.0) == 1


def test_objects_of_a_known_size_are_enlarged_where_the_model_is_surer():
    assert find_zoom(sees({1.0: 0.7, 2.0: 0.69}, 15.0), 20.0) == 1
    assert find_zoom(sees({1.0: 0.7, 2.0: 0.71}, 15.0), 20.0) == 2


def test_of_zooms_that_are_nearly_as_sure_the_finest_at_a_known_size_wins():
    sureness = {0.125: 0.85, 0.25: 0.84, 0.5: 0.8, 1.0: 0.6}
    assert find_zoom(sees(sureness, 80.0), 20.0) == 0.5  # 40 px are within an octave of 20
    assert find_zoom(sees(sureness, 160.0), 20.0) == 0.25


def test_a_model_that_is_sure_of_nothing_changes_nothing():
    assert find_zoom(sees({0.25: LEAST_SURE - 0.01, 1.0: 0.1}, 80.0), 20.0) == 1
    assert find_zoom(lambda _: None, 20.0) == 1
    assert find_zoom(lambda zoom: Look(zoom, 0.0, 0.0), 20.0) == 1


@pytest.mark.parametrize(("diameter", "last"), [(30.0, 1.0), (12.0, 2.0), (6.0, 4.0)])
def test_fine_zooms_are_tried_for_small_objects_only(diameter: float, last: float):
    tried: list[float] = []
    sureness = {0.125: 0.3, 0.25: 0.3, 0.5: 0.3, 1.0: 0.6, 2.0: 0.75, 4.0: 0.9}
    assert find_zoom(sees(sureness, diameter, tried), 20.0) == last
    assert max(tried) == last


def test_only_numbers_and_two_words_are_diameters():
    for diameter in (30, 12.5, np.float32(8), "auto", "trained"):
        check_diameter(diameter)
    for wrong in ("30", "banana", None, -3):
        with pytest.raises(InputError, match=f"the object diameter is {wrong!r}; expected"):
            check_diameter(wrong)


def test_noise_is_not_enlarged():
    tried: list[float] = []
    sureness = {1.0: SURE_OF_SMALL - 0.01, 2.0: 0.9}
    assert find_zoom(sees(sureness, 8.0, tried), 20.0) == 1
    assert max(tried) == 1


def test_a_familiar_image_costs_one_look():
    tried: list[float] = []
    sureness = {0.5: 1.0, 1.0: QUITE_SURE, 2.0: 1.0}
    assert find_zoom(sees(sureness, 25.0, tried), 20.0) == 1
    assert tried == [1.0]
    assert find_zoom(sees(sureness, 50.0), 20.0) == 0.5


def test_what_a_look_sees_is_weighted_by_area():
    labels = np.zeros((40, 40), np.int32)
    labels[:30, :30], labels[35:38, 35:38], labels[35:38, 0:3] = 1, 2, 3
    look = Look.of(Segmentation(labels, {1: 0.9, 2: 0.2, 3: 0.4}), 0.5)
    mean = (900 * 0.9 + 9 * 0.2 + 9 * 0.4) / 918
    assert look.diameter_px == pytest.approx(math.sqrt(9 * 4 / math.pi))
    assert look.sureness == pytest.approx(mean - ERROR / math.sqrt(3))
    assert Look.of(Segmentation(np.zeros((4, 4), np.int32), {}), 1.0) == Look(1.0, 0.0, 0.0)


def test_what_size_is_usual_stands_in_the_plan():
    assert usual_diameter(echo_plan()) == pytest.approx(12)
    training = echo_plan().training
    wide = training.augmentation.model_copy(update={"zoom_to_px": (8.0, 72.0)})
    plan = echo_plan(training=training.model_copy(update={"augmentation": wide}))
    assert usual_diameter(plan) == pytest.approx(24)


def test_a_physical_pixel_size_and_volumes_rule_out_an_estimate():
    assert is_estimated(echo_plan())
    assert not is_estimated(echo_plan(3))
    spacing = Scaling(kind="spacing", spacing_um=(1.0, 1.0), diameter_px=12.0)
    assert not is_estimated(echo_plan(scaling=spacing))


def test_the_window_lies_where_most_is_to_be_seen():
    rng = np.random.default_rng(0)
    pixels = np.full((1, 3000, 2000), 10, np.uint8)
    pixels[0, 2200:2500, 300:600] = rng.integers(0, 255, (300, 300))
    normalizer = Normalizer.measure(pixels, echo_plan().normalization)
    y, x = busiest(pixels, normalizer, 300.0)
    assert abs(y - 2350) < 60
    assert abs(x - 450) < 60


@pytest.mark.parametrize("shape", [(1, 1), (5, 700), (64, 64)])
def test_windows_keep_inside_images_of_any_size(shape: tuple[int, int]):
    pixels = np.arange(math.prod(shape), dtype=np.float32).reshape(1, *shape)
    normalizer = Normalizer.measure(pixels, echo_plan().normalization)
    middle = busiest(pixels, normalizer, 50.0)
    for side in (1.0, 50.0, 5000.0):
        window = window_at(middle, side, shape)
        assert all(0 <= part.start < part.stop <= n for part, n in zip(window, shape, strict=True))
        assert all(part.stop - part.start == min(side, n) for part, n in zip(window, shape, strict=True))


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_no_window_is_larger_than_the_bound(factor: float, tmp_path: Path):
    # On disk: what is not looked at is never read.
    pixels = np.memmap(tmp_path / "slide", np.uint8, "w+", shape=(1, 9000, 7000))
    pixels[0, 4000:4400:10, 4000:4400] = 200
    plan = echo_plan(scaling=Scaling(factor=factor, diameter_px=12.0))
    seen = []

    def segment(crop: np.ndarray) -> Segmentation:
        seen.append(crop.shape[1:])
        labels = np.zeros(crop.shape[1:], np.int32)
        labels[:5, :5] = 1
        return Segmentation(labels, {1: 0.9})

    look = looks_at(pixels, plan, Normalizer.measure(pixels, plan.normalization), segment)
    zoom = find_zoom(look, usual_diameter(plan))
    assert max(max(shape) for shape in seen) <= SIDE_PX + 1
    assert len(seen) <= 6
    assert zoom in (0.125, 0.25, 0.5, 1, 2, 4)
