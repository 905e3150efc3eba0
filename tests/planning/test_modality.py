import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from morula.planning.modality import appearance, cluster, features, inverted, modality_names


def bright_on_dark(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = rng.normal(20, 3, (1, 64, 64))
    image[:, 10:25, 10:25] += 150
    return np.clip(image, 0, 255).astype(np.uint8)


def dark_on_bright(seed: int) -> np.ndarray:
    return (255 - bright_on_dark(seed)).astype(np.uint8)


def coloured(seed: int) -> np.ndarray:
    image = np.repeat(dark_on_bright(seed), 3, 0)
    image[1] //= 2
    return image


def test_features_do_not_depend_on_depth():
    image = bright_on_dark(0)
    np.testing.assert_allclose(features(image), features(image.astype(np.uint16) * 257), atol=1e-12)
    np.testing.assert_allclose(features(image), features(image.astype(np.float32) / 255), atol=1e-5)


def test_features_of_odd_images():
    assert not features(np.full((1, 5, 5), 7, np.uint8)).any()
    assert np.isfinite(features(np.array([[[np.nan, 1.0], [np.inf, 3.0]]]))).all()
    assert features(np.zeros((3, 1, 1), np.float32)).shape == (4,)


def test_pixels_without_a_value_do_not_change_the_look():
    """A camera's offset must not make a mask the darkest thing in the picture."""
    image = np.random.default_rng(0).normal(1000, 20, (1, 64, 64)).astype(np.float32)
    masked = image.copy()
    masked[0, 10:20, 10:30] = np.nan
    np.testing.assert_allclose(appearance(masked), appearance(image), atol=0.05)
    assert np.isfinite(appearance(np.full((1, 8, 8), np.nan))).all()


def test_steepness_by_hand():
    ramp = np.tile(np.linspace(0, 1, 101), (1, 101, 1))
    assert appearance(ramp)[-1] == pytest.approx(0.01, rel=0.01)
    stripes = np.tile(np.array([0, 9, 9, 0], np.uint16), (3, 64, 16))
    assert appearance(stripes)[-1] == 1
    assert not appearance(np.full((1, 8, 8), 3.0)).any()
    assert np.isfinite(appearance(np.full((2, 4, 5, 1), np.nan))).all()


def test_appearance_begins_with_the_features_and_knows_negatives():
    for image in (bright_on_dark(3), coloured(3)):
        seen = appearance(image)
        np.testing.assert_array_equal(seen[:-1], features(image))
        np.testing.assert_allclose(appearance(255 - image), inverted(seen), atol=1e-9)


def test_a_large_image_looks_as_its_parts_do():
    small = bright_on_dark(0)
    np.testing.assert_allclose(appearance(np.tile(small, (1, 24, 24))), appearance(small), atol=0.05)


def test_three_kinds_are_found_without_names():
    images = [make(seed) for make in (bright_on_dark, dark_on_bright, coloured) for seed in range(6)]
    names = modality_names([""] * len(images), np.stack([features(image) for image in images]))
    assert len(set(names)) == 3
    assert all(len(set(names[start : start + 6])) == 1 for start in (0, 6, 12))


def test_one_kind_stays_one():
    table = np.stack([features(bright_on_dark(seed)) for seed in range(20)])
    assert set(modality_names([""] * 20, table)) == {"kind 1"}


def test_given_names_are_kept():
    table = np.stack([features(bright_on_dark(seed)) for seed in range(3)])
    assert modality_names(["phase", "", "phase"], table) == ("phase", "kind 1", "phase")
    assert modality_names([], np.zeros((0, 4))) == ()


@given(st.integers(1, 30), st.integers(0, 1000))
def test_groups_are_sequential_largest_first(n, seed):
    table = np.random.default_rng(seed).normal(size=(n, 4))
    groups = cluster(table)
    sizes = np.bincount(groups)
    assert (sizes > 0).all()
    assert (np.diff(sizes) <= 0).all()
    np.testing.assert_array_equal(groups, cluster(table))
