"""Weight maps: where a mistake costs more."""

import numpy as np
from jaxtyping import Integer

from morula.targets.distances import two_nearest_distances
from morula.types import Labels, Scalar, Spacing


def unet_weight_map(
    labels: Labels,
    w0: float = 10.0,
    sigma: float = 5.0,
    classes: Integer[np.ndarray, "*_"] | None = None,
    spacing: Spacing | None = None,
) -> Scalar:
    """Balance of the classes, plus a ridge between close instances.

    w(x) = w_c(x) + w0 exp(-(d1 + d2)^2 / (2 sigma^2)): Ronneberger et al. 2015,
    https://arxiv.org/abs/1505.04597, equation 2; system A. w_c is one over the share of the pixels that
    x's class covers; d1 and d2 are the distances to the nearest and second-nearest instance, 0 in it.

    Args:
        labels: ``(*spatial)``; 0 and -1 are background.
        w0: Height of the ridge.
        sigma: Its width in pixels of the finest axis.
        classes: Class of every pixel; None for background and foreground.
        spacing: Pixel size per axis; None for 1 everywhere.

    Returns:
        ``(*spatial)``, at least 1.

    Examples:
        >>> unet_weight_map(np.array([[0, 0, 1, 1]], np.int32))
        array([[2., 2., 2., 2.]], dtype=float32)
    """
    present = (labels > 0).astype(np.int64) if classes is None else classes
    shares = np.bincount(present.ravel()) / max(present.size, 1)
    balance = np.divide(1, shares, out=np.zeros_like(shares), where=shares > 0)
    spacing = spacing or (1.0,) * labels.ndim
    # Beyond five sigma the ridge is below 4e-6 of its height.
    scaled = tuple(step / min(spacing) for step in spacing)
    d1, d2 = two_nearest_distances(labels, int(np.ceil(5 * sigma)), scaled)
    ridge = w0 * np.exp(-((d1 + d2) ** 2) / (2 * sigma**2))
    return (balance[present] + ridge).astype(np.float32)
