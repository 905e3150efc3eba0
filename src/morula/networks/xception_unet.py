"""U-Net on an Xception encoder, with an Inception-SE decoder (system C).

Chollet 2017, https://arxiv.org/abs/1610.02357; Szegedy et al. 2016, https://arxiv.org/abs/1512.00567;
Hu et al. 2018, https://arxiv.org/abs/1709.01507. The encoder's layers are named as in timm
(``legacy_xception``), so that its weights load.
"""

from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from morula.networks.base import Network
from morula.networks.blocks import (
    CONV,
    MAX_POOL,
    MEAN,
    ActivationKind,
    ConvBlock,
    Heads,
    SkipUNet,
    Style,
    UpBlock,
    initialize,
    norm,
    scaled,
)
from morula.representations import Head


class XceptionUNet(Network, frozen=True):
    """Xception down, 32 times; up-sampling blocks of figure 3 up, each part of which can be left out.

    Weights are drawn as Glorot does. The encoder keeps its ReLU, which its weights were trained with. System
    C draws its inception module without stating channels: ours has four branches of a quarter of the block's
    channels each, and its finest skip is the image itself.
    """

    kind: Literal["xception_unet"] = "xception_unet"

    features: tuple[int, int, int, int, int] = (32, 64, 128, 256, 512)
    """Channels of the decoder, finest first."""

    inception: bool = True
    """Whether the decoder's blocks are inception modules; else two 3x3 convolutions."""

    se_ratio: int = Field(16, ge=0)
    """Reduction r of squeeze-and-excitation after each of the decoder's blocks; 0 leaves it out."""

    activation: ActivationKind = "selu"
    """Non-linearity of the decoder."""

    width: float = Field(1.0, gt=0, le=2)
    """Factor on all channels; `encoder_weights` need 1."""

    def build(self, ndim: int, in_channels: int, heads: tuple[Head, ...]) -> nn.Module:
        """See `Network.build`."""
        return XceptionUNetModule(self, ndim, in_channels, heads)

    def divisors(self, ndim: int) -> tuple[int, ...]:
        """Every spatial size must be a multiple of these, per axis, in pixels."""
        return (32,) * ndim


