import math

import pytest
import torch
import torch.nn.functional as F

from morula.losses.entropy import binary_cross_entropy, cross_entropy, hardest_pixels


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 6, 5, generator=generator)
    target = (torch.rand(2, 3, 6, 5, generator=generator) > 0.5).float()
    annotated = (torch.rand(2, 1, 6, 5, generator=generator) > 0.3).float()
    return logits, target, annotated


def test_binary_cross_entropy_over_annotated_pixels(case):
    logits, target, annotated = case
    chosen = annotated.expand_as(logits) > 0
    expected = F.binary_cross_entropy_with_logits(logits[chosen], target[chosen])
    assert binary_cross_entropy(logits, target, annotated).item() == pytest.approx(expected.item(), rel=1e-5)


def test_weighted_binary_cross_entropy():
    logits, target = torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 0.0]]]])
    logits[..., 1] = math.log(3)  # a probability of .75 where 0 is true
    weight = torch.tensor([[[[1.0, 3.0]]]])
    expected = (math.log(2) + 3 * math.log(4)) / 4
    annotated = torch.ones(1, 1, 1, 2)
    assert binary_cross_entropy(logits, target, annotated, weight).item() == pytest.approx(expected, rel=1e-6)


def test_cross_entropy_is_that_of_torch(case):
    logits, _, annotated = case
    classes = torch.randint(0, 3, (2, 6, 5), generator=torch.Generator().manual_seed(1))
    target = F.one_hot(classes, 3).movedim(-1, 1).float()
    weights = (1.0, 2.0, 0.5)
    ignored = torch.where(annotated[:, 0] > 0, classes, -100)
    for given in (None, weights):
        tensor = None if given is None else torch.tensor(given)
        expected = F.cross_entropy(logits, ignored, tensor, ignore_index=-100)
        assert cross_entropy(logits, target, annotated, given).item() == pytest.approx(
            expected.item(), rel=1e-5
        )


@pytest.mark.parametrize("hardest", [0.2, 12.0])
def test_hardest_pixels_by_sorting(case, hardest):
    logits, target, _ = case
    logits, target = logits[:, :1], target[:, :1]
    error = F.binary_cross_entropy_with_logits(logits, target, reduction="none").flatten(1)
    count = 6 if hardest < 1 else 12
    expected = error.sort(1, descending=True).values[:, :count].mean()
    annotated = torch.ones_like(logits)
    assert hardest_pixels(logits, target, annotated, hardest).item() == pytest.approx(
        expected.item(), rel=1e-5
    )


def test_all_pixels_are_the_hardest(case):
    logits, target, annotated = case
    mean = binary_cross_entropy(logits[:, :1], target[:, :1], annotated)
    hard = hardest_pixels(logits[:, :1], target[:, :1], annotated, 1.0)
    assert hard.item() == pytest.approx(mean.item(), rel=1e-5)


def test_gradients_of_the_hardest_pixels_only():
    logits = torch.tensor([[[[0.0, 1.0, 2.0, 3.0, 9.0]]]]).requires_grad_()
    annotated = torch.tensor([[[[1.0, 1.0, 1.0, 1.0, 0.0]]]])
    hardest_pixels(logits, torch.zeros(1, 1, 1, 5), annotated, 0.4).backward()
    assert (logits.grad[0, 0, 0] != 0).tolist() == [False, False, True, True, False]
