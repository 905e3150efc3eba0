"""The pieces that networks are put together from, in 2D and 3D."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from morula.representations import Head

CONV: dict[int, type[nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
CONV_UP: dict[int, type[nn.Module]] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
CONVOLVE: dict[int, Callable[..., Tensor]] = {2: nn.functional.conv2d, 3: nn.functional.conv3d}
MAX_POOL: dict[int, type[nn.Module]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
BATCH_NORM: dict[int, type[nn.Module]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
DROPOUT: dict[int, type[nn.Module]] = {2: nn.Dropout2d, 3: nn.Dropout3d}
MEAN: dict[int, type[nn.Module]] = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}
NormKind = Literal["batch", "instance"]
ActivationKind = Literal["relu", "leaky_relu", "elu", "selu"]
InitKind = Literal["he", "glorot"]


def conv(ndim: int, inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Module:
    """A convolution without bias that keeps the size at stride 1, He-initialised."""
    layer = CONV[ndim](inputs, outputs, size, stride, padding=(size - stride + 1) // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # pyright: ignore[reportArgumentType]
    return layer


class InstanceNorm(nn.Module):
    """Instance normalisation with learnt scale and offset, faster in training.

    torch's own lays the pixels out anew before and after it where channels lie together; its batch norm does
    not, and on one image it computes the same.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, *spatial)``: each channel of each image to mean 0 and variance 1, scaled."""
        if not self.training:
            return nn.functional.instance_norm(x, weight=self.weight, bias=self.bias)
        each = [
            nn.functional.batch_norm(image, None, None, self.weight, self.bias, training=True)
            for image in x.split(1)
        ]
        return torch.cat(each)


def norm(kind: NormKind, ndim: int, channels: int) -> nn.Module:
    """A normalisation with learnt scale and offset."""
    return BATCH_NORM[ndim](channels) if kind == "batch" else InstanceNorm(channels)


def activation(kind: ActivationKind) -> nn.Module:
    """The non-linearity; leaky ReLU has slope 0.01 as in nnU-Net."""
    if kind == "leaky_relu":
        return nn.LeakyReLU(0.01, inplace=True)
    return {"relu": nn.ReLU, "elu": nn.ELU, "selu": nn.SELU}[kind](inplace=True)


def initialize(network: nn.Module, scheme: InitKind) -> None:
    """Draw all convolutions anew, and set their biases to 0.

    ``he``: normal, for leaky ReLU of slope 0.01, as nnU-Net does (He et al. 2015,
    https://arxiv.org/abs/1502.01852); ``glorot``: uniform (Glorot and Bengio 2010).
    """
    for module in network.modules():
        if not isinstance(module, (*CONV.values(), *CONV_UP.values())):
            continue
        if scheme == "he":
            nn.init.kaiming_normal_(module.weight, a=0.01)  # pyright: ignore[reportArgumentType]
        else:
            nn.init.xavier_uniform_(module.weight)  # pyright: ignore[reportArgumentType]
        if module.bias is not None:
            nn.init.zeros_(module.bias)  # pyright: ignore[reportArgumentType]


def scaled(channels: int, width: float) -> int:
    """`channels` times `width`, a multiple of 8.

    >>> scaled(728, 1.0), scaled(728, 0.25), scaled(32, 0.1)
    (728, 184, 8)
    """
    return max(8, 8 * round(channels * width / 8))


@dataclass(frozen=True)
class Style:
    """What all convolutions of a network have in common."""

    ndim: int
    norm: NormKind = "batch"
    activation: ActivationKind = "relu"
    dropout: float = 0.0
    """Probability of dropping a channel."""

    def layers(self, convolution: nn.Module, channels: int) -> list[nn.Module]:
        """A convolution to `channels`, and what follows it."""
        layers = [convolution, norm(self.norm, self.ndim, channels), activation(self.activation)]
        return [*layers, DROPOUT[self.ndim](self.dropout)] if self.dropout else layers


class ConvBlock(nn.Sequential):
    """Two times convolution, normalisation, activation (and dropout).

    Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597; with leaky ReLU and instance norm that of
    nnU-Net, Isensee et al. 2021, https://doi.org/10.1038/s41592-020-01008-z.

    Args:
        style: Normalisation, activation, dropout.
        inputs: Channels that come in.
        outputs: Channels that go out.
        size: Kernel size, odd; one number per axis where it differs.
        stride: Of the first convolution.
    """

    def __init__(
        self,
        style: Style,
        inputs: int,
        outputs: int,
        *,
        size: Sequence[int] | int = 3,
        stride: Sequence[int] | int = 1,
    ) -> None:
        sizes = (size,) * style.ndim if isinstance(size, int) else tuple(size)
        strides = (stride,) * style.ndim if isinstance(stride, int) else tuple(stride)
        padding = tuple(side // 2 for side in sizes)
        layers: list[nn.Module] = []
        for source, step in ((inputs, strides), (outputs, (1,) * style.ndim)):
            layer = CONV[style.ndim](source, outputs, sizes, step, padding=padding, bias=False)
            layers += style.layers(layer, outputs)
        super().__init__(*layers)
        initialize(self, "he")


class UpBlock(nn.Module):
    """Transposed 2x2 convolution, skip by concatenation, then `block`.

    Args:
        style: What follows the transposed convolution.
        coarse: Channels from below.
        skip: Channels from the encoder.
        outputs: Channels that go out.
        block: Makes the module for ``outputs + skip`` channels in and ``outputs`` out.
    """

    def __init__(
        self, style: Style, coarse: int, skip: int, outputs: int, block: Callable[[int, int], nn.Module]
    ) -> None:
        super().__init__()
        transposed = CONV_UP[style.ndim](coarse, outputs, 2, 2, bias=False)
        self.up = nn.Sequential(*style.layers(transposed, outputs))
        self.block = block(outputs + skip, outputs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """``(batch, coarse, *spatial / 2)`` and ``(batch, skip, *spatial)`` to ``(batch, outputs, ...)``."""
        return self.block(torch.cat([self.up(x), skip], dim=1))


class SkipUNet(nn.Module):
    """A U-Net on an encoder that gives all its levels; the finest skip is the image itself."""

    encoder: nn.Module
    decoder: nn.ModuleList
    heads: nn.Module

    def forward(self, image: Tensor) -> list[dict[str, Tensor]]:
        """Image ``(batch, channels, *spatial)`` to one dict of logits, in a list of one."""
        skips = [image, *self.encoder(image)]
        x = skips.pop()
        for block in self.decoder:
            x = block(x, skips.pop())
        return [self.heads(x)]


class ResidualBlock(nn.Module):
    """Convolution, normalisation, ReLU, convolution, normalisation, added to the input.

    He et al. 2016, https://arxiv.org/abs/1512.03385, figure 2.
    """

    def __init__(self, ndim: int, inputs: int, outputs: int, norm_kind: NormKind) -> None:
        super().__init__()
        self.first = nn.Sequential(conv(ndim, inputs, outputs), norm(norm_kind, ndim, outputs), nn.ReLU(True))
        self.second = nn.Sequential(conv(ndim, outputs, outputs), norm(norm_kind, ndim, outputs))
        self.shortcut = nn.Identity() if inputs == outputs else conv(ndim, inputs, outputs, size=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, inputs, *spatial)`` to ``(batch, outputs, *spatial)``."""
        return torch.relu(self.second(self.first(x)) + self.shortcut(x))


def space_to_depth(x: Tensor, factor: int) -> Tensor:
    """``(b, c, *spatial)`` to ``(b, c * factor**n, *spatial / factor)``: no pixel is lost."""
    batch, channels, *spatial = x.shape
    split = [part for size in spatial for part in (size // factor, factor)]
    ndim = len(spatial)
    order = [0, 1, *range(3, 3 + 2 * ndim, 2), *range(2, 2 + 2 * ndim, 2)]
    merged = x.reshape(batch, channels, *split).permute(order)
    return merged.reshape(batch, channels * factor**ndim, *(size // factor for size in spatial))


def on_pixels(weight: Tensor, factor: int) -> Tensor:
    """The kernel whose convolution with stride `factor` of the image is `weight`'s of `space_to_depth`.

    Args:
        weight: ``(outputs, c * factor**n, *size)``.
        factor: As of `space_to_depth`.

    Returns:
        ``(outputs, c, *(size * factor))``; `factor` times the padding belongs to it.
    """
    outputs, inputs, *size = weight.shape
    ndim = len(size)
    split = weight.reshape(outputs, inputs // factor**ndim, *[factor] * ndim, *size)
    order = [0, 1, *(axis for n in range(ndim) for axis in (2 + ndim + n, 2 + n))]
    return split.permute(order).reshape(outputs, -1, *(factor * side for side in size))


def depth_to_space(x: Tensor, factor: int) -> Tensor:
    """The inverse of `space_to_depth`."""
    if x.ndim == 4:
        # Engines know this one as a whole.
        return nn.functional.pixel_shuffle(x, factor)
    batch, channels, *spatial = x.shape
    ndim = len(spatial)
    split = x.reshape(batch, channels // factor**ndim, *[factor] * ndim, *spatial)
    order = [0, 1, *(axis for n in range(ndim) for axis in (2 + ndim + n, 2 + n))]
    return split.permute(order).reshape(batch, -1, *(size * factor for size in spatial))


class Heads(nn.Module):
    """One 1x1 convolution for all heads together; each head is on the grid that its stride asks for.

    `grid` is the stride of the features. A finer head gets its pixels by depth-to-space; a coarser one takes
    every n-th pixel of the logits.
    """

    def __init__(self, ndim: int, features: int, heads: Sequence[Head], grid: int) -> None:
        super().__init__()
        self.heads, self.grid = tuple(heads), grid
        self.factors = [max(1, grid // head.stride) for head in heads]
        self.widths = [h.channels * f**ndim for h, f in zip(heads, self.factors, strict=True)]
        self.project = CONV[ndim](features, sum(self.widths), 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Features ``(batch, features, *grid)`` to logits per head name, in float32."""
        if self.training:
            parts = self.project(x).split(self.widths, dim=1)
        else:
            # Apart: engines leave out what nobody asks for, and are slow at taking a result to pieces.
            pieces = (parameter.split(self.widths) for parameter in self.project.parameters())
            parts = [CONVOLVE[x.ndim - 2](x, *piece) for piece in zip(*pieces, strict=True)]
        return {
            head.name: self._on_grid(part.float(), head, factor)
            for head, part, factor in zip(self.heads, parts, self.factors, strict=True)
        }

    def _on_grid(self, logits: Tensor, head: Head, factor: int) -> Tensor:
        if factor > 1:
            return depth_to_space(logits, factor)
        if head.stride > self.grid:
            # Not the mean: the network learns to say at a block's first pixel what holds for the block.
            step = slice(None, None, head.stride // self.grid)
            return logits[(slice(None), slice(None), *[step] * (logits.ndim - 2))]
        return logits
