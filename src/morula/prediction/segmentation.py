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

    zoom: float = 1.0
    """At which scale the model saw the image: working pixels per pixel of the image."""

    channel: str | None = None
    """The only colour that the model looked at, see `morula.prediction.stains`; None: all that it knows."""

    unexplained: float = 0.0
    """Share of the foreground probability that lies outside the objects."""

    undecided: float = 0.0
    """How much the borders between objects (without such a map: the foreground) hang between 0 and 1, in
    pixels per pixel of foreground."""

    reliability: float | None = None
    """Expected F1 at IoU 0.5 of the whole image, see `morula.prediction.reliability`; the mean score where
    the model is not calibrated; None where classes were found."""

    doubts: tuple[str, ...] = ()
    """Why this image should be looked at, in words."""
