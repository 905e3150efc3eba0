"""What every network family provides."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from morula.errors import InputError
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

    encoder_weights: str | None = None
    """Safetensors file that the encoder starts from, such as ImageNet weights in timm's naming; read once,
    when a training starts afresh."""

    @abstractmethod
    def build(self, ndim: int, in_channels: int, heads: tuple[Head, ...]) -> Module:
        """The network: image ``(batch, in_channels, *spatial)`` to a list of outputs, finest first.

        Each output is a dict from head name to logits ``(batch, head.channels, *spatial / stride)``.
        Later entries (deep supervision) are each coarser than the one before, by the same whole number for
        all heads; there is one entry in evaluation mode and when there is no deep supervision. The attribute
        ``encoder`` is the part that `encoder_weights` fills and that two-stage training freezes.
        """

    @abstractmethod
    def divisors(self, ndim: int) -> tuple[int, ...]:
        """Every spatial size must be a multiple of these, per axis, in pixels."""

    def load_encoder(self, module: Module) -> None:
        """Fill the encoder of a network that `build` made from `encoder_weights`, where they are given.

        Raises:
            InputError: The file is missing, damaged, or made for another encoder.
        """
        from morula.networks.pretrained import load_weights

        if self.encoder_weights is not None:
            load_weights(module.get_submodule("encoder"), self.encoder_weights)


def require_weights(path: str) -> None:
    """Refuse `Network.encoder_weights` that are not there.

    Raises:
        InputError: There is no such file.
    """
    if not Path(path).is_file():
        msg = (
            f"network.encoder_weights = {path!r}: there is no such file (looked in {Path.cwd()}). "
            "Give the path of a safetensors file, or leave it out to start from scratch."
        )
        raise InputError(msg)
