"""Star-convex shapes: a probability of the centre and the distance to the edge along rays.

StarDist: Schmidt et al. 2018, https://arxiv.org/abs/1806.03535; Weigert et al. 2020 for 3D,
https://arxiv.org/abs/1908.03636; the baseline of system B.
"""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from morula.decoding.stars import paint_stars
from morula.labels.components import remove_small
from morula.labels.renumber import renumber
from morula.representations.base import Head, Representation, Tensor
from morula.spec import Tunable
from morula.targets.distances import inner_distance, largest_per_label, sequential
from morula.targets.stars import star_directions, star_distances
from morula.types import Labels, Map, Maps, Spacing, Tensors


class StarConvex(Representation, frozen=True):
    """Normalised edge distance as probability; edge distance per ray, in pixels of the finest axis."""

    kind: Literal["star_convex"] = "star_convex"

    rays_per_sector: int = Field(8, ge=1)
    """Rays per quadrant (2D: 8 make StarDist's 32) or octant (3D: 12 make its 96)."""

    stride: Literal[1, 2, 4] = 1
    """Grid step of both maps, in working pixels; StarDist trains on 2."""

    distance_weight: float = Field(0.2, gt=0)
    """Weight of the distance term (StarDist: 0.2); the probability term weighs 1."""

    background_weight: float = Field(1e-4, ge=0)
    """Share of the distance term that pulls distances on background to 0 (StarDist: 1e-4)."""

    probability_threshold: Annotated[float, Field(gt=0, lt=1), Tunable(0.2, 0.8)] = 0.5
    """Least probability of a shape's centre."""

    max_overlap: Annotated[float, Field(ge=0, lt=1), Tunable(0.1, 0.7)] = 0.4
    """Largest share of a shape that a more probable one may cover."""

    min_object_px: Annotated[int, Field(ge=1), Tunable(1, 60)] = 8
    """Smallest instance, in pixels."""

    def heads(self, ndim: int) -> tuple[Head, ...]:
        """A probability head, and a distance head with one channel per ray."""
        rays = tuple(tuple(ray) for ray in self._directions(ndim).tolist())
        return (
            Head("probability", 1, "sigmoid", stride=self.stride),
            Head("distances", len(rays), "identity", directions=rays, stride=self.stride),
        )

    def encode(self, labels: Labels, spacing: Spacing) -> Maps:
        """Edge distance scaled to 1 per instance, and ray distances.

        With a stride, the spatial size is rounded up to a multiple of it.
        """
        ids = sequential(labels)
        depth = inner_distance(ids, spacing)
        deepest = np.maximum(largest_per_label(ids, depth), np.finfo(np.float32).tiny)
        probability = (depth / deepest[ids])[None]
        # The surest pixels of a block count most: their distances are where decoding looks.
        rays = self._directions(labels.ndim)
        distances = star_distances(ids, rays, _in_pixels(spacing), self.stride, probability[0])
        return {"probability": _block_mean(probability, self.stride), "distances": distances}

    def loss(self, logits: Tensors, targets: Tensors, annotated: Tensor) -> dict[str, Tensor]:
        """Cross-entropy of the probability; absolute error of the distances, weighted by the probability."""
        from morula.losses.entropy import binary_cross_entropy
        from morula.losses.regression import annotated_on_grid, l1, masked_mean

        probability = targets["probability"]
        known = annotated_on_grid(annotated, probability)
        error = l1(logits["distances"], targets["distances"], known, probability)
        stray = masked_mean(logits["distances"].float().abs(), known, (probability <= 0).float())
        return {
            "probability": binary_cross_entropy(logits["probability"], probability, known),
            "distances": self.distance_weight * (error + self.background_weight * stray),
        }

    def decode(self, maps: Maps, spacing: Spacing) -> Labels:
        """Shapes from the most probable centre down, duplicates left out."""
        painted = paint_stars(
            maps["probability"][0],
            maps["distances"],
            self._directions(len(spacing)),
            _in_pixels(spacing),
            self.probability_threshold,
            self.max_overlap,
            self.stride,
        )
        return renumber(remove_small(painted, self.min_object_px))

    def _directions(self, ndim: int) -> np.ndarray:
        return star_directions(ndim, self.rays_per_sector * 2**ndim)


def _in_pixels(spacing: Spacing) -> Spacing:
    return tuple(step / min(spacing) for step in spacing)


def _block_mean(maps: Map, stride: int) -> Map:
    """Mean over blocks of `stride` pixels per axis; a last, incomplete block counts as filled up with 0."""
    if stride == 1:
        return maps
    padded = np.pad(maps, [(0, 0), *((0, -size % stride) for size in maps.shape[1:])])
    shape = [len(maps)]
    for size in padded.shape[1:]:
        shape += [size // stride, stride]
    return padded.reshape(shape).mean(tuple(range(2, len(shape), 2)), dtype=np.float32)
