"""U-Net on a ResNet-18 encoder, 16 times down, with a decoder of transposed convolutions (system B).

He et al. 2016, https://arxiv.org/abs/1512.03385; the layers are named as in torchvision and timm
(``resnet18``), so that their weights load.
"""

from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from morula.networks.base import Network
from morula.networks.blocks import CONV, ConvBlock, Heads, SkipUNet, Style, UpBlock, initialize, norm, scaled
from morula.representations import Head


class ResNetUNet(Network, frozen=True):
    """ResNet-18 down; transposed convolutions with skips by concatenation up, to the image's own grid.

    System B says "down-samples its input by 16 times" and "filter depth is doubled after each
    down-sampling step". ResNet-18 as published goes 32 times down: its max pooling, which no weight belongs
    to, is left out here, so that all four stages stand. The finest skip is the image itself.
    """

    kind: Literal["resnet_unet"] = "resnet_unet"

    features: tuple[int, int, int, int] = (32, 64, 128, 256)
    """Channels of the decoder, finest first."""

    width: float = Field(1.0, gt=0, le=2)
    """Factor on all channels; `encoder_weights` need 1."""

    def build(self, ndim: int, in_channels: int, heads: tuple[Head, ...]) -> nn.Module:
        """See `Network.build`."""
        return ResNetUNetModule(self, ndim, in_channels, heads)

    def divisors(self, ndim: int) -> tuple[int, ...]:
        """Every spatial size must be a multiple of these, per axis, in pixels."""
        return (16,) * ndim


class BasicBlock(nn.Sequential):
    """Two 3x3 convolutions, added to the input. A `Sequential` so that prediction folds its norms."""

    def __init__(self, ndim: int, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = CONV[ndim](inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = norm("batch", ndim, outputs)
        self.act1 = nn.ReLU(inplace=True)
        self.conv2 = CONV[ndim](outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = norm("batch", ndim, outputs)
        self.downsample = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.downsample.append(CONV[ndim](inputs, outputs, 1, stride, bias=False))
            self.downsample.append(norm("batch", ndim, outputs))

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """``(batch, inputs, *spatial)`` to ``(batch, outputs, *spatial / stride)``."""
        inner = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x)))))
        return torch.relu(inner + self.downsample(x))


class ResNetEncoder(nn.Sequential):
    """ResNet-18 without max pooling and classifier."""

    def __init__(self, ndim: int, in_channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.conv1 = CONV[ndim](in_channels, widths[0], 7, 2, padding=3, bias=False)
        self.bn1 = norm("batch", ndim, widths[0])
        self.act1 = nn.ReLU(inplace=True)
        for number, (inputs, outputs) in enumerate(pairwise((widths[0], *widths)), 1):
            blocks = (
                BasicBlock(ndim, inputs, outputs, stride=1 if number == 1 else 2),
                BasicBlock(ndim, outputs, outputs, stride=1),
            )
            self.add_module(f"layer{number}", nn.Sequential(*blocks))

    def forward(self, image: Tensor) -> list[Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Image ``(batch, channels, *spatial)`` to features at 1/2, 1/4, 1/8 and 1/16 of its size."""
        levels = []
        x = image
        for name, layer in self.named_children():
            x = layer(x)
            if name.startswith("layer"):
                levels.append(x)
        return levels


class ResNetUNetModule(SkipUNet):
    """The network that `ResNetUNet` describes."""

    def __init__(self, spec: ResNetUNet, ndim: int, in_channels: int, heads: tuple[Head, ...]) -> None:
        super().__init__()
        down = tuple(scaled(channels, spec.width) for channels in (64, 128, 256, 512))
        up = tuple(scaled(channels, spec.width) for channels in spec.features)
        style = Style(ndim)
        self.encoder = ResNetEncoder(ndim, in_channels, down)
        self.decoder = nn.ModuleList(
            UpBlock(style, coarse, skip, outputs, partial(ConvBlock, style))
            for coarse, skip, outputs in zip(
                (down[3], *up[:0:-1]), (*down[2::-1], in_channels), up[::-1], strict=True
            )
        )
        self.heads = Heads(ndim, up[0], heads, grid=1)
        initialize(self, "he")
