"""Losses of real-valued maps, and the masked mean that all losses share."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def masked_mean(
    error: Float[Tensor, "batch channel *spatial"],
    annotated: Float[Tensor, "batch 1 *spatial"],
    weight: Float[Tensor, "batch 1 *spatial"] | None = None,
) -> Float[Tensor, ""]:
    """Weighted mean of `error` over channels and annotated pixels; 0 where nothing counts."""
    counted = annotated.float() if weight is None else annotated.float() * weight.float()
    # Clamped far below one pixel's weight: it only guards against 0 / 0.
    return (error * counted).sum() / (counted.sum() * error.shape[1]).clamp(min=1e-6)


def annotated_on_grid(
    annotated: Float[Tensor, "batch 1 *spatial"], maps: Float[Tensor, "batch channel *grid"]
) -> Float[Tensor, "batch 1 *grid"]:
    """`annotated` on the coarser grid of `maps` (`Head.stride`): 1 where a whole block is annotated."""
    stride = round(annotated.shape[-1] / maps.shape[-1])
    if stride == 1:
        return annotated
    pool = F.max_pool2d if maps.ndim == 4 else F.max_pool3d
    return 1 - pool(1 - annotated, stride, ceil_mode=True)


def l1(
    predicted: Float[Tensor, "batch channel *spatial"],
    target: Float[Tensor, "batch channel *spatial"],
    annotated: Float[Tensor, "batch 1 *spatial"],
    weight: Float[Tensor, "batch 1 *spatial"] | None = None,
) -> Float[Tensor, ""]:
    """Mean absolute error over channels and annotated pixels, weighted by `weight`."""
    return masked_mean((predicted.float() - target.float()).abs(), annotated, weight)


def l2(
    predicted: Float[Tensor, "batch channel *spatial"],
    target: Float[Tensor, "batch channel *spatial"],
    annotated: Float[Tensor, "batch 1 *spatial"],
    weight: Float[Tensor, "batch 1 *spatial"] | None = None,
) -> Float[Tensor, ""]:
    """Mean squared error over channels and annotated pixels, weighted by `weight`."""
    return masked_mean((predicted.float() - target.float()).square(), annotated, weight)


def smooth_l1(
    predicted: Float[Tensor, "batch channel *spatial"],
    target: Float[Tensor, "batch channel *spatial"],
    annotated: Float[Tensor, "batch 1 *spatial"],
    weight: Float[Tensor, "batch 1 *spatial"] | None = None,
    beta: float = 0.1,
) -> Float[Tensor, ""]:
    """Mean of the error that is squared below `beta` and absolute above (Huber), weighted by `weight`.

    Girshick 2015, https://arxiv.org/abs/1504.08083, equation 3, with its turning point at `beta`.
    """
    error = F.smooth_l1_loss(predicted.float(), target.float(), reduction="none", beta=beta)
    return masked_mean(error, annotated, weight)


def gradient_l2(
    predicted: Float[Tensor, "batch axis *spatial"],
    target: Float[Tensor, "batch axis *spatial"],
    annotated: Float[Tensor, "batch 1 *spatial"],
    weight: Float[Tensor, "batch 1 *spatial"] | None = None,
) -> Float[Tensor, ""]:
    """Mean squared error of each channel's derivative along its own axis.

    HoVer-Net's second regression term (Graham et al. 2019, https://arxiv.org/abs/1812.06499,
    equation 3) with its 5-wide Sobel kernel x / (x^2 + y^2), in any dimension.

    Args:
        predicted: One channel per spatial axis, in axis order.
        target: Of the same shape.
        annotated: 1 where labels exist; elsewhere the loss is silent.
        weight: Usually the nuclei: the derivative is compared there only.
    """
    # Derivatives are linear: that of the difference is the difference of the two.
    difference = (predicted.float() - target.float()) * annotated.float()
    slope = torch.cat([_derivative(difference, axis) for axis in range(difference.shape[1])], 1)
    return masked_mean(slope.square(), annotated, weight)


def _derivative(maps: Tensor, axis: int) -> Tensor:
    """Smoothed derivative of channel `axis` along spatial axis `axis`, 1 for a slope of 1 per pixel.

    The kernel of HoVer-Net's code is not divided by its answer to such a slope, which is 12 in 2D: squared
    errors of its derivatives are 144 times ours.
    """
    ndim = maps.ndim - 2
    coordinates = torch.arange(-2.0, 3.0, device=maps.device)
    grid = torch.stack(torch.meshgrid(*[coordinates] * ndim, indexing="ij"))
    kernel = grid[axis] / grid.square().sum(0).clamp(min=1)
    kernel = kernel / (kernel * grid[axis]).sum()
    convolve = F.conv2d if ndim == 2 else F.conv3d
    return convolve(maps[:, axis : axis + 1], kernel[None, None], padding=2)
