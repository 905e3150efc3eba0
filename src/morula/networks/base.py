"""What every network family provides."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from morula.representations import Head
from morula.spec import Spec

if TYPE_CHECKING:
    from torch import nn

    Module = nn.Module
else:
    Module = Any


class Network(Spec, ABC, frozen=True):
    """A network's configuration: what the plan stores. `heads` is all it knows of a representation."""

    kind: str
    """Name in plan files; a subclass narrows it to its own `Literal`."""

    @abstractmethod
    def build(self, ndim: int, in_channels: int, heads: tuple[Head, ...]) -> Module:
        """The network: image ``(batch, in_channels, *spatial)`` to a list of outputs, finest first.

        Each output is a dict from head name to logits ``(batch, head.channels, *spatial / stride)``.
        Later entries (deep supervision) are each half the size of the one before; there is one entry in
        evaluation mode and when there is no deep supervision.
        """

    @property
    @abstractmethod
    def divisor(self) -> int:
        """Every spatial size must be a multiple of this, in pixels."""
