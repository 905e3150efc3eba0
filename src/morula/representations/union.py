"""Several representations in one network; one of them reads the instances back."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from morula.representations import AnyRepresentation
from morula.representations.base import Head, Representation
from morula.types import Labels, Maps, Spacing, Tensors

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any


class Union(Representation, frozen=True):
    """Trains all `parts` at once, heads named ``part.head``; `decoder` says whose decoder runs.

    The parts teach the shared features; which of them decodes best is found out of fold, after training.
    """

    kind: Literal["union"] = "union"

    parts: dict[str, AnyRepresentation] = Field(min_length=1)
    """Name to representation."""

    decoder: str
    """Name of the part that decodes."""

    weights: dict[str, float] = Field(default_factory=dict)
    """Factor on every loss term of a part; 1 when not named."""

    @model_validator(mode="after")
    def _names_exist(self) -> "Union":
        for name in (self.decoder, *self.weights):
            if name not in self.parts:
                msg = f"union has no part {name!r}; its parts are {', '.join(self.parts)}"
                raise ValueError(msg)
        return self

    def heads(self, ndim: int) -> tuple[Head, ...]:
        """The heads of all parts, in the order of `parts`."""
        return tuple(
            Head(f"{name}.{head.name}", head.channels, head.activation, head.directions, head.stride)
            for name, part in self.parts.items()
            for head in part.heads(ndim)
        )

    def decoding_heads(self, ndim: int) -> tuple[str, ...]:
        """Names of the heads that `decode` reads; prediction need not blend the others."""
        return tuple(f"{self.decoder}.{head.name}" for head in self.parts[self.decoder].heads(ndim))

    def encode(self, labels: Labels, spacing: Spacing) -> Maps:
        """The maps of all parts."""
        return {
            f"{name}.{key}": value
            for name, part in self.parts.items()
            for key, value in part.encode(labels, spacing).items()
        }

    def image_maps(self, labels: Labels, spacing: Spacing) -> Maps:
        """Those of all parts, named as the heads are."""
        return {
            f"{name}.{key}": value
            for name, part in self.parts.items()
            for key, value in part.image_maps(labels, spacing).items()
        }

    def loss(self, logits: Tensors, targets: Tensors, annotated: Tensor) -> dict[str, Tensor]:
        """The terms of all parts, named ``part.term``."""
        return {
            f"{name}.{term}": self.weights.get(name, 1.0) * value
            for name, part in self.parts.items()
            for term, value in part.loss(
                maps_of_part(logits, name), maps_of_part(targets, name), annotated
            ).items()
        }

    def decode(self, maps: Maps, spacing: Spacing) -> Labels:
        """Instances, by the part called `decoder`."""
        return self.parts[self.decoder].decode(maps_of_part(maps, self.decoder), spacing)


def maps_of_part(table: dict[str, Any], part: str) -> dict[str, Any]:
    """The entries of one part, under the names that it has for them."""
    prefix = f"{part}."
    return {key[len(prefix) :]: value for key, value in table.items() if key.startswith(prefix)}
