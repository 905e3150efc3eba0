"""The objects of an image, chosen among nested regions by small networks that learnt what objects look like.

Several perceptrons see `morula.decoding.region_features` of a candidate and give its quality: the expected
share of the IoU thresholds 0.50, 0.55, ... 0.95 that it passes. Their mean decides. Each was trained without
some of the images, so that on these it can be judged fairly; `morula.training.scorer` makes them.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from morula.data.files import write_atomic
from morula.decoding.region_features import FEATURES
from morula.errors import InputError
from morula.prediction.shipped import SCORER
from morula.representations import Representation
from morula.representations.shrunk_borders import ShrunkBorders
from morula.representations.union import Union, maps_of_part
from morula.types import Labels, Maps

FAR = 5.0
"""Features are cut this many standard deviations from their mean: what is beyond was hardly seen."""

Layer = tuple[Float32[np.ndarray, "_ _ _"], Float32[np.ndarray, "_ _"]]
"""Weights ``(members, inputs, outputs)`` and offsets ``(members, outputs)``, one layer of all perceptrons."""


@dataclass(frozen=True)
class Scorer:
    """A choice among nested regions."""

    mean: Float32[np.ndarray, "members features"]
    """What is subtracted from the features."""

    scale: Float32[np.ndarray, "members features"]
    """What they are then multiplied by."""

    layers: tuple[Layer, ...]
    """Rectified in between; the last one's output is a logit."""

    least: float
    """Objects of no better quality are left out."""

    unseen: tuple[tuple[str, ...], ...]
    """Ids of the images that each perceptron was trained without."""

    score: float = 0.0
    """Mean DSB score of all these images, each by the perceptron that has not seen it."""

    def quality(self, features: Float32[np.ndarray, "nodes features"]) -> Float32[np.ndarray, " nodes"]:
        """Of each candidate, between 0 and 1."""
        values = np.clip((features - self.mean[:, None]) * self.scale[:, None], -FAR, FAR)
        for number, (weights, offsets) in enumerate(self.layers):
            values = (np.maximum(values, 0) if number else values) @ weights + offsets[:, None]
        logits = values[..., 0].clip(-30, 30)
        return (1 / (1 + np.exp(-logits))).mean(0).astype(np.float32)

    def without(self, id_: str) -> "Scorer":
        """The perceptron that was trained without this image; all of them when none saw it."""
        for i, ids in enumerate(self.unseen):
            if id_ in ids:
                layers = tuple((weights[i : i + 1], offsets[i : i + 1]) for weights, offsets in self.layers)
                one = replace(self, mean=self.mean[i : i + 1], scale=self.scale[i : i + 1], layers=layers)
                return replace(one, unseen=(ids,))
        return self

    def decode(
        self, maps: Maps, representation: Representation
    ) -> tuple[Labels, Float32[np.ndarray, " objects"]]:
        """Instances 1 to n and the quality of each.

        Args:
            maps: Activated maps, at least those that the representation decodes.
            representation: One that `has_regions`.
        """
        part, own = regions_part(representation, maps)
        regions, features = part.regions(own)
        return regions.choose(self.quality(features), self.least)

    @classmethod
    def load(cls, folder: Path) -> "Scorer | None":
        """That of a model folder; None when there is none.

        Raises:
            InputError: The file is broken, or of other features.
        """
        path = folder / SCORER
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="numpy") as file:
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
                facts = json.loads(file.metadata()["facts"])
            if tuple(facts["features"]) != FEATURES:
                msg = (
                    f"{path} was made by another version of Morula, for other features. Delete it: objects "
                    "are then cut at one threshold, and `morula tune` can learn a new one."
                )
                raise InputError(msg)
            count = sum(name.startswith("weights") for name in arrays)
            layers = tuple((arrays[f"weights_{i}"], arrays[f"offsets_{i}"]) for i in range(count))
            unseen = tuple(tuple(ids) for ids in facts["unseen"])
            least, score = float(facts["least"]), float(facts["score"])
            return cls(arrays["mean"], arrays["scale"], layers, least, unseen, score)
        except InputError:
            raise
        except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
            msg = f"{path} is broken ({error}). Delete it: objects are then cut at one threshold."
            raise InputError(msg) from error

    def save(self, folder: Path) -> None:
        """Write it into a model folder."""
        arrays = {"mean": self.mean, "scale": self.scale}
        for i, (weights, offsets) in enumerate(self.layers):
            arrays |= {f"weights_{i}": weights, f"offsets_{i}": offsets}
        facts = {"features": FEATURES, "least": self.least, "unseen": self.unseen, "score": self.score}
        with write_atomic(folder / SCORER) as temporary:
            plain = {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}
            temporary.write_bytes(save(plain, metadata={"facts": json.dumps(facts)}))


def has_regions(representation: Representation) -> bool:
    """Whether its decoder can be replaced by a choice among nested regions."""
    part = (
        representation.parts[representation.decoder] if isinstance(representation, Union) else representation
    )
    return isinstance(part, ShrunkBorders)


def regions_part(representation: Representation, maps: Maps) -> tuple[ShrunkBorders, Maps]:
    """What makes the nested regions, and its maps.

    Raises:
        InputError: Not `has_regions`.
    """
    part, own = representation, maps
    if isinstance(representation, Union):
        part, own = representation.parts[representation.decoder], maps_of_part(maps, representation.decoder)
    if not isinstance(part, ShrunkBorders):
        msg = f"{SCORER} chooses among regions of shrunk_borders, but {part.kind} decodes. Delete the file."
        raise InputError(msg)
    return part, own
