"""What a model gives for one image."""

from dataclasses import dataclass

from morula.types import Labels


@dataclass(frozen=True)
class Segmentation:
    """The instances of one image, on the grid of that image."""

    labels: Labels
    """``(*spatial)``, ids 1 to n; 0 is background."""

    confidence: dict[int, float]
    """Per id the probability that the object has an IoU of 0.5 or more with a true one, where the model is
    calibrated; else a score between 0 and 1 that ranks objects."""
