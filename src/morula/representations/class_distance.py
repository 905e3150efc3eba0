"""Classes (organs): their probabilities, and beside them one signed distance map each.

System E (3D nnU-Net with signed distance maps, FLARE 2021) after Ma et al. 2020,
https://proceedings.mlr.press/v121/ma20b.html. The distances teach the network where surfaces run; labels are
read from the probabilities alone. The text states neither sign nor scale of the distances, nor the weight of
their loss: here they are negative inside, scaled per class, and weigh 1.
"""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from morula.labels.components import keep_largest_pieces
from morula.representations.base import Head, Representation, Task, Tensor
from morula.targets.classes import class_channels, class_distances
from morula.types import Labels, Maps, Spacing, Tensors


class ClassDistance(Representation, frozen=True):
    """Background and classes as one softmax head, and a second head with a signed distance per class."""

    task: ClassVar[Task] = "semantic"

    kind: Literal["class_distance"] = "class_distance"

    ids: tuple[int, ...] = Field((1,), min_length=1)
    """Label of each class, in channel order."""

    distance: bool = True
    """Whether there is the second head."""

    error: Literal["l2", "l1"] = "l2"
    """How a deviation of the distances is punished: squared (the paper) or absolute."""

    distance_weight: float = Field(1.0, gt=0)
    """Factor on the distances' loss; the paper leaves it open."""

    reach_px: float = Field(16.0, gt=0)
    """Distance outside a class at which its map reaches 1, in pixels of the finest axis."""

    keep_largest: tuple[int, ...] = ()
    """Labels of the classes of which only the largest connected piece is kept."""

    @model_validator(mode="after")
    def _ids_agree(self) -> "ClassDistance":
        if min(self.ids) < 1 or len(set(self.ids)) < len(self.ids):
            msg = f"ids {self.ids} must be different numbers above 0"
            raise ValueError(msg)
        strange = set(self.keep_largest) - set(self.ids)
        if strange:
            msg = f"keep_largest names {min(strange)}, which is no class; the classes are {self.ids}"
            raise ValueError(msg)
        return self

    def heads(self, ndim: int) -> tuple[Head, ...]:
        """Probabilities of background and classes; distances of the classes, if they are on."""
        classes = Head("classes", len(self.ids) + 1, "softmax")
        return (classes, Head("distances", len(self.ids), "identity")) if self.distance else (classes,)

    def encode(self, labels: Labels, spacing: Spacing) -> Maps:
        """One-hot background and classes; their signed distances."""
        channels = class_channels(labels, self.ids)
        classes = np.stack([channels == channel for channel in range(len(self.ids) + 1)])
        maps = {"classes": classes.astype(np.float32)}
        if self.distance:
            maps["distances"] = class_distances(labels, self.ids, spacing, self.reach_px)
        return maps

    def loss(self, logits: Tensors, targets: Tensors, annotated: Tensor) -> dict[str, Tensor]:
        """Cross-entropy, soft Dice of the classes without background (as nnU-Net), error of the distances."""
        from morula.losses import regression
        from morula.losses.entropy import cross_entropy
        from morula.losses.overlap import soft_dice

        logit, target = logits["classes"], targets["classes"]
        terms = {
            "cross_entropy": cross_entropy(logit, target, annotated),
            "dice": soft_dice(logit.float().softmax(1)[:, 1:], target[:, 1:], annotated),
        }
        if self.distance:
            error = {"l2": regression.l2, "l1": regression.l1}[self.error]
            deviation = error(logits["distances"], targets["distances"], annotated)
            terms["distances"] = self.distance_weight * deviation
        return terms

    def decode(self, maps: Maps, spacing: Spacing) -> Labels:
        """The most probable class of every pixel, as its label; then `tidy`."""
        return self.tidy(np.array((0, *self.ids), np.int32)[maps["classes"].argmax(0)])

    def tidy(self, labels: Labels) -> Labels:
        """`labels` with only the largest piece of the classes in `keep_largest`."""
        if not self.keep_largest:
            return labels
        listed = np.isin(labels, self.keep_largest)
        return np.where(listed, keep_largest_pieces(np.where(listed, labels, 0)), labels).astype(np.int32)
