"""What one output pixel sees: its gradient at every level of the encoder and at the image. Imports torch.

Luo et al. 2016, "Understanding the effective receptive field in deep convolutional neural networks",
https://arxiv.org/abs/1701.04128; system B measures its network so.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor, nn

from morula.networks.blocks import BATCH_NORM, CONV, CONV_UP, DROPOUT, MAX_POOL, InstanceNorm
from morula.representations import Head
from morula.types import Map

MEAN_POOL: dict[int, type[nn.Module]] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
POINTWISE = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SELU, *DROPOUT.values())


@dataclass(frozen=True)
class Sensitivity:
    """How much one level of a network matters to the output pixel in the middle of the patch."""

    steps: tuple[int, ...]
    """Pixels of the image per pixel of this level, per axis; all 1 for the image itself."""

    gradient: Float64[np.ndarray, "*_"]
    """Magnitude of the gradient, summed over channels; the mean over heads and patches, each summing to 1."""

    reach_px: tuple[int, ...]
    """Length of the theoretical field in the image's pixels, per axis: what any convolution connects. Global
    statistics (instance norms) are left out. As long as the patch when it reaches beyond."""


def sensitivities(
    network: nn.Module,
    heads: Sequence[Head],
    patches: Sequence[Map],
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Sensitivity, ...]:
    """The sensitivity of the image, and of each level of the encoder, finest first.

    Args:
        network: In evaluation mode, its weights without gradients.
        heads: What it predicts; the gradient is that of the logits, summed over a head's channels.
        patches: ``(C, *spatial)`` each, at least one, all of one shape.
        progress: Called with patches done and all patches.
    """
    totals: list[np.ndarray] = []
    for done, patch in enumerate(patches, 1):
        for gradients in _gradients(network, heads, patch):
            shares = [_share(magnitude) for magnitude in gradients]
            totals = [a + b for a, b in zip(totals, shares, strict=True)] if totals else shares
        if progress:
            progress(done, len(patches))
    supports = next(_gradients(_spread_evenly(network), heads[:1], np.ones_like(patches[0])))
    found = []
    for total, support in zip(totals, supports, strict=True):
        steps = tuple(n // m for n, m in zip(patches[0].shape[1:], total.shape, strict=True))
        sides = [np.flatnonzero(support.any(_others(axis, support.ndim))) for axis in range(support.ndim)]
        reach = tuple(int(side[-1] - side[0] + 1) * n for side, n in zip(sides, steps, strict=True))
        found.append(Sensitivity(steps, _share(total), reach))
    return tuple(found)


def _share(magnitude: np.ndarray) -> np.ndarray:
    """Scaled to sum 1; a dead pixel's stays 0."""
    return magnitude / max(float(magnitude.sum()), 1e-300)


def _gradients(network: nn.Module, heads: Sequence[Head], patch: Map) -> Iterator[list[np.ndarray]]:
    """For each head the magnitudes at the image and at the encoder's levels, float64 ``(*grid)``."""
    device = next(network.parameters()).device
    image = torch.from_numpy(patch)[None].to(device).requires_grad_()
    with _levels(network) as levels:
        logits = network(image)[0]
    for head in heads:
        values = logits[head.name]
        centre = tuple(side // 2 for side in values.shape[2:])
        pixel = values[(0, slice(None), *centre)].sum()
        found = torch.autograd.grad(pixel, [image, *levels], retain_graph=True)
        yield [gradient[0].double().abs().sum(0).cpu().numpy() for gradient in found]


@contextmanager
def _levels(network: nn.Module) -> Iterator[list[Tensor]]:
    """A list that a forward pass fills with the outputs of the encoder, finest first."""
    found: list[Tensor] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | list[Tensor]) -> None:
        found.extend(output if isinstance(output, list) else [output])

    encoder = network.get_submodule("encoder")
    stages = list(encoder) if isinstance(encoder, nn.ModuleList) else [encoder]
    hooks = [stage.register_forward_hook(note) for stage in stages]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _spread_evenly(network: nn.Module) -> nn.Module:
    """The same connections with equal positive weights: what has a gradient then is connected at all."""
    network = copy.deepcopy(network)
    norms = (*BATCH_NORM.values(), InstanceNorm)
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, (*norms, *POINTWISE)):
                setattr(module, name, nn.Identity())
            for ndim, kind in MAX_POOL.items():
                if isinstance(child, kind):
                    setattr(module, name, MEAN_POOL[ndim](child.kernel_size, child.stride, child.padding))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (*CONV.values(), *CONV_UP.values())):
                module.weight.fill_(1 / module.weight[0].numel())  # pyright: ignore
                if module.bias is not None:
                    module.bias.zero_()  # pyright: ignore
    return network


def _others(axis: int, ndim: int) -> tuple[int, ...]:
    return tuple(other for other in range(ndim) if other != axis)
