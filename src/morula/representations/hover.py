"""Foreground plus offsets to the centroid: the maps of HoVer-Net, in 2D and 3D.

Graham et al. 2019, "HoVer-Net: simultaneous segmentation and classification of nuclei in multi-tissue
histology images", https://arxiv.org/abs/1812.06499; system D uses it without classification.
"""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from morula.decoding.markers import flood_markers
from morula.decoding.offsets import border_strength, smooth, stretched_border_strength
from morula.labels.components import fill_enclosed
from morula.representations.base import Head, Representation, Tensor
from morula.spec import Tunable
from morula.targets.distances import axis_directions, centroid_offsets
from morula.types import Labels, Maps, Mask, Spacing, Tensors


class HoVer(Representation, frozen=True):
    """Foreground probability and one centroid offset per spatial axis."""

    kind: Literal["hover"] = "hover"

    offset_weight: float = Field(1.0, gt=0)
    """Weight of the squared error of the offsets; the foreground terms weigh 1."""

    gradient_weight: float = Field(1.0, ge=0)
    """Weight of the squared error of the offsets' gradients inside nuclei; 0 leaves it out."""

    mask_threshold: Annotated[float, Field(gt=0, lt=1), Tunable(0.2, 0.8)] = 0.5
    """Foreground probability above which a pixel belongs to some nucleus."""

    border_scale: Literal["fixed", "stretched"] = "fixed"
    """What a border strength of 1 is: a jump of the offsets from 1 to -1, or the steepest in the image."""

    marker_threshold: Annotated[float, Field(gt=0, lt=1), Tunable(0.1, 0.8)] = 0.3
    """Border strength below which a pixel is a marker (system D: 0.7, ``stretched``)."""

    opening_px: int = Field(1, ge=0)
    """Radius of the opening that takes thin bridges off the markers (system D: 2); 0 leaves it out."""

    min_marker_px: Annotated[int, Field(ge=1), Tunable(1, 30)] = 4
    """Smallest marker that becomes a nucleus, in pixels."""

    min_object_px: Annotated[int, Field(ge=1), Tunable(1, 60)] = 8
    """Smallest nucleus, in pixels."""

    def heads(self, ndim: int) -> tuple[Head, ...]:
        """A foreground head, and an offset head with one channel per axis."""
        return (
            Head("foreground", 1, "sigmoid"),
            Head("offsets", ndim, "identity", directions=axis_directions(ndim)),
        )

    def encode(self, labels: Labels, spacing: Spacing) -> Maps:
        """Foreground mask and centroid offsets."""
        foreground = (labels > 0)[None].astype(np.float32)
        return {"foreground": foreground, "offsets": centroid_offsets(labels)}

    def loss(self, logits: Tensors, targets: Tensors, annotated: Tensor) -> dict[str, Tensor]:
        """Cross-entropy and Dice on the foreground; squared errors of offsets and of their gradients."""
        from morula.losses.entropy import binary_cross_entropy
        from morula.losses.overlap import soft_dice
        from morula.losses.regression import gradient_l2, l2

        logit, target = logits["foreground"], targets["foreground"]
        terms = {
            "foreground/cross_entropy": binary_cross_entropy(logit, target, annotated),
            "foreground/dice": soft_dice(logit.float().sigmoid(), target, annotated),
            "offsets": self.offset_weight * l2(logits["offsets"], targets["offsets"], annotated),
        }
        if self.gradient_weight > 0:
            slopes = gradient_l2(logits["offsets"], targets["offsets"], annotated, target)
            terms["offsets/gradient"] = self.gradient_weight * slopes
        return terms

    def decode(self, maps: Maps, spacing: Spacing) -> Labels:
        """Borders are where offsets jump from 1 to -1; the markers between them grow over the foreground."""
        mask = maps["foreground"][0] > self.mask_threshold
        strength = border_strength if self.border_scale == "fixed" else stretched_border_strength
        border = strength(maps["offsets"], mask)
        inner = fill_enclosed((border < self.marker_threshold) & mask)
        markers = _open(inner, self.opening_px)
        return flood_markers(markers, smooth(border), mask, self.min_marker_px, self.min_object_px)


def _open(markers: Mask, radius: int) -> Mask:
    """Opening by all pixels at most `radius` steps across faces away; outside the image is background."""
    # With a rim as wide as the reach, steps along the flat array cannot get from one line into the next.
    opened = np.pad(markers, radius)
    flat = opened.reshape(-1)
    for combine in [np.logical_and] * radius + [np.logical_or] * radius:
        before = flat.copy()
        for step in np.cumprod([1, *opened.shape[:0:-1]]):
            combine(flat[step:], before[:-step], out=flat[step:])
            combine(flat[:-step], before[step:], out=flat[:-step])
    return opened[tuple(slice(radius, radius + size) for size in markers.shape)].copy()
