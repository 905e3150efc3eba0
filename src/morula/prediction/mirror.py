"""Test-time mirroring: the average over an image's mirror images, each brought back.

Scalars are mirrored back in space; maps that measure along directions (offsets, star rays) also change
channels or signs, by the same rule as in training (`morula.representations.mirror_channels`).
"""

import itertools
from typing import TYPE_CHECKING, Any

from morula.planning.plan import Mirror
from morula.representations import Head, mirror_channels

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any


def mirrorings(ndim: int, which: Mirror) -> tuple[tuple[int, ...], ...]:
    """The sets of spatial axes to mirror, the image itself first.

    >>> mirrorings(2, "all")
    ((), (0,), (1,), (0, 1))
    >>> mirrorings(2, "opposite")
    ((), (0, 1))
    """
    sizes = {"none": (0,), "opposite": (0, ndim), "all": range(ndim + 1)}[which]
    return tuple(axes for size in sizes for axes in itertools.combinations(range(ndim), size))


def mirror_batch(batch: Tensor, axes: tuple[int, ...]) -> Tensor:
    """A batch ``(batch, channel, *spatial)`` mirrored along spatial `axes`."""
    return batch.flip([axis + 2 for axis in axes]) if axes else batch


def mirror_back(maps: Tensor, head: Head, axes: tuple[int, ...]) -> Tensor:
    """Activated maps ``(batch, channel, *spatial)`` of a mirrored image, as maps of the image itself."""
    maps = mirror_batch(maps, axes)
    if not head.directions:
        return maps
    for axis in axes:
        source, sign = mirror_channels(head, axis)
        signs = maps.new_tensor(sign.tolist()).reshape(-1, *[1] * (maps.ndim - 2))
        maps = maps[:, source.tolist()] * signs
    return maps
