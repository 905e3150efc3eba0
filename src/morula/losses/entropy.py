"""Cross-entropy losses, and the mining of hard pixels."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from morula.losses.regression import masked_mean


def binary_cross_entropy(
    logits: Float[Tensor, "batch channel *spatial"],
    target: Float[Tensor, "batch channel *spatial"],
    annotated: Float[Tensor, "batch 1 *spatial"],
    weight: Float[Tensor, "batch 1 *spatial"] | None = None,
) -> Float[Tensor, ""]:
    """Mean binary cross-entropy over channels and annotated pixels.

    Args:
        logits: Before the sigmoid.
        target: In [0, 1], hard or soft.
        annotated: 1 where labels exist; elsewhere the loss is silent.
        weight: Importance of each pixel; the mean is weighted by it.
    """
    error = F.binary_cross_entropy_with_logits(logits.float(), target.float(), reduction="none")
    return masked_mean(error, annotated, weight)


def cross_entropy(
    logits: Float[Tensor, "batch channel *spatial"],
    target: Float[Tensor, "batch channel *spatial"],
    annotated: Float[Tensor, "batch 1 *spatial"],
    class_weights: tuple[float, ...] | None = None,
) -> Float[Tensor, ""]:
    """Mean cross-entropy of exclusive classes over annotated pixels.

    Args:
        logits: Before the softmax.
        target: One-hot, or probabilities that add up to 1.
        annotated: 1 where labels exist; elsewhere the loss is silent.
        class_weights: Importance of each class; the mean is weighted by it.
    """
    target = target.float()
    error = -(target * F.log_softmax(logits.float(), dim=1)).sum(1, keepdim=True)
    if class_weights is None:
        return masked_mean(error, annotated)
    shape = (1, -1, *[1] * (target.ndim - 2))
    weight = (target * target.new_tensor(class_weights).reshape(shape)).sum(1, keepdim=True)
    return masked_mean(error, annotated, weight)


def hardest_pixels(
    logits: Float[Tensor, "batch channel *spatial"],
    target: Float[Tensor, "batch channel *spatial"],
    annotated: Float[Tensor, "batch 1 *spatial"],
    hardest: float = 0.2,
) -> Float[Tensor, ""]:
    """Mean binary cross-entropy of every image's hardest pixels: top-K online hard example mining.

    Shrivastava et al. 2016, https://arxiv.org/abs/1604.03540, on pixels as in system B.

    Args:
        logits: Before the sigmoid.
        target: In [0, 1].
        annotated: 1 where labels exist; elsewhere the loss is silent.
        hardest: K, per image: a share of the pixels up to 1, or a number of pixels above 1. Never more than
            are annotated.
    """
    error = F.binary_cross_entropy_with_logits(logits.float(), target.float(), reduction="none")
    error = (error * annotated).flatten(1)
    available = (annotated > 0).expand_as(logits).flatten(1).sum(1)
    count = hardest * error.shape[1] if hardest <= 1 else hardest
    count = min(max(1, round(count)), error.shape[1])
    worst, _ = torch.topk(error, count)
    # Beyond the annotated pixels the sorted errors are 0: they must not dilute the mean.
    return worst.sum() / available.clamp(max=count).sum().clamp(min=1)
