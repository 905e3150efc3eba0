"""HoVer-Net without its classification branch (system D): one encoder, one decoder branch per head.

Graham et al. 2019, https://arxiv.org/abs/1812.06499; the encoder is He et al. 2016, "Identity mappings in
deep residual networks", https://arxiv.org/abs/1603.05027. The encoder's layers are named as in timm
(``resnetv2_50``), so that its weights load.
"""

from collections import OrderedDict
from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from morula.networks.base import Network
from morula.networks.blocks import CONV, Heads, conv, initialize, norm, scaled
from morula.representations import Head

STAGES = ((256, 3), (512, 4), (1024, 6), (2048, 3))
"""Channels and blocks of each stage of a ResNet with 50 layers; the second to fourth halve the grid."""

GROUPS = 4
"""Groups of the 5x5 convolutions in dense units."""


class HoVerNet(Network, frozen=True):
    """Pre-activated ResNet-50, 8 times down; nearest-neighbour up-sampling and dense units up.

    Each head has a branch of its own: nuclear pixels (NP) and offsets to the centre (HV) share nothing but
    the encoder. All convolutions are padded, so that maps are as large as the image; the original crops.
    """

    kind: Literal["hovernet"] = "hovernet"

    width: float = Field(1.0, gt=0, le=2)
    """Factor on all channels; `encoder_weights` need 1."""

    def build(self, ndim: int, in_channels: int, heads: tuple[Head, ...]) -> nn.Module:
        """See `Network.build`."""
        return HoVerNetModule(self, ndim, in_channels, heads)

    def divisors(self, ndim: int) -> tuple[int, ...]:
        """Every spatial size must be a multiple of these, per axis, in pixels."""
        return (8,) * ndim


