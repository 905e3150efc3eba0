"""Signed distance: one regression map whose zero level is every outline.

Instances as level sets; compare Ma et al. 2020, "How distance transform maps boost segmentation CNNs",
https://proceedings.mlr.press/v121/ma20b.html. Scaled per instance, as in Naylor et al. 2019,
https://doi.org/10.1109/TMI.2018.2865709, so that one marker threshold fits all sizes.
"""

from typing import Annotated, Literal

from pydantic import Field

from morula.decoding.dynamics import split_by_dynamics
from morula.decoding.markers import flood_markers
from morula.labels.components import remove_small
from morula.labels.renumber import renumber
from morula.representations.base import Head, Representation, Tensor
from morula.spec import Tunable
from morula.targets.distances import signed_distance
from morula.types import Labels, Maps, Spacing, Tensors


class SignedDistance(Representation, frozen=True):
    """Distance to the outline: 1 at each instance's centre, 0 on its outline, -1 far outside."""

    kind: Literal["signed_distance"] = "signed_distance"

    reach_px: float = Field(8.0, gt=0)
    """Distance outside instances at which the map reaches -1, in pixels of the finest axis."""

    error: Literal["smooth_l1", "l1", "l2"] = "smooth_l1"
    """How a deviation is punished."""

    near_weight: float = Field(4.0, ge=1)
    """Weight of pixels inside instances or nearer than `reach_px` to one; far pixels weigh 1."""

    mask_threshold: Annotated[float, Field(gt=-1, lt=1), Tunable(-0.3, 0.3)] = 0.0
    """Height above which a pixel belongs to some instance."""

    markers: Literal["threshold", "dynamics"] = "threshold"
    """``threshold``: what lies above one height; ``dynamics``: summits that stand out from their saddles."""

    marker_threshold: Annotated[float, Field(gt=-1, lt=1), Tunable(0.2, 0.9)] = 0.5
    """``threshold``: height above which a pixel is a marker."""

    min_dynamics: Annotated[float, Field(gt=0, lt=2), Tunable(0.05, 0.6)] = 0.2
    """``dynamics``: a summit stays apart when it is this much higher than the saddle to a higher one."""

    min_marker_px: Annotated[int, Field(ge=1), Tunable(1, 30)] = 3
    """Smallest marker that becomes an instance, in pixels."""

    min_object_px: Annotated[int, Field(ge=1), Tunable(1, 60)] = 8
    """Smallest instance, in pixels."""

    def heads(self, ndim: int) -> tuple[Head, ...]:
        """One scalar head, for any `ndim`."""
        return (Head("distance", 1, "identity"),)

    def encode(self, labels: Labels, spacing: Spacing) -> Maps:
        """Height above the outline."""
        return {"distance": signed_distance(labels, spacing, self.reach_px)[None]}

    def loss(self, logits: Tensors, targets: Tensors, annotated: Tensor) -> dict[str, Tensor]:
        """Regression error with more weight in and near instances."""
        from morula.losses import regression

        target = targets["distance"]
        weight = 1 + (self.near_weight - 1) * (target > -1).to(target.dtype)
        error = {"smooth_l1": regression.smooth_l1, "l1": regression.l1, "l2": regression.l2}[self.error]
        return {"distance": error(logits["distance"], target, annotated, weight)}

    def decode(self, maps: Maps, spacing: Spacing) -> Labels:
        """Summits are the markers; they flow down to the zero level."""
        distance = maps["distance"][0]
        mask = distance > self.mask_threshold
        if self.markers == "dynamics":
            pieces = split_by_dynamics(distance, mask, self.min_dynamics, self.min_marker_px)
            return renumber(remove_small(pieces, self.min_object_px))
        markers = distance > self.marker_threshold
        return flood_markers(markers, -distance, mask, self.min_marker_px, self.min_object_px)
