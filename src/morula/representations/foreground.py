"""Plain foreground: what a semantic network gives, and two ways to instances from it.

System B (ResNet-18 U-Net with online hard example mining, Kromp et al. 2020's nuclei). Its text lends
instances from the truth; here they are the connected components, split by their shape if wanted.
"""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from morula.decoding.dynamics import split_by_dynamics
from morula.labels.components import connected_components, remove_small
from morula.labels.renumber import renumber
from morula.representations.base import Head, Representation, Tensor
from morula.spec import Tunable
from morula.targets.distances import inner_distance
from morula.types import Labels, Maps, Spacing, Tensors


class Foreground(Representation, frozen=True):
    """The probability that a pixel belongs to any instance."""

    kind: Literal["foreground"] = "foreground"

    losses: Literal["cross_entropy", "dice", "sum", "hardest", "dice_and_hardest"] = "sum"
    """``sum``: cross-entropy plus Dice; ``hardest``: cross-entropy of the hardest pixels only (OHEM)."""

    hardest: float = Field(0.2, gt=0)
    """How many pixels of each image are the hardest: a share up to 1, or a number above 1."""

    hardest_weight: float = Field(1.0, gt=0)
    """Weight of the hardest pixels' term against Dice."""

    split: Literal["none", "distance"] = "none"
    """``distance``: cuts components at their waists, by watershed of the distance to their outline."""

    mask_threshold: Annotated[float, Field(gt=0, lt=1), Tunable(0.2, 0.8)] = 0.5
    """Foreground probability above which a pixel belongs to some instance."""

    min_waist_px: Annotated[float, Field(gt=0), Tunable(0.2, 4.0)] = 1.0
    """``distance``: a part stays apart when it is this much deeper than the waist that joins it."""

    min_object_px: Annotated[int, Field(ge=1), Tunable(1, 60)] = 8
    """Smallest instance, in pixels."""

    def heads(self, ndim: int) -> tuple[Head, ...]:
        """One sigmoid head of one channel, for any `ndim`."""
        return (Head("foreground", 1, "sigmoid"),)

    def encode(self, labels: Labels, spacing: Spacing) -> Maps:
        """The foreground mask."""
        return {"foreground": (labels > 0)[None].astype(np.float32)}

    def loss(self, logits: Tensors, targets: Tensors, annotated: Tensor) -> dict[str, Tensor]:
        """The terms that `losses` names."""
        from morula.losses.entropy import binary_cross_entropy, hardest_pixels
        from morula.losses.overlap import soft_dice

        logit, target = logits["foreground"], targets["foreground"]
        terms = {}
        if self.losses in ("cross_entropy", "sum"):
            terms["cross_entropy"] = binary_cross_entropy(logit, target, annotated)
        if self.losses in ("dice", "sum", "dice_and_hardest"):
            terms["dice"] = soft_dice(logit.float().sigmoid(), target, annotated)
        if self.losses in ("hardest", "dice_and_hardest"):
            terms["hardest"] = self.hardest_weight * hardest_pixels(logit, target, annotated, self.hardest)
        return terms

    def decode(self, maps: Maps, spacing: Spacing) -> Labels:
        """Connected components of the mask, cut at their waists if `split` says so."""
        mask = maps["foreground"][0] > self.mask_threshold
        pieces = connected_components(mask)
        if self.split == "distance":
            finest = min(spacing)
            depth = inner_distance(pieces, tuple(step / finest for step in spacing))
            pieces = split_by_dynamics(depth, mask, self.min_waist_px)
        return renumber(remove_small(pieces, self.min_object_px))