class Bottleneck(nn.Sequential):
    """Norm, ReLU and convolution of 1x1, 3x3 and 1x1, added to the input.

    A `Sequential` so that prediction folds its norms.
    """

    def __init__(self, ndim: int, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        inner = outputs // 4
        self.norm1, self.act1 = norm("batch", ndim, inputs), nn.ReLU()
        self.conv1 = conv(ndim, inputs, inner, 1)
        self.norm2, self.act2 = norm("batch", ndim, inner), nn.ReLU(inplace=True)
        self.conv2 = CONV[ndim](inner, inner, 3, stride, padding=1, bias=False)
        self.norm3, self.act3 = norm("batch", ndim, inner), nn.ReLU(inplace=True)
        self.conv3 = conv(ndim, inner, outputs, 1)
        self.downsample = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.downsample.add_module("conv", CONV[ndim](inputs, outputs, 1, stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """``(batch, inputs, *spatial)`` to ``(batch, outputs, *spatial / stride)``."""
        active = self.act1(self.norm1(x))
        inner = self.act2(self.norm2(self.conv1(active)))
        inner = self.conv3(self.act3(self.norm3(self.conv2(inner))))
        return inner + (self.downsample(active) if len(self.downsample) else x)


class PreActResNet(nn.Module):
    """Pre-activated ResNet-50 on the image's own grid: its first convolution has stride 1, no pooling."""

    def __init__(self, ndim: int, in_channels: int, width: float) -> None:
        super().__init__()
        first = scaled(64, width)
        self.widths = tuple(scaled(channels, width) for channels, _ in STAGES)
        self.stem = nn.Sequential(OrderedDict(conv=conv(ndim, in_channels, first, size=7)))
        self.stages = nn.ModuleList()
        for level, (inputs, outputs) in enumerate(pairwise((first, *self.widths))):
            blocks = nn.Sequential(Bottleneck(ndim, inputs, outputs, stride=1 if level == 0 else 2))
            blocks.extend(Bottleneck(ndim, outputs, outputs, stride=1) for _ in range(STAGES[level][1] - 1))
            self.stages.append(nn.Sequential(OrderedDict(blocks=blocks)))
        self.norm = norm("batch", ndim, self.widths[-1])

    def forward(self, image: Tensor) -> list[Tensor]:
        """Image ``(batch, channels, *spatial)`` to features at 1, 1/2, 1/4 and 1/8 of its size."""
        x = self.stem(image)
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        return [*levels[:-1], torch.relu(self.norm(x))]


class DenseUnits(nn.Module):
    """Units whose output is added to the channels: norm, ReLU, 1x1, norm, ReLU, grouped 5x5."""

    def __init__(self, ndim: int, inputs: int, growth: int, count: int) -> None:
        super().__init__()
        inner = 4 * growth

        def unit(channels: int) -> nn.Module:
            return nn.Sequential(
                norm("batch", ndim, channels),
                nn.ReLU(),
                conv(ndim, channels, inner, 1),
                norm("batch", ndim, inner),
                nn.ReLU(inplace=True),
                CONV[ndim](inner, growth, 5, padding=2, groups=GROUPS, bias=False),
            )

        self.units = nn.ModuleList(unit(inputs + number * growth) for number in range(count))
        self.outputs = inputs + count * growth
        self.end = nn.Sequential(norm("batch", ndim, self.outputs), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, inputs, *spatial)`` to ``(batch, inputs + count * growth, *spatial)``."""
        for unit in self.units:
            x = torch.cat([x, unit(x)], dim=1)
        return self.end(x)


class Branch(nn.Module):
    """A decoder from 1/8 of the image's size to its own grid, for one head.

    Up-sampled features are added to the encoder's; 5x5 convolutions and dense units follow, 8 units at 1/4
    and 4 at 1/2, and one 5x5 convolution at full size.
    """

    def __init__(self, ndim: int, skips: tuple[int, ...], width: float, head: Head) -> None:
        super().__init__()
        fine, middle, coarse, growth = (scaled(channels, width) for channels in (64, 128, 256, 32))
        self.u3 = nn.Sequential(conv(ndim, skips[2], coarse, 5), DenseUnits(ndim, coarse, growth, 8))
        self.u3.append(conv(ndim, coarse + 8 * growth, skips[1], 1))
        self.u2 = nn.Sequential(conv(ndim, skips[1], middle, 5), DenseUnits(ndim, middle, growth, 4))
        self.u2.append(conv(ndim, middle + 4 * growth, skips[0], 1))
        self.u1 = nn.Sequential(conv(ndim, skips[0], fine, 5), norm("batch", ndim, fine), nn.ReLU())
        self.head = Heads(ndim, fine, (head,), grid=1)

    def forward(self, bottom: Tensor, skips: list[Tensor]) -> dict[str, Tensor]:
        """Features at 1/8 and, finest first, at 1, 1/2 and 1/4 of the image's size to logits."""
        x = bottom
        for stage, skip in zip((self.u3, self.u2, self.u1), reversed(skips), strict=True):
            x = stage(nn.functional.interpolate(x, scale_factor=2.0, mode="nearest") + skip)
        return self.head(x)


class HoVerNetModule(nn.Module):
    """The network that `HoVerNet` describes."""

    def __init__(self, spec: HoVerNet, ndim: int, in_channels: int, heads: tuple[Head, ...]) -> None:
        super().__init__()
        self.encoder = PreActResNet(ndim, in_channels, spec.width)
        *skips, last = self.encoder.widths
        self.ends = nn.ModuleList(
            nn.Sequential(norm("batch", ndim, width), nn.ReLU(inplace=True)) for width in skips
        )
        self.bottom = conv(ndim, last, skips[-1], 1)
        self.branches = nn.ModuleList(Branch(ndim, tuple(skips), spec.width, head) for head in heads)
        initialize(self, "he")

    def forward(self, image: Tensor) -> list[dict[str, Tensor]]:
        """Image ``(batch, channels, *spatial)`` to one dict of logits, in a list of one."""
        *levels, last = self.encoder(image)
        skips = [end(level) for end, level in zip(self.ends, levels, strict=True)]
        bottom = self.bottom(last)
        outputs: dict[str, Tensor] = {}
        for branch in self.branches:
            outputs |= branch(bottom, skips)
        return [outputs]
