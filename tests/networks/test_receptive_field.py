import numpy as np
import pytest
import torch
from torch import nn

from morula.networks import read_network
from morula.networks.receptive_field import sensitivities
from morula.prediction.ensemble import ready
from morula.representations import Head

MASK = Head("mask", 1, "sigmoid")


class Stack(nn.Module):
    """Convolutions one after the other, each a level of the encoder."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(layers)
        self.requires_grad_(False)

    def forward(self, image):
        for layer in self.encoder:
            image = layer(image)
        return [{"mask": image}]


def test_the_gradient_of_one_convolution_is_its_kernel():
    layer = nn.Conv2d(2, 1, 3, padding=1)
    image, level = sensitivities(
        Stack(layer), [MASK], [np.random.default_rng(0).random((2, 9, 9), np.float32)]
    )
    expected = layer.weight[0].abs().sum(0)
    np.testing.assert_allclose(image.gradient[3:6, 3:6], expected / expected.sum(), rtol=1e-5)
    assert image.gradient.sum() == pytest.approx(1)
    assert (image.steps, image.reach_px) == ((1, 1), (3, 3))
    assert np.argwhere(level.gradient).tolist() == [[4, 4]]


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_theoretical_field_is_that_of_the_formula(ndim):
    """Each kernel adds its size less one, in steps of its grid."""
    kind, pool = {2: (nn.Conv2d, nn.MaxPool2d), 3: (nn.Conv3d, nn.MaxPool3d)}[ndim]
    up = nn.Upsample(scale_factor=2)
    layers = kind(1, 2, 3, padding=1), pool(2), nn.Sequential(kind(2, 1, 3, padding=1), nn.ReLU()), up
    patch = np.zeros((1, *[16] * ndim), np.float32)
    found = sensitivities(Stack(*layers), [MASK], [patch])
    # 3 pixels of the coarse grid are 6 of the fine one, and the first kernel adds one on either side.
    assert [item.reach_px for item in found] == [(side,) * ndim for side in (8, 6, 6, 2, 1)]
    assert [item.steps for item in found] == [(step,) * ndim for step in (1, 1, 2, 2, 1)]


def test_dead_pixels_have_no_field():
    layer = nn.Conv2d(1, 1, 3, padding=1)
    torch.nn.init.zeros_(layer.weight)
    image, _ = sensitivities(Stack(layer), [MASK], [np.ones((1, 8, 8), np.float32)])
    assert not image.gradient.any()
    assert image.reach_px == (3, 3)


@pytest.mark.parametrize(
    ("kind", "fields", "levels"),
    [
        ("plain_unet", {"features": (4, 8, 8)}, [1, 2, 4]),
        ("residual_unet", {"features": (4, 8), "blocks": (1, 0)}, [2, 4]),
        ("resnet_unet", {"width": 0.125}, [2, 4, 8, 16]),
        ("xception_unet", {"width": 0.05}, [2, 4, 8, 16, 32]),
        ("hovernet", {"width": 0.05}, [1, 2, 4, 8]),
    ],
)
def test_every_network_tells_its_levels(kind, fields, levels):
    heads = (MASK, Head("offsets", 2, "identity", stride=2))
    network = ready(read_network({"kind": kind, **fields}).build(2, 1, heads), 2)
    rng = np.random.default_rng(0)
    seen = []
    found = sensitivities(
        network,
        heads,
        [rng.random((1, 64, 64), np.float32) for _ in range(2)],
        lambda done, total: seen.append((done, total)),
    )
    assert [item.steps for item in found] == [(step, step) for step in (1, *levels)]
    assert all(item.gradient.sum() == pytest.approx(1) for item in found)
    assert seen == [(1, 2), (2, 2)]
