"""What can be wrong with one image."""

from pathlib import Path

import numpy as np

from morula.data.problems import Problem, problem
from morula.data.sample import Image

SMALLEST_PX = 8
"""Images narrower than this along y or x hold no object that could be learned or found."""


def check_image(image: Image, path: Path, sample: str) -> list[Problem]:
    """The problems of one image that can be read.

    Args:
        image: As read.
        path: Its file, for the messages.
        sample: Its id.
    """
    checks = (_size, _finite, _contrast, _transparency)
    found = [check(image, path) for check in checks]
    return [problem(kind, path, message, sample) for kind, message in found if kind]


def _size(image: Image, path: Path) -> tuple[str, str]:
    shape = image.pixels.shape[1:]
    if min(shape[-2:]) >= SMALLEST_PX:
        return "", ""
    size = " x ".join(map(str, shape))
    return "tiny image", f"{path} is {size} pixels; expected at least {SMALLEST_PX} along y and x. Remove it."


def _finite(image: Image, path: Path) -> tuple[str, str]:
    if image.pixels.dtype.kind != "f":
        return "", ""
    bad = image.pixels.size - int(np.isfinite(image.pixels).sum())
    if bad == image.pixels.size:
        return "nothing finite", f"{path} holds nothing but NaN or infinity. Export it again or remove it."
    if bad:
        return (
            "NaN or infinity",
            f"{path} holds NaN or infinity in {bad} of {image.pixels.size} values, which"
            " count as the median of their channel. Export it again if they are no mere padding.",
        )
    return "", ""


def _contrast(image: Image, path: Path) -> tuple[str, str]:
    first = image.pixels.flat[0]
    if image.pixels.size > 1 and np.isfinite(first) and bool((image.pixels == first).all()):
        return (
            "constant image",
            f"{path} is {first} everywhere. Remove it, or export it again if it should not be.",
        )
    return "", ""


def _transparency(image: Image, path: Path) -> tuple[str, str]:
    if "alpha" not in image.channels:
        return "", ""
    return (
        "transparent pixels",
        f"{path} has a transparency that varies; it is no signal and is left out. Save the image as RGB.",
    )
