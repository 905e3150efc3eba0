"""The one abstraction that joins the parts: how instances are written as maps."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np

from morula.spec import Spec
from morula.types import Labels, Map, Maps, Spacing, Tensors

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any

Task: TypeAlias = Literal["instances", "semantic"]
"""What labels mean: ids of objects, or classes such as organs."""


@dataclass(frozen=True)
class Head:
    """One output of the network."""

    name: str
    """Key of this output in every `Maps` and `Tensors`."""

    channels: int
    """Number of output channels."""

    activation: Literal["identity", "sigmoid", "softmax"]
    """Turns logits into the map that is blended and decoded."""

    directions: tuple[tuple[float, ...], ...] = ()
    """Unit vector along which each channel measures, in axis order; empty for scalars. Flips need it."""

    stride: int = 1
    """Grid step of this map, in working pixels."""


class Representation(Spec, ABC, frozen=True):
    """Writes instances as maps, scores predicted maps, reads instances back.

    A representation is its own configuration: its fields are what the plan stores. Subclasses are
    final and define the four abstract methods, and `image_maps` if they need it; nothing else is overridden.
    """

    task: ClassVar[Task] = "instances"
    """What its labels mean."""

    kind: str
    """Name in plan files; a subclass narrows it to its own `Literal`."""

    @abstractmethod
    def heads(self, ndim: int) -> tuple[Head, ...]:
        """Outputs that the network must provide for images of `ndim` dimensions."""

    @abstractmethod
    def encode(self, labels: Labels, spacing: Spacing) -> Maps:
        """Training targets of a patch, with its halo: one map per head.

        Pixels of `labels` that are -1 ("not annotated") are encoded as background; the loss ignores them.
        """

    def image_maps(self, labels: Labels, spacing: Spacing) -> Maps:
        """Training-only maps of a whole image that the loss needs, one channel each; none by default.

        They are made once, at preparation, and cut, turned and zoomed along with every patch: for what is
        dear to compute, or depends on the whole image.
        """
        return {}

    @abstractmethod
    def loss(self, logits: Tensors, targets: Tensors, annotated: Tensor) -> dict[str, Tensor]:
        """Named loss terms; training minimises their sum and logs each. One call per scale.

        Args:
            logits: ``(batch, channel, *spatial)`` per head, before activation.
            targets: As `encode` and `image_maps` wrote them, batched.
            annotated: Float ``(batch, 1, *spatial)``, 1 where labels exist, 0 where the loss must be silent.
        """

    @abstractmethod
    def decode(self, maps: Maps, spacing: Spacing) -> Labels:
        """Labels from activated maps: sequential ids of instances, 1 to n, or the labels of classes."""


def decode_to_shape(
    representation: Representation, maps: Maps, spacing: Spacing, shape: tuple[int, ...]
) -> Labels:
    """Instances on a grid of `shape`: coarse maps (`Head.stride`) may reach beyond the image's far edges."""
    decoded = representation.decode(maps, spacing)
    return np.ascontiguousarray(decoded[tuple(slice(size) for size in shape)])


def mirror(array: Map, head: Head, axis: int) -> Map:
    """A head's map of the image mirrored along spatial `axis` (0 is the first), from its map of the image."""
    mirrored = np.flip(array, axis + 1)
    if not head.directions:
        return np.ascontiguousarray(mirrored)
    source, sign = mirror_channels(head, axis)
    return np.ascontiguousarray(mirrored[source] * sign.reshape(-1, *[1] * (array.ndim - 1)))


def mirror_channels(head: Head, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Which channel, and with which sign, takes each channel's place when `axis` is mirrored.

    A channel that measures along d holds, after mirroring, what the mirror image of d held: another
    channel (star rays), or itself with its sign reversed (offsets).

    Returns:
        ``source`` int ``(channels,)`` and ``sign`` float32 ``(channels,)``; identity for scalars.
    """
    if not head.directions:
        return np.arange(head.channels), np.ones(head.channels, np.float32)
    directions = np.array(head.directions)
    reflected = directions.copy()
    reflected[:, axis] *= -1
    cosine = reflected @ directions.T
    source = np.abs(cosine).argmax(1)
    exact = cosine.max(1) > 1 - 1e-6
    source[exact] = cosine.argmax(1)[exact]
    return source, np.where(exact, 1, -1).astype(np.float32)
