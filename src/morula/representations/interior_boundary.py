"""Three exclusive classes: background, interior and boundary.

System A (nnU-Net with a weight map, NeurIPS 2022 CellSeg); compare Caicedo et al. 2019,
https://doi.org/10.1002/cyto.a.23863.
"""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from morula.decoding.components import grow
from morula.decoding.markers import number_markers
from morula.labels.components import connected_components, remove_small
from morula.labels.renumber import renumber
from morula.representations.base import Head, Representation, Tensor
from morula.spec import Tunable
from morula.targets.boundaries import shrink
from morula.targets.weights import unet_weight_map
from morula.types import Labels, Maps, Spacing, Tensors


class InteriorBoundary(Representation, frozen=True):
    """Background, interior and boundary as one softmax head."""

    kind: Literal["interior_boundary"] = "interior_boundary"

    boundary_px: float = Field(1.0, ge=1)
    """Thickness of the boundary inside an instance, in pixels; small instances keep half of their depth."""

    weight_map: bool = False
    """Multiplies tp, fp and fn of the Dice term by the U-Net weight map (system A)."""

    weight_height: float = Field(10.0, gt=0)
    """w0 of the weight map: height of the ridge between close instances."""

    weight_sigma_px: float = Field(5.0, gt=0)
    """sigma of the weight map: width of that ridge, in pixels."""

    boundary_weight: float = Field(1.0, gt=0)
    """Cross-entropy weight of boundary pixels; the other classes weigh 1."""

    grow: bool = True
    """Gives the boundary back by growing the interiors; without it instances come out smaller."""

    interior_threshold: Annotated[float, Field(gt=0, lt=1), Tunable(0.2, 0.9)] = 0.5
    """Interior probability above which a pixel is a marker."""

    mask_threshold: Annotated[float, Field(gt=0, lt=1), Tunable(0.2, 0.8)] = 0.5
    """Probability of interior or boundary above which a pixel belongs to some instance."""

    min_marker_px: Annotated[int, Field(ge=1), Tunable(1, 30)] = 3
    """Smallest interior that becomes an instance, in pixels."""

    min_object_px: Annotated[int, Field(ge=1), Tunable(1, 60)] = 8
    """Smallest instance, in pixels."""

    def heads(self, ndim: int) -> tuple[Head, ...]:
        """One softmax head with three channels, for any `ndim`."""
        return (Head("classes", 3, "softmax"),)

    def encode(self, labels: Labels, spacing: Spacing) -> Maps:
        """One-hot background, interior, boundary."""
        interior = shrink(labels, self.boundary_px, spacing) > 0
        foreground = labels > 0
        return {"classes": np.stack([~foreground, interior, foreground & ~interior]).astype(np.float32)}

    def image_maps(self, labels: Labels, spacing: Spacing) -> Maps:
        """The weight map, balanced over the three classes of the whole image, if it is on."""
        if not self.weight_map:
            return {}
        classes = self.encode(labels, spacing)["classes"].argmax(0)
        weight = unet_weight_map(labels, self.weight_height, self.weight_sigma_px, classes, spacing)
        return {"weight": weight[None]}

    def loss(self, logits: Tensors, targets: Tensors, annotated: Tensor) -> dict[str, Tensor]:
        """Cross-entropy plus soft Dice, unweighted sum; the weight map is on the Dice term only."""
        from morula.losses.entropy import cross_entropy
        from morula.losses.overlap import soft_dice

        logit, target = logits["classes"], targets["classes"]
        importance = (1.0, 1.0, self.boundary_weight)
        weight = targets["weight"] if self.weight_map else None
        dice = soft_dice(logit.float().softmax(1), target, annotated, weight)
        return {"cross_entropy": cross_entropy(logit, target, annotated, importance), "dice": dice}

    def decode(self, maps: Maps, spacing: Spacing) -> Labels:
        """Connected interiors are the instances; they grow back over their boundaries."""
        background, interior, _ = maps["classes"]
        markers = interior > self.interior_threshold
        if not self.grow:
            pieces = remove_small(connected_components(markers), self.min_marker_px)
            return renumber(remove_small(pieces, self.min_object_px))
        mask = background < 1 - self.mask_threshold
        grown = grow(number_markers(markers, mask, self.min_marker_px), mask)
        return renumber(remove_small(grown, self.min_object_px))
