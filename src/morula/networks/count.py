"""What a network costs: parameters, and multiply-adds of one forward pass. Imports torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from morula.networks.base import Network
from morula.networks.blocks import CONV, CONV_UP
from morula.representations import Head


@dataclass(frozen=True)
class Cost:
    """Size and work of a network."""

    parameters: int
    """Numbers that training changes."""

    multiply_adds: int
    """Of all convolutions for one image. Tools that print "FLOPs" mostly mean these, not twice as many."""


def cost(network: Network, in_channels: int, heads: Sequence[Head], size: Sequence[int]) -> Cost:
    """Parameters and multiply-adds of a network for one image, heads of deep supervision included.

    Nothing is computed: the network is built and run on torch's ``meta`` device, which knows shapes only.

    Args:
        network: The configuration.
        in_channels: Channels of the image.
        heads: What it predicts.
        size: Spatial shape of the image, multiples of the network's divisors.
    """
    total = 0

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        # A weight meets every output pixel; of a transposed convolution, every input pixel.
        grid = inputs[0] if isinstance(module, tuple(CONV_UP.values())) else output
        total += math.prod(module.weight.shape) * math.prod(grid.shape[2:])  # pyright: ignore

    with torch.device("meta"), torch.no_grad():
        built = network.build(len(size), in_channels, tuple(heads)).train()
        for module in built.modules():
            if isinstance(module, (*CONV.values(), *CONV_UP.values())):
                module.register_forward_hook(add)
        # Two images: batch norms refuse a single pixel of a single image. Only pixels are counted.
        built(torch.empty(2, in_channels, *size))
    return Cost(sum(parameter.numel() for parameter in built.parameters()), total)
