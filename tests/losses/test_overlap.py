import pytest
import torch

from morula.losses.overlap import soft_dice

ONES = torch.ones(1, 1, 2, 2)


def test_hand_computed():
    probabilities = torch.tensor([[[[1.0, 0.5], [0.0, 0.0]]]])
    target = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
    # One pixel in common, of 1.5 predicted and two true ones.
    assert soft_dice(probabilities, target, ONES, smooth=0.0).item() == pytest.approx(1 - 2 / 3.5)


def test_the_weight_multiplies_tp_fp_and_fn():
    generator = torch.Generator().manual_seed(0)
    p, g, w = (torch.rand(2, 1, 5, 6, generator=generator) for _ in range(3))
    tp, fp, fn = (w * p * g).sum(), (w * p * (1 - g)).sum(), (w * (1 - p) * g).sum()
    expected = 1 - 2 * tp / (2 * tp + fp + fn)
    assert soft_dice(p, g, torch.ones_like(w), w, smooth=0.0).item() == pytest.approx(
        expected.item(), rel=1e-5
    )


def test_what_is_not_annotated_does_not_count():
    p, g = torch.rand(1, 2, 4, 4), torch.rand(1, 2, 4, 4)
    annotated = torch.zeros(1, 1, 4, 4)
    annotated[..., :2] = 1
    inside = soft_dice(p[..., :2], g[..., :2], annotated[..., :2])
    assert soft_dice(p, g, annotated).item() == pytest.approx(inside.item(), rel=1e-6)


def test_an_absent_class_that_is_not_predicted_costs_nothing():
    zeros = torch.zeros(1, 3, 2, 2)
    assert soft_dice(zeros, zeros, ONES).item() == 0


def test_three_dimensions():
    g = (torch.rand(2, 3, 4, 5, 6) > 0.5).float()
    assert soft_dice(g, g, torch.ones(2, 1, 4, 5, 6)).item() == pytest.approx(0, abs=1e-6)
