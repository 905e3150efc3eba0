"""Synthetic labels and images for tests."""

import numpy as np
from scipy import ndimage


def touching_balls(ndim: int, shape: int = 64, radius: int = 9) -> np.ndarray:
    """Balls on a jittered grid, some of them touching: the acid test of a representation."""
    rng = np.random.default_rng(0)
    axis = np.arange(radius + 2, shape - radius, 2 * radius)
    grid = np.stack(np.meshgrid(*[axis] * ndim, indexing="ij"), -1)
    centres = grid.reshape(-1, ndim) + rng.integers(-1, 2, (grid.size // ndim, ndim))
    points = np.stack(np.indices((shape,) * ndim), -1)
    distance = np.linalg.norm(points[..., None, :] - centres, axis=-1)
    labels = distance.argmin(-1) + 1
    labels[distance.min(-1) > radius] = 0
    return labels.astype(np.int32)


def picture_of(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """A blurred, noisy uint8 grey picture of `labels`: bright objects, darker where they touch."""
    rng = np.random.default_rng(seed)
    edges = ndimage.morphological_gradient(labels, 3) > 0
    clean = ndimage.gaussian_filter((labels > 0) - 0.5 * edges, 0.7)
    return np.clip(40 + 160 * clean + rng.normal(0, 6, labels.shape), 0, 255).astype(np.uint8)
