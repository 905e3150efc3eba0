import numpy as np
import pytest
import torch
from scipy import ndimage

from morula.representations.hover import HoVer, _open
from synthetic import touching_balls

SPACING = (1.0, 1.0)


def test_loss_terms_of_the_text():
    labels = touching_balls(2, 32, 5)
    representation = HoVer()
    targets = {k: torch.from_numpy(v)[None] for k, v in representation.encode(labels, SPACING).items()}
    logits = {"foreground": targets["foreground"] * 20 - 10, "offsets": targets["offsets"] + 0.5}
    annotated = torch.ones(1, 1, *labels.shape)
    terms = representation.loss(logits, targets, annotated)
    assert set(terms) == {"foreground/cross_entropy", "foreground/dice", "offsets", "offsets/gradient"}
    assert terms["offsets"].item() == pytest.approx(0.25)
    # A shift of everything has no slope, but for the image's edge.
    assert terms["offsets/gradient"].item() < 0.01
    assert "offsets/gradient" not in HoVer(gradient_weight=0).loss(logits, targets, annotated)


def test_the_foreground_terms_by_hand():
    """A map of one half: cross-entropy is log 2, and Dice follows from the number of object pixels."""
    labels = touching_balls(2, 32, 5)
    representation = HoVer()
    targets = {k: torch.from_numpy(v)[None] for k, v in representation.encode(labels, SPACING).items()}
    logits = {k: torch.zeros_like(v) for k, v in targets.items()}
    terms = representation.loss(logits, targets, torch.ones(1, 1, *labels.shape))
    assert terms["foreground/cross_entropy"].item() == pytest.approx(np.log(2))
    inside = (labels > 0).sum()
    dice = (inside + 1) / (0.5 * labels.size + inside + 1)
    assert terms["foreground/dice"].item() == pytest.approx(1 - dice, abs=1e-6)


def test_gradients_count_inside_nuclei_only():
    labels = np.zeros((20, 20), np.int32)
    labels[2:6, 2:6] = 1
    representation = HoVer()
    targets = {k: torch.from_numpy(v)[None] for k, v in representation.encode(labels, SPACING).items()}
    offsets = targets["offsets"].clone()
    offsets[..., 12:, 12:] += 5
    terms = representation.loss(
        {"foreground": targets["foreground"], "offsets": offsets}, targets, torch.ones(1, 1, 20, 20)
    )
    assert terms["offsets/gradient"].item() == 0
    assert terms["offsets"].item() > 0


def test_what_else_is_in_the_image_does_not_matter():
    # The published decoder scales by the extremes of the image; cut out, a nucleus must look the same.
    labels = touching_balls(2, 64)
    representation = HoVer()
    maps = representation.encode(labels, SPACING)
    offsets = maps["offsets"].copy()
    offsets[:, :4, :4] = [[[50.0]], [[-50.0]]]
    np.testing.assert_array_equal(
        representation.decode({**maps, "offsets": offsets}, SPACING), representation.decode(maps, SPACING)
    )


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("radius", [0, 1, 2])
def test_opening_agrees_with_scipy(ndim, radius):
    mask = np.random.default_rng(radius).random((24,) * ndim) < 0.9
    cross = ndimage.generate_binary_structure(ndim, 1)
    expected = ndimage.binary_opening(mask, cross, radius) if radius else mask
    np.testing.assert_array_equal(_open(mask, radius), expected)


@pytest.mark.parametrize("opening_px", [0, 1, 2])
def test_opening_of_markers(labels, opening_px):
    representation = HoVer(opening_px=opening_px)
    spacing = (1.0,) * labels.ndim
    assert representation.decode(representation.encode(labels, spacing), spacing).max() == labels.max()
