import numpy as np
import pytest
import torch

from morula.representations.signed_distance import SignedDistance

SPACING = (1.0, 1.0)


def two_hills(saddle: float, low: float) -> np.ndarray:
    """A high hill, a saddle, a low hill, -1 around."""
    row = np.full((7, 16), -1, np.float32)
    row[1:-1, 1:-1] = np.concatenate(
        [[0.3, 0.7, 1, 0.9, 0.7], [saddle] * 2, [low - 0.1, low, low, low - 0.1], [0.1, 0.1, 0.1]]
    )
    return row[None]


@pytest.mark.parametrize(
    ("saddle", "low", "threshold", "dynamics"),
    [(0.2, 0.9, 2, 2), (0.6, 0.95, 1, 2), (0.1, 0.45, 1, 2), (0.8, 0.9, 1, 1)],
    ids=["clear", "high saddle", "low hill", "one hill"],
)
def test_dynamics_part_hills_that_one_threshold_does_not(saddle, low, threshold, dynamics):
    maps = {"distance": two_hills(saddle, low)}
    assert SignedDistance().decode(maps, SPACING).max() == threshold
    assert SignedDistance(markers="dynamics").decode(maps, SPACING).max() == dynamics


def test_small_markers_and_objects_are_dropped():
    maps = {"distance": two_hills(0.2, 0.9)}
    assert SignedDistance(min_marker_px=30).decode(maps, SPACING).max() == 1
    assert SignedDistance(min_object_px=60).decode(maps, SPACING).max() == 0


def test_pixels_near_instances_weigh_more():
    target = torch.full((1, 1, 1, 4), -1.0)
    target[..., 0] = 0.5
    annotated = torch.ones_like(target)
    near, far = target.clone(), target.clone()
    near[..., 0] += 0.4
    far[..., 3] += 0.4
    loss = SignedDistance(near_weight=4.0, error="l1").loss
    first = loss({"distance": near}, {"distance": target}, annotated)["distance"].item()
    second = loss({"distance": far}, {"distance": target}, annotated)["distance"].item()
    assert first == pytest.approx(0.4 * 4 / 7)
    assert second == pytest.approx(0.4 / 7)


def test_the_mask_ends_at_the_zero_level(labels):
    representation = SignedDistance()
    maps = representation.encode(labels, (1.0,) * labels.ndim)
    np.testing.assert_array_equal(maps["distance"][0] > 0, labels > 0)
