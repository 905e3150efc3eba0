"""Region overlap losses."""

import torch
from jaxtyping import Float
from torch import Tensor


def soft_dice(
    probabilities: Float[Tensor, "batch channel *spatial"],
    target: Float[Tensor, "batch channel *spatial"],
    annotated: Float[Tensor, "batch 1 *spatial"],
    weight: Float[Tensor, "batch 1 *spatial"] | None = None,
    smooth: float = 1.0,
) -> Float[Tensor, ""]:
    """One minus the soft Dice overlap, averaged over channels.

    2 tp / (2 tp + fp + fn) with plain (not squared) sums: Milletari et al. 2016,
    https://arxiv.org/abs/1606.04797, as in nnU-Net. The sums run over the whole batch, so that a
    patch without objects does not ask for a constant.

    Args:
        probabilities: Activated outputs in [0, 1].
        target: One-hot or soft target.
        annotated: 1 where labels exist; elsewhere the loss is silent.
        weight: Multiplies tp, fp and fn pixel by pixel (the weight map of system A).
        smooth: Added to numerator and denominator, so that an absent class scores 0 when none is predicted.
    """
    probabilities, target = probabilities.float(), target.float()
    counted = annotated.float() if weight is None else annotated.float() * weight.float()
    axes = (0, *range(2, probabilities.ndim))
    overlap = torch.sum(counted * probabilities * target, axes)
    total = torch.sum(counted * (probabilities + target), axes)
    return 1 - torch.mean((2 * overlap + smooth) / (total + smooth))
