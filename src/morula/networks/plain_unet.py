"""Plain convolutional U-Net, the default network of nnU-Net, in 2D and 3D.

Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597; Isensee et al. 2021,
https://doi.org/10.1038/s41592-020-01008-z.
"""

from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from morula.networks.base import Network
from morula.networks.blocks import CONV_UP, ConvBlock, Heads, NormKind
from morula.representations import Head


class PlainUNet(Network, frozen=True):
    """Two convolutions per level, transposed convolutions up, skips by concatenation."""

    kind: Literal["plain_unet"] = "plain_unet"

    features: tuple[int, ...] = Field((32, 64, 128, 256), min_length=2)
    """Channels per level, finest first; each level halves the grid."""

    norm: NormKind = "instance"
    """Normalisation after every convolution."""

    dropout: float = Field(0.0, ge=0, lt=1)
    """Probability of dropping an activation, after every convolution."""

    deep_supervision: bool = True
    """Heads at every level of the decoder while training."""

    def build(self, ndim: int, in_channels: int, heads: tuple[Head, ...]) -> nn.Module:
        """See `Network.build`."""
        return PlainUNetModule(self, ndim, in_channels, heads)

    @property
    def divisor(self) -> int:
        """Every spatial size must be a multiple of this, in pixels."""
        return 2 ** (len(self.features) - 1)


class PlainUNetModule(nn.Module):
    """The network that `PlainUNet` describes."""

    def __init__(self, spec: PlainUNet, ndim: int, in_channels: int, heads: tuple[Head, ...]) -> None:
        super().__init__()
        widths = spec.features

        def block(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
            return ConvBlock(ndim, inputs, outputs, stride=stride, norm_kind=spec.norm, dropout=spec.dropout)

        self.encoder = nn.ModuleList(
            block(source, width, stride=1 if level == 0 else 2)
            for level, (source, width) in enumerate(pairwise((in_channels, *widths)))
        )
        self.up = nn.ModuleList(CONV_UP[ndim](coarse, fine, 2, 2) for fine, coarse in pairwise(widths))
        self.decoder = nn.ModuleList(block(2 * width, width) for width in widths[:-1])
        # The coarsest level has no decoder block and so no head; deeper heads serve training alone.
        supervised = widths[:-1] if spec.deep_supervision else widths[:1]
        self.heads = nn.ModuleList(Heads(ndim, width, heads, grid=1) for width in supervised)

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
