import numpy as np
import pytest
from scipy import ndimage

from morula.training.paste import make_conglomerates, paste_objects
from synthetic import picture_of, touching_balls


def source(ndim: int) -> tuple[np.ndarray, np.ndarray]:
    labels = touching_balls(ndim, shape=40, radius=7)
    return picture_of(labels).astype(np.float32)[None] / 255, labels


def test_pasted_objects_get_ids_of_their_own():
    image, labels = source(2)
    other_image, other = np.full_like(image, 9.0), np.roll(labels, 5, axis=0)
    mixed, ids = paste_objects(image, labels, (other_image, other), np.random.default_rng(0), share=1.0)
    new = ids > labels.max()
    np.testing.assert_array_equal(new, other > 0)
    assert (mixed[0][new] == 9.0).all()
    np.testing.assert_array_equal(ids[~new], labels[~new])


def lone_ball(ndim: int, centre: int, radius: int) -> np.ndarray:
    grid = np.indices((40,) * ndim)
    return (((grid - centre) ** 2).sum(0) <= radius**2).astype(np.int32)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_conglomerates_touch_and_leave_their_host_whole(ndim: int, seed: int):
    labels, other = 3 * lone_ball(ndim, 20, 6), 7 * lone_ball(ndim, 12, 4)
    image, other_image = np.zeros((2, *labels.shape), np.float32), np.ones((2, *labels.shape), np.float32)
    before = labels.copy()
    mixed, ids = make_conglomerates(image, labels, (other_image, other), np.random.default_rng(seed))
    np.testing.assert_array_equal(labels, before)
    assert not image.any()
    np.testing.assert_array_equal(ids == 3, labels == 3)
    moved = ids == 4
    assert set(np.unique(ids)) == {0, 3, 4}
    assert moved.sum() == (other == 7).sum()
    # The neighbours of the one reach into the other.
    assert (ndimage.binary_dilation(moved, np.ones((3,) * ndim)) & (ids == 3)).any()
    np.testing.assert_array_equal(mixed, np.repeat(moved[None], 2, 0).astype(np.float32))


@pytest.mark.parametrize("seed", range(10))
def test_hollow_hosts_are_touched_too(seed: int):
    labels = lone_ball(2, 20, 9) - lone_ball(2, 20, 6)
    image, other = np.zeros((1, 40, 40), np.float32), lone_ball(2, 12, 4)
    _, ids = make_conglomerates(image, labels, (image, other), np.random.default_rng(seed))
    assert (ndimage.binary_dilation(ids == 2, np.ones((3, 3))) & (ids == 1)).any() or not (ids == 2).any()
    np.testing.assert_array_equal(ids == 1, labels == 1)


def test_conglomerates_in_a_crowd_leave_all_others_whole():
    image, labels = source(2)
    small = np.zeros_like(labels)
    small[20:23, 20:23] = 5
    added = 0
    for seed in range(40):
        mixed, ids = make_conglomerates(image, labels, (1 + image, small), np.random.default_rng(seed))
        np.testing.assert_array_equal(ids[labels > 0], labels[labels > 0])
        new = ids > labels.max()
        added += new.any()
        np.testing.assert_array_equal(mixed[:, ~new], image[:, ~new])
    assert added > 10


def test_without_hosts_or_whole_guests_nothing_changes():
    image, labels = source(2)
    nothing, cut_off = np.zeros_like(labels), np.zeros_like(labels)
    cut_off[0] = 1
    rng = np.random.default_rng(0)
    for own, others in ((nothing, labels), (labels, cut_off), (labels, nothing)):
        np.testing.assert_array_equal(make_conglomerates(image, own, (image, others), rng)[1], own)
