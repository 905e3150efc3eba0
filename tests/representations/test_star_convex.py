import numpy as np
import pytest
import torch

from morula.representations.star_convex import StarConvex
from synthetic import touching_balls

SPACING = (1.0, 1.0)


def test_probability_is_one_at_the_centre_and_low_at_the_edge():
    labels = np.zeros((9, 9), np.int32)
    labels[1:8, 1:8] = 3
    maps = StarConvex().encode(labels, SPACING)
    assert maps["probability"][0, 4].tolist() == [0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25, 0]
    assert maps["distances"].shape == (32, 9, 9)
    assert maps["distances"][:, 4, 4].min() == 3.5


def test_distances_are_in_pixels_whatever_the_unit():
    labels = touching_balls(2, 32, 5)
    pixels = StarConvex().encode(labels, SPACING)["distances"]
    np.testing.assert_allclose(StarConvex().encode(labels, (0.2, 0.2))["distances"], pixels, rtol=1e-5)


def test_the_loss_is_that_of_stardist():
    labels = touching_balls(2, 32, 5)
    representation = StarConvex()
    targets = {k: torch.from_numpy(v)[None] for k, v in representation.encode(labels, SPACING).items()}
    probability, distances = targets["probability"], targets["distances"]
    logits = {"probability": torch.zeros_like(probability), "distances": distances + 2}
    terms = representation.loss(logits, targets, torch.ones(1, 1, 32, 32))
    assert terms["probability"].item() == pytest.approx(np.log(2), rel=1e-5)
    # 0.2 times the mean error weighted by the probability, and 1e-4 of the distances on background.
    assert terms["distances"].item() == pytest.approx(0.2 * (2 + 1e-4 * 2), rel=1e-4)


@pytest.mark.parametrize("stride", [2, 4])
@pytest.mark.parametrize("size", [64, 61])
def test_a_grid_step(stride, size):
    labels = touching_balls(2, 64)[:size, :size].copy()
    representation = StarConvex(stride=stride)
    maps = representation.encode(labels, SPACING)
    grid = -(-size // stride)
    assert maps["probability"].shape == (1, grid, grid)
    decoded = representation.decode(maps, SPACING)
    assert decoded.shape == (grid * stride,) * 2
    assert decoded.max() == labels.max()


def test_annotated_pixels_on_the_grid():
    labels = touching_balls(2, 32, 5)
    representation = StarConvex(stride=2)
    targets = {k: torch.from_numpy(v)[None] for k, v in representation.encode(labels, SPACING).items()}
    annotated = torch.ones(1, 1, 32, 32)
    annotated[..., :17] = 0
    logits = {k: torch.zeros_like(v).requires_grad_() for k, v in targets.items()}
    sum(representation.loss(logits, targets, annotated).values()).backward()
    assert logits["probability"].grad[..., :9].abs().max() == 0
    assert logits["probability"].grad[..., 9:].abs().min() > 0
