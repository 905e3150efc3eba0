"""Colours of an RGB image that show next to nothing: traces of noise or compression beside a bright stain."""

from dataclasses import replace

import numpy as np

from morula.data.sample import RGB, Image
from morula.preprocessing.intensity import percentiles

TRACE = 0.1
"""A colour whose range of intensities is below this share of the widest is a trace: nobody sees it."""


def without_traces(image: Image) -> Image:
    """The image with 0 in place of colours that are traces; the same image where there are none.

    Each channel is scaled by its own range, which would make a full picture of such noise.

    Args:
        image: RGB, any number type; others are given back as they are.
    """
    if image.channels[:3] != RGB:
        return image
    finite = [bool(np.isfinite(channel).any()) for channel in image.pixels[:3]]
    if not all(finite):
        return image
    # Up to the brightest pixel: a few bright spots are no noise.
    ends = [percentiles(channel, (1.0, 100.0)) for channel in image.pixels[:3]]
    ranges = np.array([high - low for low, high in ends])
    traces = np.flatnonzero((ranges > 0) & (ranges < TRACE * ranges.max()))
    if not traces.size:
        return image
    pixels = image.pixels.copy()
    pixels[traces] = 0
    return replace(image, pixels=pixels)
