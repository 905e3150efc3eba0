"""Three independent maps: nuclei, shrunk nuclei and borders between touching nuclei.

The multi-head targets of system C (DSB 2018): all nuclei, nuclei without their boundaries, and touching
borders only; compare Caicedo et al. 2019, https://doi.org/10.1038/s41592-019-0612-7.
"""

from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float32
from pydantic import Field

from morula.decoding.markers import flood_markers, number_markers
from morula.decoding.random_walker import random_walker
from morula.decoding.region_features import describe
from morula.decoding.regions import Regions, nested_regions
from morula.labels.components import remove_small
from morula.labels.renumber import renumber
from morula.representations.base import Head, Representation, Tensor
from morula.spec import Tunable
from morula.targets.boundaries import shrink, touching_borders
from morula.types import Labels, Maps, Scalar, Spacing, Tensors


class ShrunkBorders(Representation, frozen=True):
    """Nuclei, shrunk nuclei and touching borders as three sigmoid heads."""

    kind: Literal["shrunk_borders"] = "shrunk_borders"

    shrink_px: float = Field(2.0, ge=1)
    """Pixels taken off every nucleus to make its marker; small nuclei lose at most half of their depth."""

    border_reach_px: float = Field(2.0, ge=1)
    """Distance in pixels within which two nuclei count as touching."""

    losses: Literal["cross_entropy", "dice", "sum"] = "sum"
    """Per head: cross-entropy, soft Dice or both (system C's three experiments)."""

    border_weight: float = Field(1.0, gt=0)
    """Weight of the border head's terms; the other heads weigh 1."""

    decoder: Literal["watershed", "random_walker"] = "watershed"
    """Grows the markers over the nuclei."""

    elevation: Literal["nuclei", "borders", "shrunk"] = "borders"
    """What the watershed floods: minus nuclei (system C), borders minus nuclei, or minus shrunk nuclei."""

    nuclei_threshold: Annotated[float, Field(gt=0, lt=1), Tunable(0.2, 0.8)] = 0.5
    """Nuclei probability above which a pixel belongs to some nucleus."""

    marker_threshold: Annotated[float, Field(gt=-1, lt=1), Tunable(0.1, 0.9)] = 0.5
    """Shrunk minus border probability above which a pixel is a marker."""

    min_marker_px: Annotated[int, Field(ge=1), Tunable(1, 30)] = 3
    """Smallest marker that becomes a nucleus, in pixels."""

    min_object_px: Annotated[int, Field(ge=1), Tunable(1, 60)] = 8
    """Smallest nucleus, in pixels."""

    def heads(self, ndim: int) -> tuple[Head, ...]:
        """Three sigmoid heads of one channel, for any `ndim`."""
        return tuple(Head(name, 1, "sigmoid") for name in ("nuclei", "shrunk", "borders"))

    def encode(self, labels: Labels, spacing: Spacing) -> Maps:
        """The three masks."""
        masks = {
            "nuclei": labels > 0,
            "shrunk": shrink(labels, self.shrink_px, spacing) > 0,
            "borders": touching_borders(labels, self.border_reach_px, spacing),
        }
        return {name: mask[None].astype(np.float32) for name, mask in masks.items()}

    def loss(self, logits: Tensors, targets: Tensors, annotated: Tensor) -> dict[str, Tensor]:
        """Binary cross-entropy, soft Dice or both, per head."""
        from morula.losses.entropy import binary_cross_entropy
        from morula.losses.overlap import soft_dice

        terms = {}
        for name in ("nuclei", "shrunk", "borders"):
            weight = self.border_weight if name == "borders" else 1.0
            logit, target = logits[name], targets[name]
            if self.losses != "dice":
                terms[f"{name}/cross_entropy"] = weight * binary_cross_entropy(logit, target, annotated)
            if self.losses != "cross_entropy":
                terms[f"{name}/dice"] = weight * soft_dice(logit.float().sigmoid(), target, annotated)
        return terms

    def decode(self, maps: Maps, spacing: Spacing) -> Labels:
        """Shrunk nuclei without borders are the markers; they grow over the nuclei."""
        nuclei, shrunk, borders = _planes(maps)
        mask = nuclei > self.nuclei_threshold
        markers = shrunk - borders > self.marker_threshold
        if self.decoder == "random_walker":
            numbered = number_markers(markers, mask, self.min_marker_px)
            walked = random_walker(nuclei - borders, numbered, mask)
            return renumber(remove_small(walked, self.min_object_px))
        elevation = self._elevation(nuclei, shrunk, borders)
        return flood_markers(markers, elevation, mask, self.min_marker_px, self.min_object_px)

    def regions(self, maps: Maps) -> tuple[Regions, Float32[np.ndarray, "nodes_and_none features"]]:
        """Every way to split and merge the objects, and `region_features` of each candidate.

        `decode` cuts all of them at one height; `morula.prediction.scorer` chooses.
        """
        nuclei, shrunk, borders = _planes(maps)
        elevation = self._elevation(nuclei, shrunk, borders)
        regions = nested_regions(nuclei, shrunk - borders, elevation, self.nuclei_threshold)
        return regions, describe(regions, nuclei, shrunk, borders)

    def _elevation(self, nuclei: Scalar, shrunk: Scalar, borders: Scalar) -> Scalar:
        """What is flooded from the markers."""
        if self.elevation == "nuclei":
            return -nuclei
        return -shrunk if self.elevation == "shrunk" else borders - nuclei


def _planes(maps: Maps) -> tuple[Scalar, Scalar, Scalar]:
    return maps["nuclei"][0], maps["shrunk"][0], maps["borders"][0]
