"""The pieces that networks are put together from, in 2D and 3D."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from morula.representations import Head

CONV: dict[int, type[nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
CONV_UP: dict[int, type[nn.Module]] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
NORMS: dict[str, dict[int, type[nn.Module]]] = {
    "batch": {2: nn.BatchNorm2d, 3: nn.BatchNorm3d},
    "instance": {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d},
}
NormKind = Literal["batch", "instance"]


def conv(ndim: int, inputs: int, outputs: int, size: int = 3, stride: int = 1) -> nn.Module:
    """A convolution without bias that keeps the size at stride 1, He-initialised."""
    layer = CONV[ndim](inputs, outputs, size, stride, padding=(size - stride + 1) // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # pyright: ignore[reportArgumentType]
    return layer


def norm(kind: NormKind, ndim: int, channels: int) -> nn.Module:
    """A normalisation with learnt scale and offset."""
    return NORMS[kind][ndim](channels, affine=True)


class ConvBlock(nn.Sequential):
    """Two times convolution, normalisation, leaky ReLU (and dropout), as in nnU-Net.

    Isensee et al. 2021, https://doi.org/10.1038/s41592-020-01008-z.
    """

    def __init__(
        self, ndim: int, inputs: int, outputs: int, *, stride: int = 1, norm_kind: NormKind, dropout: float
    ) -> None:
        layers: list[nn.Module] = []
        for source, step in ((inputs, stride), (outputs, 1)):
            layers.append(CONV[ndim](source, outputs, 3, step, padding=1, bias=False))
            nn.init.kaiming_normal_(layers[-1].weight, a=0.01)  # pyright: ignore[reportArgumentType]
            layers += [norm(norm_kind, ndim, outputs), nn.LeakyReLU(0.01, inplace=True)]
            if dropout:
                layers.append(nn.Dropout(dropout))
        super().__init__(*layers)


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


def depth_to_space(x: Tensor, factor: int) -> Tensor:
    """The inverse of `space_to_depth`."""
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
        parts = self.project(x).float().split(self.widths, dim=1)
        return {
            head.name: self._on_grid(part, head, factor)
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
