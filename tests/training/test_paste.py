import numpy as np
import pytest
from scipy import ndimage

from morula.training.paste import LARGEST_CONGLOMERATE, make_conglomerates, paste_objects
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


def test_conglomerates_at_the_edge_and_in_a_crowd():
    image, labels = source(2)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        mixed, ids = make_conglomerates(image, labels, (image[:, ::-1], labels[::-1]), rng)
        new = set(np.unique(ids)) - set(np.unique(labels))
        assert len(new) <= LARGEST_CONGLOMERATE
        same = ids == labels
        np.testing.assert_array_equal(mixed[:, same], image[:, same])


def test_without_hosts_or_whole_guests_nothing_changes():
    image, labels = source(2)
    nothing = np.zeros_like(labels)
    rng = np.random.default_rng(0)
    assert make_conglomerates(image, nothing, (image, labels), rng)[1] is nothing
    cut_off = np.zeros_like(labels)
    cut_off[0] = 1
    assert make_conglomerates(image, labels, (image, cut_off), rng)[1] is labels
