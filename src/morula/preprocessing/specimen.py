"""What of a picture is specimen: bad pixels, the surround of an eyepiece and traces of colours are not."""

from dataclasses import replace

import numpy as np

from morula.data.sample import RGB, Image
from morula.preprocessing.intensity import percentiles
from morula.preprocessing.surround import without_surround
from morula.preprocessing.traces import without_traces

_SLAB = 1 << 24
"""Pixels that are looked at together."""


def specimen(image: Image, channels: tuple[str, ...]) -> Image:
    """The image without what is none.

    Args:
        image: As it was read.
        channels: Of the plan. Named ones mean what they show, however little; colours alone are a photograph.
    """
    image = without_gaps(image)
    return without_traces(without_surround(image)) if channels == RGB else image


def without_gaps(image: Image) -> Image:
    """The image with the channel's median in place of pixels that are no finite number; itself without such.

    A masked region would else be a picture of its own: as 0 it is far from what surrounds it. A channel
    without any finite pixel stays as it is.

    Args:
        image: ``(C, *spatial)`` of any number type.
    """
    if image.pixels.dtype.kind != "f" or all(_is_finite(channel) for channel in image.pixels):
        return image
    pixels = image.pixels.copy()
    for channel in pixels:
        good = np.isfinite(channel)
        if good.any():
            channel[~good] = percentiles(channel, (50.0,))[0]
    return replace(image, pixels=pixels)


def _is_finite(channel: np.ndarray) -> bool:
    rows = max(1, _SLAB // max(1, channel[:1].size))
    return all(
        bool(np.isfinite(channel[start : start + rows]).all()) for start in range(0, len(channel), rows)
    )
