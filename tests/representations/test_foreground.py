import numpy as np
import pytest
import torch

from morula.losses.entropy import hardest_pixels
from morula.representations.foreground import Foreground
from synthetic import touching_balls


def test_distance_split_parts_what_touches(labels):
    spacing = (1.0,) * labels.ndim
    maps = Foreground().encode(labels, spacing)
    assert Foreground().decode(maps, spacing).max() < labels.max()
    assert Foreground(split="distance").decode(maps, spacing).max() == labels.max()


def test_a_large_waist_joins_again():
    labels = touching_balls(2, 64)
    maps = Foreground().encode(labels, (1.0, 1.0))
    joined = Foreground(split="distance", min_waist_px=50.0).decode(maps, (1.0, 1.0))
    np.testing.assert_array_equal(joined > 0, labels > 0)
    assert joined.max() == Foreground().decode(maps, (1.0, 1.0)).max()


@pytest.mark.parametrize(
    ("losses", "names"),
    [
        ("cross_entropy", {"cross_entropy"}),
        ("dice", {"dice"}),
        ("sum", {"cross_entropy", "dice"}),
        ("hardest", {"hardest"}),
        ("dice_and_hardest", {"dice", "hardest"}),
    ],
)
def test_the_losses_of_the_text(losses, names):
    logits = {"foreground": torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))}
    targets = {"foreground": (torch.rand(2, 1, 8, 8) > 0.5).float()}
    annotated = torch.ones(2, 1, 8, 8)
    terms = Foreground(losses=losses, hardest=7, hardest_weight=0.5).loss(logits, targets, annotated)
    assert set(terms) == names
    if "hardest" in names:
        expected = 0.5 * hardest_pixels(logits["foreground"], targets["foreground"], annotated, 7.0)
        assert terms["hardest"] == expected
