import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from morula.training.repaint import repaint
from synthetic import picture_of, touching_balls


def patch(ndim: int = 2, channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    labels = touching_balls(ndim, shape=48, radius=8)
    image = picture_of(labels).astype(np.float32)[None] / 255
    return np.repeat(image, channels, 0), labels


@given(seed=st.integers(0, 2**32 - 1), ndim=st.sampled_from([2, 3]), channels=st.sampled_from([1, 3]))
def test_every_look_is_finite_and_leaves_its_sources_alone(seed: int, ndim: int, channels: int):
    image, labels = patch(ndim, channels)
    before = image.copy(), labels.copy()
    painted = repaint(image, labels, np.random.default_rng(seed))
    assert painted.shape == image.shape
    assert painted.dtype == np.float32
    assert np.isfinite(painted).all()
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(labels, before[1])
    np.testing.assert_array_equal(painted, repaint(image, labels, np.random.default_rng(seed)))


@pytest.mark.parametrize("seed", range(30))
def test_objects_can_be_seen_in_every_look(seed: int):
    image, labels = patch(channels=1)
    painted = repaint(np.zeros_like(image), labels, np.random.default_rng(seed))[0]
    bare = repaint(np.zeros_like(image), np.zeros_like(labels), np.random.default_rng(seed))[0]
    near = np.abs(painted - bare)[labels > 0]
    assert near.max() > 0.1


def test_looks_differ_in_which_side_is_brighter_and_in_colour():
    image, labels = patch()
    looks = [repaint(image, labels, np.random.default_rng(seed)) for seed in range(40)]
    brighter = [look[:, labels > 0].mean() > look[:, labels == 0].mean() for look in looks]
    grey = [np.allclose(look[0], look[1]) and np.allclose(look[1], look[2]) for look in looks]
    assert 10 < sum(brighter) < 30
    assert any(grey)
    assert not all(grey)


def test_the_image_shines_through_some_looks():
    image, labels = patch(channels=1)
    rng = np.random.default_rng(5)
    image = rng.random(image.shape, dtype=np.float32)
    shares = []
    for seed in range(40):
        drawn = [repaint(pixels, labels, np.random.default_rng(seed)) for pixels in (image, 0 * image)]
        shares.append(np.polyfit(image.ravel(), (drawn[0] - drawn[1]).ravel(), 1)[0])
    through = [share for share in shares if share > 1e-3]
    assert 8 <= len(through) <= 24
    assert 0.3 <= min(through) < max(through) <= 0.7


def test_the_patch_without_objects_and_the_unlabelled_are_background():
    image, labels = patch()
    empty, ignored = (np.full_like(labels, value) for value in (0, -1))
    painted = [repaint(image, ids, np.random.default_rng(3)) for ids in (empty, ignored)]
    np.testing.assert_array_equal(*painted)
