"""What a model gives for one image."""

from dataclasses import dataclass

from morula.types import Labels


@dataclass(frozen=True)
class Segmentation:
    """The instances of one image, on the grid of that image."""

    labels: Labels
    """``(*spatial)``, ids 1 to n; 0 is background."""

    confidence: dict[int, float]
    """Per id, between 0 and 1: how sure the network was of this object."""
