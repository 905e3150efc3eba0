import pytest
import torch
from torch import nn

from morula.networks import read_network
from morula.networks.count import Cost, cost
from morula.representations import Head

ORGANS = (Head("classes", 5, "softmax"), Head("distance", 4, "identity"))
"""Probabilities of four organs and of the background, and the organs' distance maps."""

PATCH = (80, 192, 160)
"""Printed in the paper of system E."""

FEATURES = (32, 64, 128, 256, 320, 320, 320)


def test_a_small_network_by_hand():
    network = read_network({"kind": "plain_unet", "features": (4, 8)})
    convolutions = [3 * 4 * 9, 4 * 4 * 9, 4 * 8 * 9, 8 * 8 * 9, 8 * 4 * 9, 4 * 4 * 9]
    norms = 2 * (4 + 4 + 8 + 8 + 4 + 4)
    up, head = 8 * 4 * 4, 4 * 2
    # The transposed convolution has an offset per channel, the head one per output.
    parameters = sum(convolutions) + norms + up + 4 + head + 2
    fine, coarse = 16 * 16, 8 * 8
    work = fine * (convolutions[0] + convolutions[1] + convolutions[4] + convolutions[5] + head)
    work += coarse * (convolutions[2] + convolutions[3] + up)
    assert cost(network, 3, [Head("mask", 2, "softmax")], (16, 16)) == Cost(parameters, work)


def test_groups_are_counted_once():
    network = read_network({"kind": "xception_unet", "width": 0.1})
    built = network.build(2, 3, (Head("mask", 1, "sigmoid"),))
    counted = cost(network, 3, [Head("mask", 1, "sigmoid")], (64, 64))
    assert counted.parameters == sum(parameter.numel() for parameter in built.parameters())
    assert counted.multiply_adds % 4 == 0


def encoder_weights(kind: str) -> int:
    with torch.device("meta"):
        encoder: nn.Module = read_network({"kind": kind}).build(2, 3, ORGANS).encoder
    return sum(parameter.numel() for parameter in encoder.parameters())


@pytest.mark.parametrize(
    ("kind", "published", "classifier"),
    [
        # torchvision and timm print the sums with a classifier of 1000 classes.
        ("resnet_unet", 11_689_512, 512 * 1000 + 1000),
        ("xception_unet", 22_855_952, 2048 * 1000 + 1000),
        ("hovernet", 25_549_352, 2048 * 1000 + 1000),
    ],
)
def test_encoders_have_the_published_size(kind, published, classifier):
    assert encoder_weights(kind) == published - classifier


DEEP = {"features": FEATURES[:6], "strides": ((2, 2, 2),) * 4 + ((1, 2, 2),)}
"""What nnU-Net's rule gives for the patch when pixels are cubes."""

ANISOTROPIC = {
    "features": FEATURES[:6],
    "strides": ((1, 2, 2),) + ((2, 2, 2),) * 4,
    "kernels": ((1, 3, 3),) + ((3, 3, 3),) * 5,
}
"""The same for slices three times as thick as their pixels, as in abdominal CT (2.5 x 0.8 x 0.8 mm)."""

DEEPER = {"features": FEATURES, "strides": (*DEEP["strides"], (1, 2, 1))}
"""A seventh stage; the patch has room for it along one axis only."""


@pytest.mark.parametrize(
    ("fields", "heads", "parameters", "giga"),
    [
        (DEEP, ORGANS[:1], 30_784_569, 560.04),
        (DEEP, ORGANS, 30_787_789, 560.45),
        (ANISOTROPIC, ORGANS, 31_114_893, 657.82),
        (DEEPER, ORGANS, 44_822_358, 562.13),
    ],
)
def test_system_e_in_three_dimensions(fields, heads, parameters, giga):
    """What the planned network counts against the printed 41,268,192 parameters and 590.9 GFLOP."""
    counted = cost(read_network({"kind": "plain_unet", **fields}), 1, heads, PATCH)
    assert counted.parameters == parameters
    assert counted.multiply_adds / 1e9 == pytest.approx(giga, abs=0.005)


def test_the_printed_size_of_system_e_is_that_of_a_2d_network():
    """41,268,192 is nnU-Net's 2D network of 8 stages: one channel, five classes, no distance maps.

    There every convolution also has an offset, transposed ones and heads have none.
    """
    features = (32, 64, 128, 256, 480, 480, 480, 480)
    network = read_network({"kind": "plain_unet", "features": features})
    counted = cost(network, 1, ORGANS[:1], (512, 512))
    offsets = 2 * sum(features) + 2 * sum(features[:-1])
    ours = sum(features[:-1]) + 5 * len(features[:-1])
    assert counted.parameters + offsets - ours == 41_268_192
    assert counted.multiply_adds / 1e9 == pytest.approx(57.87, abs=0.005)


def test_the_printed_size_of_system_a():
    """52.56 M is nnU-Net's 2D network of 9 stages: three channels, three classes."""
    features = (32, 64, 128, 256, 480, 480, 480, 480, 480)
    network = read_network({"kind": "plain_unet", "features": features})
    counted = cost(network, 3, [Head("classes", 3, "softmax")], (1024, 1024))
    assert counted.parameters / 1e6 == pytest.approx(52.56, abs=0.01)
    assert counted.multiply_adds / 1e9 == pytest.approx(232.4, abs=0.1)
