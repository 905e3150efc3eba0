"""Residual U-Net with a space-to-depth stem: the network of `auto`, small and quick on a CPU.

The stem folds 2x2 (2x2x2) pixels into channels, so that the costly finest level runs on a quarter of the
pixels and yet sees each of them; heads unfold again. Blocks: He et al. 2016, https://arxiv.org/abs/1512.03385;
U-shape: Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597; sub-pixel outputs: Shi et al. 2016,
https://arxiv.org/abs/1609.05158.
"""

from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from morula.networks.base import Network
from morula.networks.blocks import (
    CONVOLVE,
    Heads,
    NormKind,
    ResidualBlock,
    conv,
    norm,
    on_pixels,
    space_to_depth,
)
from morula.representations import Head


class ResidualUNet(Network, frozen=True):
    """Residual blocks, additive skips, sub-pixel heads."""

    kind: Literal["residual_unet"] = "residual_unet"

    features: tuple[int, ...] = Field((32, 64, 128, 256), min_length=2)
    """Channels per level, finest first; each level halves the grid."""

    blocks: tuple[int, ...] = Field((1, 1, 1, 1), min_length=2)
    """Residual blocks per level of the encoder; the decoder has one per level."""

    stem: Literal[1, 2, 4] = 2
    """Pixels per axis folded into channels before the first level."""

    norm: NormKind = "batch"
    """Normalisation after every convolution."""

    @model_validator(mode="after")
    def _levels_agree(self) -> "ResidualUNet":
        if len(self.blocks) != len(self.features):
            msg = f"blocks {self.blocks} and features {self.features} need one number per level each"
            raise ValueError(msg)
        return self

    def build(self, ndim: int, in_channels: int, heads: tuple[Head, ...]) -> nn.Module:
        """See `Network.build`."""
        return ResidualUNetModule(self, ndim, in_channels, heads)

    def divisors(self, ndim: int) -> tuple[int, ...]:
        """Every spatial size must be a multiple of these, per axis, in pixels."""
        return (self.stem * 2 ** (len(self.features) - 1),) * ndim


class ResidualUNetModule(nn.Module):
    """The network that `ResidualUNet` describes."""

    def __init__(self, spec: ResidualUNet, ndim: int, in_channels: int, heads: tuple[Head, ...]) -> None:
        super().__init__()
        self.stem_factor = spec.stem
        widths, kind = spec.features, spec.norm
        self.stem = nn.Sequential(
            conv(ndim, in_channels * spec.stem**ndim, widths[0]), norm(kind, ndim, widths[0]), nn.ReLU(True)
        )
        self.encoder = nn.ModuleList(
            nn.Sequential(*[ResidualBlock(ndim, width, width, kind) for _ in range(count)])
            for width, count in zip(widths, spec.blocks, strict=True)
        )
        self.down = nn.ModuleList(
            nn.Sequential(conv(ndim, fine, coarse, size=2, stride=2), norm(kind, ndim, coarse))
            for fine, coarse in pairwise(widths)
        )
        self.lateral = nn.ModuleList(
            nn.Sequential(conv(ndim, coarse, fine, size=1), norm(kind, ndim, fine))
            for fine, coarse in pairwise(widths)
        )
        self.decoder = nn.ModuleList(ResidualBlock(ndim, width, width, kind) for width in widths[:-1])
        self.heads = Heads(ndim, widths[0], heads, grid=spec.stem)

    def forward(self, image: Tensor) -> list[dict[str, Tensor]]:
        """Image ``(batch, channels, *spatial)`` to one dict of logits, in a list of one."""
        x = self._stem(image)
        skips = []
        for level, stage in enumerate(self.encoder):
            x = stage(x)
            if level < len(self.down):
                skips.append(x)
                x = self.down[level](x)
        for lateral, stage in zip(reversed(self.lateral), reversed(self.decoder), strict=True):
            coarse = nn.functional.interpolate(lateral(x), scale_factor=2.0, mode="nearest")
            x = stage(torch.relu(coarse + skips.pop()))
        return [self.heads(x)]

    def _stem(self, image: Tensor) -> Tensor:
        if self.training:
            return self.stem(space_to_depth(image, self.stem_factor))
        # The same without moving pixels about.
        factor, first = self.stem_factor, self.stem[0]
        kernel = on_pixels(first.get_parameter("weight"), factor)
        x = CONVOLVE[image.ndim - 2](image, kernel, first.bias, stride=factor, padding=factor)
        return self.stem[2](self.stem[1](x))
