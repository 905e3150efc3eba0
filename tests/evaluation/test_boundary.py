import numpy as np
import pytest
from scipy import ndimage
from skimage.feature import canny

from morula.evaluation.boundary import BAND_PX, count_boundary
from morula.evaluation.metrics import score_image
from synthetic import touching_balls


def half(edge: int, side: int = 64) -> np.ndarray:
    """Everything left of a column."""
    labels = np.zeros((side, side), np.int32)
    labels[:, :edge] = 1
    return labels


@pytest.mark.parametrize("shift", [0, 1, 3, 7, 9])
def test_a_straight_edge_by_hand(shift: int):
    # Two bands of 7 columns, shifted: they share 7 - shift columns, never fewer than none.
    shared, true, predicted = count_boundary(half(20), half(20 + shift))
    assert true == predicted == BAND_PX * 64
    assert shared == max(0, BAND_PX - shift) * 64
    assert score_image(half(20), half(20 + shift)).boundary_dice == pytest.approx(max(0, BAND_PX - shift) / 7)


def test_agrees_with_scikit_image():
    truth = touching_balls(2, shape=96, radius=12)
    predicted = np.roll(truth, 2, 0)

    def band(labels: np.ndarray) -> np.ndarray:
        return ndimage.binary_dilation(canny((labels > 0).astype(float), sigma=0.5), np.ones((7, 7)))

    a, b = band(truth), band(predicted)
    reference = 2 * (a & b).sum() / (a.sum() + b.sum())
    assert score_image(truth, predicted).boundary_dice == pytest.approx(reference, abs=0.03)


def test_touching_objects_have_one_outline():
    truth = half(20)
    split = truth.copy()
    split[32:, :20] = 2
    assert count_boundary(truth, split) == count_boundary(truth, truth)


def test_a_volume_is_its_planes():
    truth, predicted = np.stack([half(20), half(30)]), np.stack([half(22), half(37)])
    parts = [count_boundary(a, b) for a, b in zip(truth, predicted, strict=True)]
    assert count_boundary(truth, predicted) == tuple(map(sum, zip(*parts, strict=True)))


def test_what_is_not_annotated_counts_nowhere():
    truth, predicted = half(20), half(20)
    truth[:, 40:] = -1
    predicted[:, 50:60] = 2
    shared, true, found = count_boundary(truth, predicted)
    assert shared == true == found == BAND_PX * 64


def test_without_edges_it_is_1():
    empty = np.zeros((8, 8), np.int32)
    assert score_image(empty, empty).boundary_dice == 1
