"""Plain convolutional U-Net, the default network of nnU-Net, in 2D and 3D.

Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597; Isensee et al. 2021,
https://doi.org/10.1038/s41592-020-01008-z. With nine levels it is the network of system A; with batch norm,
Glorot weights and SELU the plain one of system C; in 3D, with kernels of its own per axis, that of system E.
"""

import math
from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from morula.networks.base import Network
from morula.networks.blocks import (
    CONV_UP,
    ActivationKind,
    ConvBlock,
    Heads,
    InitKind,
    NormKind,
    Style,
    initialize,
)
from morula.representations import Head


class PlainUNet(Network, frozen=True):
    """Two convolutions per level, transposed convolutions up, skips by concatenation."""

    kind: Literal["plain_unet"] = "plain_unet"

    features: tuple[int, ...] = Field((32, 64, 128, 256), min_length=2)
    """Channels per level, finest first."""

    strides: tuple[tuple[int, ...], ...] = ()
    """Factor between a level's grid and the next one's, per axis; empty: each level halves the grid."""

    kernels: tuple[tuple[int, ...], ...] = ()
    """Size of the convolutions of each level, per axis, odd; empty: 3 everywhere."""

    norm: NormKind = "instance"
    """Normalisation after every convolution."""

    activation: ActivationKind = "leaky_relu"
    """Non-linearity after every normalisation."""

    init: InitKind = "he"
    """How weights are drawn: ``he`` normal, or ``glorot`` uniform."""

    dropout: float = Field(0.0, ge=0, lt=1)
    """Probability of dropping a channel of a patch, after every convolution, as nnU-Net's dropout does."""

    deep_supervision: bool = True
    """Heads at every level of the decoder while training."""

    @model_validator(mode="after")
    def _levels_agree(self) -> "PlainUNet":
        levels = len(self.features)
        for name, rows, count in (("strides", self.strides, levels - 1), ("kernels", self.kernels, levels)):
            if rows and (len(rows) != count or len({len(row) for row in rows}) > 1):
                msg = f"{name} {rows} for {levels} levels: expected {count} rows, one number per axis in each"
                raise ValueError(msg)
        if any(step not in (1, 2) for row in self.strides for step in row):
            msg = f"strides {self.strides}: expected 1 (keep) or 2 (halve)"
            raise ValueError(msg)
        if any(size < 1 or size % 2 == 0 for row in self.kernels for size in row):
            msg = f"kernels {self.kernels}: expected odd sizes"
            raise ValueError(msg)
        return self

    def build(self, ndim: int, in_channels: int, heads: tuple[Head, ...]) -> nn.Module:
        """See `Network.build`."""
        return PlainUNetModule(self, ndim, in_channels, heads)

    def level_strides(self, ndim: int) -> tuple[tuple[int, ...], ...]:
        """Factor from each level to the next, per axis."""
        return self.strides or ((2,) * ndim,) * (len(self.features) - 1)

    def divisors(self, ndim: int) -> tuple[int, ...]:
        """Every spatial size must be a multiple of these, per axis, in pixels."""
        return tuple(math.prod(axis) for axis in zip(*self.level_strides(ndim), strict=True))


class PlainUNetModule(nn.Module):
    """The network that `PlainUNet` describes."""

    def __init__(self, spec: PlainUNet, ndim: int, in_channels: int, heads: tuple[Head, ...]) -> None:
        super().__init__()
        widths, strides = spec.features, spec.level_strides(ndim)
        kernels = spec.kernels or ((3,) * ndim,) * len(widths)
        style = Style(ndim, spec.norm, spec.activation, spec.dropout)
        steps = ((1,) * ndim, *strides)
        self.encoder = nn.ModuleList(
            ConvBlock(style, inputs, width, size=kernel, stride=step)
            for inputs, width, kernel, step in zip((in_channels, *widths), widths, kernels, steps)  # noqa: B905
        )
        self.up = nn.ModuleList(
            CONV_UP[ndim](coarse, fine, step, step)
            for (fine, coarse), step in zip(pairwise(widths), strides, strict=True)
        )
        self.decoder = nn.ModuleList(
            ConvBlock(style, 2 * width, width, size=kernel)
            for width, kernel in zip(widths[:-1], kernels[:-1], strict=True)
        )
        # The coarsest level has no decoder block and so no head; deeper heads serve training alone.
        supervised = widths[:-1] if spec.deep_supervision else widths[:1]
        self.heads = nn.ModuleList(Heads(ndim, width, heads, grid=1) for width in supervised)
        initialize(self, spec.init)

    def forward(self, image: Tensor) -> list[dict[str, Tensor]]:
        """Image ``(batch, channels, *spatial)`` to logits per level, finest first."""
        skips = []
        x = image
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        skips.pop()
        outputs = []
        levels = range(len(self.decoder) - 1, -1, -1)
        for level in levels:
            x = self.decoder[level](torch.cat([self.up[level](x), skips.pop()], dim=1))
            if level == 0 or (self.training and level < len(self.heads)):
                outputs.append(self.heads[level](x))
        return outputs[::-1]
