import numpy as np
import pytest
from scipy import ndimage
from skimage.morphology import h_maxima

from morula.decoding.dynamics import split_by_dynamics
from synthetic import touching_balls


def rough(ndim: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return ndimage.gaussian_filter(rng.normal(size=(40,) * ndim if ndim == 2 else (18,) * 3), 2).astype(
        np.float32
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("share", [0.05, 0.2])
def test_one_piece_for_every_h_maximum(ndim, seed, share):
    height = rough(ndim, seed)
    dynamics = share * float(np.ptp(height))
    pieces = split_by_dynamics(height, np.ones(height.shape, bool), dynamics, levels=65536)
    assert (pieces > 0).all()
    faces = ndimage.generate_binary_structure(ndim, 1)
    maxima, count = ndimage.label(h_maxima(height.astype(float), dynamics, faces))
    assert len(np.unique(pieces)) == count
    owners = [np.unique(pieces[maxima == i]) for i in range(1, count + 1)]
    assert all(len(owner) == 1 for owner in owners)
    assert len({int(owner[0]) for owner in owners}) == count


def test_pieces_meet_in_the_valley():
    profile = np.array([0, 2, 4, 6, 4, 2, 1, 3, 5, 3, 0], np.float32)
    height = np.repeat(profile[None], 5, 0)
    pieces = split_by_dynamics(height, height > 0, 2.0)
    left, right = pieces[2, 3], pieces[2, 8]
    assert left != right
    assert (pieces[:, 1:6] == left).all()
    assert (pieces[:, 7:10] == right).all()


def test_pieces_apart_stay_apart_however_large_the_dynamics():
    mask = np.array([[1, 1, 0, 1, 1]], bool)
    pieces = split_by_dynamics(mask.astype(np.float32), mask, 100.0)
    assert pieces[0, 0] == pieces[0, 1] != pieces[0, 3] == pieces[0, 4]
    assert pieces[0, 2] == 0


def test_small_pieces_join_what_they_meet():
    height = np.array([[1, 9, 1, 5, 6, 5, 4, 3]], np.float32)
    mask = np.ones(height.shape, bool)
    assert len(np.unique(split_by_dynamics(height, mask, 2.0))) == 2
    assert len(np.unique(split_by_dynamics(height, mask, 2.0, min_size=6))) == 1


def test_the_distance_of_touching_balls_has_one_piece_each(labels):
    depth = ndimage.distance_transform_edt(labels > 0).astype(np.float32)
    pieces = split_by_dynamics(depth, labels > 0, 1.0)
    assert len(np.unique(pieces)) - 1 == labels.max()


@pytest.mark.parametrize("height", [np.zeros((4, 5), np.float32), np.full((4, 5), np.nan, np.float32)])
def test_flat_and_undefined_heights(height):
    assert len(np.unique(split_by_dynamics(height, np.ones((4, 5), bool), 0.1))) == 1
    assert split_by_dynamics(height, np.zeros((4, 5), bool), 0.1).max() == 0


def test_inputs_stay_as_they_are():
    labels = touching_balls(2, 32, 5)
    height = labels.astype(np.float32)
    before = height.copy()
    split_by_dynamics(height, labels > 0, 1.0)
    np.testing.assert_array_equal(height, before)
