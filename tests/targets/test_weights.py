import numpy as np
import pytest
from scipy import ndimage

from morula.targets.weights import unet_weight_map


def test_the_formula_of_the_text(labels):
    w0, sigma = 10.0, 2.0
    each = [ndimage.distance_transform_edt(labels != i) for i in range(1, labels.max() + 1)]
    d1, d2 = np.sort(each, 0)[:2]
    share = (labels > 0).mean()
    expected = np.where(labels > 0, 1 / share, 1 / (1 - share)) + w0 * np.exp(
        -((d1 + d2) ** 2) / (2 * sigma**2)
    )
    np.testing.assert_allclose(unet_weight_map(labels, w0, sigma), expected, rtol=1e-4)


def test_hand_computed_gap():
    # Two halves of a row with a gap of one pixel: d1 = d2 = 1 there.
    row = np.array([[1, 1, 0, 2]], np.int32)
    weights = unet_weight_map(row, w0=10.0, sigma=5.0)
    assert weights[0, 2] == pytest.approx(4 + 10 * np.exp(-4 / 50))
    assert weights[0, 3] == pytest.approx(4 / 3 + 10 * np.exp(-4 / 50))


def test_three_classes_are_balanced_by_their_shares(labels):
    classes = np.where(labels == 0, 0, np.where(labels % 2, 1, 2))
    weights = unet_weight_map(labels, 1e-9, 5.0, classes)
    for index in range(3):
        np.testing.assert_allclose(weights[classes == index], 1 / (classes == index).mean(), rtol=1e-5)
    np.testing.assert_allclose(weights.mean(), 3, rtol=1e-5)


def test_one_class_only():
    assert (unet_weight_map(np.zeros((4, 4), np.int32)) == 1).all()
