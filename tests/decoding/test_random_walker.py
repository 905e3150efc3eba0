import numpy as np
import pytest
from scipy import ndimage
from skimage.segmentation import random_walker as sk_random_walker

from morula.decoding.random_walker import random_walker


def centres(labels):
    markers = np.zeros_like(labels)
    for label, place in enumerate(ndimage.center_of_mass(labels > 0, labels, range(1, labels.max() + 1)), 1):
        markers[tuple(int(c) for c in place)] = label
    return markers


@pytest.mark.parametrize("direct", [True, False])
def test_agrees_with_scikit_image_on_a_cluster(monkeypatch, direct):
    if not direct:
        monkeypatch.setattr("morula.decoding.random_walker._LARGEST_DIRECT", {2: 0})
    y, x = np.indices((40, 60))
    mask = (np.hypot(y - 20, x - 18) < 14) | (np.hypot(y - 20, x - 42) < 14)
    rng = np.random.default_rng(0)
    noisy = np.where(mask, 0.8, 0.1) + rng.normal(0, 0.05, mask.shape)
    probability = ndimage.gaussian_filter(noisy, 1).astype(np.float32)
    markers = np.zeros(mask.shape, np.int32)
    markers[20, 18], markers[18, 40], markers[25, 30] = 1, 2, 3
    rows = np.flatnonzero(mask.any(1))
    columns = np.flatnonzero(mask.any(0))
    crop = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    expected = sk_random_walker(
        probability[crop], np.where(mask[crop], markers[crop], -1), beta=130, mode="bf"
    )
    found = random_walker(probability, markers, mask)
    assert (found[crop] == np.maximum(expected, 0)).mean() >= (1 if direct else 0.999)


def test_recovers_touching_balls(labels):
    probability = ndimage.gaussian_filter((labels > 0).astype(np.float32), 1)
    found = random_walker(probability, centres(labels), labels > 0)
    assert (found == labels).mean() > 0.98


def test_clusters_with_one_marker_and_with_none():
    mask = np.array([[1, 1, 0, 1, 1, 0, 1, 1, 1]], bool)
    markers = np.array([[0, 7, 5, 0, 0, 0, 3, 0, 9]], np.int32)
    probability = np.array([[1, 1, 0, 1, 1, 0, 1, 0.2, 0.1]], np.float32)
    assert random_walker(probability, markers, mask).tolist() == [[7, 7, 0, 0, 0, 0, 3, 9, 9]]


def test_seeds_everywhere_and_a_flat_map():
    markers = np.array([[1, 2, 2]], np.int32)
    mask = np.ones((1, 3), bool)
    assert random_walker(np.ones((1, 3), np.float32), markers, mask).tolist() == [[1, 2, 2]]
    free = np.array([[1, 0, 0, 0, 2]], np.int32)
    flat = random_walker(np.ones((1, 5), np.float32), free, np.ones((1, 5), bool))
    assert flat[0, [0, 1, 3, 4]].tolist() == [1, 1, 2, 2]


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="shape"):
        random_walker(np.zeros((2, 2), np.float32), np.zeros((2, 2), np.int32), np.ones((2, 3), bool))
