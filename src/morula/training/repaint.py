"""Patches painted anew from their labels: the shapes are real, the looks are random.

Domain randomisation, after SynthSeg (Billot et al. 2023, https://arxiv.org/abs/2107.09559): a network that
has seen the same shapes in looks that no microscope gives is less surprised by one that it has not met. What
is random is what tells the modalities of microscopy apart: body, rim and halo, inner spot, relief, grain.
"""

import cv2
import numpy as np

from morula.labels.renumber import low_ids
from morula.targets.distances import inner_distance, signed_distance
from morula.types import Labels, Map, Scalar

Rng = np.random.Generator

HALO_PX = 12.0
"""How far from an outline a halo can reach."""


def repaint(image: Map, labels: Labels, rng: Rng) -> Map:
    """A random look for the same objects; now and then the image shines through.

    Args:
        image: Float32 ``(C, *spatial)``; each part of the look is alike in all channels in half of the cases.
        labels: ``(*spatial)``; 0 and -1 are background.
        rng: Source of all randomness.

    Returns:
        Float32 ``(C, *spatial)``, 0 to 1 from the 1st to the 99.8th percentile.
    """
    channels, plane = len(image), labels.shape[-2:]
    looks = [rng.normal(0, 1, channels if rng.random() < 0.5 else 1) for _ in range(5)]
    # Not near 0: what is painted can be seen.
    looks = [(value + 0.4 * np.sign(value)).reshape(-1, *[1] * labels.ndim) for value in looks]
    ground, body, rim, spot, relief = looks
    rimmed = rng.random() < 0.5
    ids = low_ids(labels)[0]
    inside, height = ids > 0, signed_distance(ids, (1.0,) * ids.ndim, HALO_PX)
    objects = np.maximum(height, 0) ** np.float32(rng.choice([0.0, 0.5, 1.0])) * inside
    painted = np.zeros(image.shape, np.float32) + 0.3 * ground.astype(np.float32)
    painted += np.float32(rng.uniform(0, 0.25)) * _grain(plane, rng) * ~inside
    if not rimmed or rng.random() < 0.7:
        painted += body * objects * _own_factors(ids, rng)
        painted += np.float32(rng.uniform(0, 0.4)) * _grain(plane, rng) * inside
    if rimmed:
        painted += rim * _rim(ids, height, rng)
    if rng.random() < 0.3:
        painted += spot / (1 + np.exp(16 * (rng.uniform(0.4, 0.8) - height)))
    if rng.random() < 0.25:
        painted += 3 * relief * _relief(np.maximum(height, 0), rng)
    if rng.random() < 0.3:
        painted += _specks(plane, rng) * ~inside
    low, high = np.percentile(painted, (1, 99.8))
    painted = (painted - low) / max(float(high - low), 1e-6)
    share = rng.uniform(0.3, 0.7) if rng.random() < 0.4 else 1.0
    return (np.float32(share) * painted + np.float32(1 - share) * image).astype(np.float32)


def _grain(plane: tuple[int, ...], rng: Rng) -> np.ndarray:
    """A random texture with a deviation of about 1, anything from clouds to single pixels."""
    nodes = max(2, int(min(plane) / np.exp(rng.uniform(0, np.log(64)))))
    grid = rng.standard_normal((nodes, nodes), dtype=np.float32)
    return cv2.resize(grid, (plane[1], plane[0]), interpolation=cv2.INTER_CUBIC)


def _own_factors(ids: Labels, rng: Rng) -> Scalar:
    """How bright each object is beside the others."""
    spread = rng.uniform(0, 0.5)
    factors = rng.uniform(1 - spread, 1 + spread, int(ids.max(initial=0)) + 1)
    return factors.astype(np.float32)[np.maximum(ids, 0)]


def _rim(ids: Labels, height: Scalar, rng: Rng) -> Scalar:
    """1 along a line beside every outline, up to 3 px inside or outside, falling off to both sides."""
    depth = inner_distance(ids, (1.0,) * ids.ndim) - 0.5
    outward = np.where(ids > 0, -depth, -HALO_PX * height)
    return np.exp(-0.5 * ((outward - rng.uniform(-3, 3)) / rng.uniform(0.8, 3)) ** 2).astype(np.float32)


def _relief(height: Scalar, rng: Rng) -> Scalar:
    """Slopes towards one side bright, towards the other dark, as in differential interference contrast."""
    angle = rng.uniform(0, 2 * np.pi)
    down, right = np.gradient(height, axis=(-2, -1))
    return (np.sin(angle) * down + np.cos(angle) * right).astype(np.float32)


def _specks(plane: tuple[int, ...], rng: Rng) -> np.ndarray:
    """Up to forty specks of dirt, too small to be objects, brighter or darker than what is around them."""
    specks = np.zeros(plane, np.float32)
    count = int(rng.integers(1, 41))
    specks[rng.integers(plane[0], size=count), rng.integers(plane[1], size=count)] = rng.normal(0, 1, count)
    sigma = rng.uniform(0.7, 2)
    return cv2.GaussianBlur(specks, (0, 0), sigma) * np.float32(2 * np.pi * sigma**2)