class SeparableConv(nn.Sequential):
    """3x3 convolution per channel, then 1x1 across channels, without anything in between."""

    def __init__(self, ndim: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = CONV[ndim](inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.pointwise = CONV[ndim](inputs, outputs, 1, bias=False)


class XceptionBlock(nn.Module):
    """ReLU, separable convolution, norm, two or three times, added to the input.

    Args:
        ndim: Spatial axes.
        widths: Channels in, and after each separable convolution.
        stride: 2 ends with max pooling.
        relu_first: False for the first block, whose input is activated already.
    """

    def __init__(self, ndim: int, widths: tuple[int, ...], stride: int, relu_first: bool = True) -> None:
        super().__init__()
        if stride != 1:
            self.skip = CONV[ndim](widths[0], widths[-1], 1, stride, bias=False)
            self.skipbn = norm("batch", ndim, widths[-1])
        else:
            self.skip, self.skipbn = nn.Identity(), nn.Identity()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            # The first one must leave the input as it is: the shortcut adds it.
            layers += [nn.ReLU(inplace=bool(layers)), SeparableConv(ndim, inputs, outputs)]
            layers.append(norm("batch", ndim, outputs))
        if stride != 1:
            layers.append(MAX_POOL[ndim](3, stride, padding=1))
        self.rep = nn.Sequential(*layers[0 if relu_first else 1 :])

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, widths[0], *spatial)`` to ``(batch, widths[-1], *spatial / stride)``."""
        return self.rep(x) + self.skipbn(self.skip(x))


class XceptionEncoder(nn.Sequential):
    """Xception without classifier; its first two convolutions are padded, so that sizes halve exactly."""

    def __init__(self, ndim: int, in_channels: int, width: float) -> None:
        super().__init__()
        w32, w64, w128, w256, w728, w1024, w1536, w2048 = (
            scaled(channels, width) for channels in (32, 64, 128, 256, 728, 1024, 1536, 2048)
        )
        self.widths = (w64, w128, w256, w728, w2048)
        self.conv1 = CONV[ndim](in_channels, w32, 3, 2, padding=1, bias=False)
        self.bn1, self.act1 = norm("batch", ndim, w32), nn.ReLU(inplace=True)
        self.conv2 = CONV[ndim](w32, w64, 3, padding=1, bias=False)
        self.bn2, self.act2 = norm("batch", ndim, w64), nn.ReLU(inplace=True)
        self.block1 = XceptionBlock(ndim, (w64, w128, w128), 2, relu_first=False)
        self.block2 = XceptionBlock(ndim, (w128, w256, w256), 2)
        self.block3 = XceptionBlock(ndim, (w256, w728, w728), 2)
        for number in range(4, 12):
            self.add_module(f"block{number}", XceptionBlock(ndim, (w728,) * 4, 1))
        self.block12 = XceptionBlock(ndim, (w728, w728, w1024), 2)
        self.conv3 = SeparableConv(ndim, w1024, w1536)
        self.bn3, self.act3 = norm("batch", ndim, w1536), nn.ReLU(inplace=True)
        self.conv4 = SeparableConv(ndim, w1536, w2048)
        self.bn4, self.act4 = norm("batch", ndim, w2048), nn.ReLU(inplace=True)

    def forward(self, image: Tensor) -> list[Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Image ``(batch, channels, *spatial)`` to features at 1/2, 1/4, 1/8, 1/16 and 1/32 of its size."""
        levels = []
        x = image
        for name, layer in self.named_children():
            x = layer(x)
            if name in ("act2", "block1", "block2", "block11", "act4"):
                levels.append(x)
        return levels


class Inception(nn.Module):
    """Convolutions of several sizes side by side: 1x1, 3x3, 5x5 (as two 3x3), and pooling with 1x1."""

    def __init__(self, style: Style, inputs: int, outputs: int) -> None:
        super().__init__()
        quarter = outputs // 4

        def layer(source: int, size: int) -> list[nn.Module]:
            convolution = CONV[style.ndim](source, quarter, size, padding=size // 2, bias=False)
            return style.layers(convolution, quarter)

        self.branches = nn.ModuleList(
            [
                nn.Sequential(*layer(inputs, 1)),
                nn.Sequential(*layer(inputs, 1), *layer(quarter, 3)),
                nn.Sequential(*layer(inputs, 1), *layer(quarter, 3), *layer(quarter, 3)),
                nn.Sequential(MAX_POOL[style.ndim](3, 1, padding=1), *layer(inputs, 1)),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, inputs, *spatial)`` to ``(batch, outputs, *spatial)``."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class SqueezeExcite(nn.Module):
    """Channels weighted by what the whole patch says: mean, C / r with ReLU, C with sigmoid, product."""

    def __init__(self, ndim: int, channels: int, ratio: int) -> None:
        super().__init__()
        inner = max(1, channels // ratio)
        self.excite = nn.Sequential(
            MEAN[ndim](1),
            CONV[ndim](channels, inner, 1),
            nn.ReLU(inplace=True),
            CONV[ndim](inner, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, *spatial)``, weighted."""
        return x * self.excite(x)


class XceptionUNetModule(SkipUNet):
    """The network that `XceptionUNet` describes."""

    def __init__(self, spec: XceptionUNet, ndim: int, in_channels: int, heads: tuple[Head, ...]) -> None:
        super().__init__()
        style = Style(ndim, activation=spec.activation)

        def block(inputs: int, outputs: int) -> nn.Module:
            body = (Inception if spec.inception else ConvBlock)(style, inputs, outputs)
            return nn.Sequential(body, SqueezeExcite(ndim, outputs, spec.se_ratio)) if spec.se_ratio else body

        self.encoder = XceptionEncoder(ndim, in_channels, spec.width)
        down = self.encoder.widths
        up = tuple(scaled(channels, spec.width) for channels in spec.features)
        self.decoder = nn.ModuleList(
            UpBlock(style, coarse, skip, outputs, block)
            for coarse, skip, outputs in zip(
                (down[4], *up[:0:-1]), (*down[3::-1], in_channels), up[::-1], strict=True
            )
        )
        self.heads = Heads(ndim, up[0], heads, grid=1)
        initialize(self, "glorot")
