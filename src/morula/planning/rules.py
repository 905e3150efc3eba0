"""One pure function per decision: facts in, value and reason out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from morula.data.sample import RGB
from morula.errors import InputError
from morula.planning.fingerprint import Fingerprint

LARGE_PX, LARGE_TARGET_PX = 64.0, 40.0
"""Median objects above the first are shrunk to the second: a network of this depth sees them whole."""

SMALL_PX, SMALL_TARGET_PX = 10.0, 16.0
"""Median objects below the first are enlarged to the second: their borders need pixels."""

PATCH_PX = 256
"""Usual side of a 2D patch."""

PATCH_VOXELS_3D = 64**3
"""About the size of a 3D patch."""

PIXELS_PER_STEP = {2: 8 * PATCH_PX**2, 3: PATCH_VOXELS_3D}
"""About the size of a batch, by number of axes: a 3D convolution costs three times as much a pixel."""

LOOKS, SHORTEST_PAUSE = 16, 50
"""Looks at the validation images in a training, and the fewest steps between two of them."""

FEATURES = {
    (2, 2): (32, 64, 128, 192, 256),
    (3, 2): (24, 48, 96, 192),
    (2, 1): (24, 48, 96, 192),
    (3, 1): (16, 32, 64, 128),
}
"""Channels per level by number of axes and stem: without a stem the finest level sees every pixel."""


SMALLEST_GRID, MOST_FEATURES = 4, 480
"""Of a plain U-Net: shortest side of the coarsest grid, and most channels (nnU-Net's limits in 2D)."""


@dataclass(frozen=True)
class Decision:
    """A value for the plan, and why."""

    value: Any
    """Numbers, strings, tuples and tables only: what TOML holds."""

    reason: str
    """One sentence that names the facts."""


def channels(facts: Fingerprint) -> Decision:
    """The network's input channels.

    Raises:
        InputError: The images have no channel name in common.
    """
    kinds = list(dict.fromkeys(image.channels for image in facts.images))
    coloured = [names for names in kinds if names[:3] == RGB]
    if len(kinds) == 1 and not coloured:
        return Decision(kinds[0], f"all images have {_names(kinds[0])}")
    if coloured and all(names[:3] == RGB or len(names) == 1 for names in kinds):
        n_grey = sum(len(image.channels) == 1 for image in facts.images)
        grey = f"; {n_grey} grey ones fill all three" if n_grey else ""
        return Decision(
            RGB, f"{len(facts.images) - n_grey} of {len(facts.images)} images are in colour{grey}"
        )
    if all(len(names) == 1 for names in kinds):
        usual = max(kinds, key=[image.channels for image in facts.images].count)
        return Decision(usual, f"every image has one channel, mostly named {usual[0]!r}")
    shared = tuple(name for name in kinds[0] if all(name in names for names in kinds))
    if shared:
        return Decision(shared, f"the channels that all images have; there are {len(kinds)} sets of names")
    msg = (
        f"the images have {len(kinds)} sets of channels with no name in common: "
        f"{'; '.join(_names(names) for names in kinds[:4])}. Name them alike with 'channels' in dataset.toml."
    )
    raise InputError(msg)


def scaling(facts: Fingerprint, given: Any = None) -> Decision:
    """The working grid.

    Args:
        facts: The data.
        given: Factor that recipe or user decide in place of the rule.

    Raises:
        InputError: There is no labelled object.
    """
    median = facts.image_diameter_px.p50
    if median <= 0:
        msg = (
            f"{facts.n_images} images, {facts.n_labelled} of them labelled, hold no object. "
            "Training needs labels: one integer per object, 0 for background."
        )
        raise InputError(msg)
    factor, why = _size_factor(median)
    if given not in (None, factor):
        why = f"the median object is {median:.0f} px across"
    if facts.spacing_um is not None:
        axes = max(facts.spacing_um) / min(facts.spacing_um)
        if facts.spacing_spread > 1.05 or axes > 1.5:
            target = tuple(float(f"{size / factor:.4g}") for size in facts.spacing_um)
            spread = (
                f"pixel sizes differ x{facts.spacing_spread:.2f} between images, x{axes:.1f} between axes"
            )
            value = {"kind": "spacing", "spacing_um": target, "diameter_px": round(median * factor, 2)}
            return Decision(value, f"{spread}; {why}")
    value = {"kind": "native", "factor": factor, "diameter_px": round(median * factor, 2)}
    return Decision(value, why)


def _size_factor(median: float) -> tuple[float, str]:
    objects = f"the median object is {median:.0f} px across"
    if median > LARGE_PX:
        return float(f"{LARGE_TARGET_PX / median:.2g}"), f"{objects}: shrunk to about {LARGE_TARGET_PX:.0f}"
    if median < SMALL_PX:
        return float(f"{SMALL_TARGET_PX / median:.2g}"), f"{objects}: enlarged to about {SMALL_TARGET_PX:.0f}"
    return 1.0, f"{objects}: the images' own pixels do"


def normalization(facts: Fingerprint) -> Decision:
    """How intensities become network input."""
    if 0 < facts.density < 0.004:
        value = {"kind": "percentile", "low": 1.0, "high": 99.98}
        return Decision(value, f"objects cover only {facts.density:.2%}: a high percentile still meets them")
    value = {"kind": "percentile", "low": 1.0, "high": 99.8}
    return Decision(value, "percentiles per image and channel suit every bit depth and exposure")


def working_zoom(facts: Fingerprint, scaling_table: dict[str, Any]) -> tuple[float, ...]:
    """Working pixels per input pixel, per axis, for an image of median spacing."""
    target = scaling_table.get("spacing_um")
    if scaling_table.get("kind") == "spacing" and target and facts.spacing_um:
        return tuple(own / new for own, new in zip(facts.spacing_um, target, strict=True))
    return (float(scaling_table.get("factor", 1.0)),) * facts.ndim


def network(facts: Fingerprint, zoom: Sequence[float]) -> Decision:
    """The network of `auto`: at most 4 M parameters, as deep as the images allow."""
    smallest = min(size * z for size, z in zip(facts.shape_median, zoom, strict=True))
    stem = 2 if smallest >= 48 else 1
    widths = FEATURES[facts.ndim, stem]
    while len(widths) > 2 and smallest / (stem * 2 ** (len(widths) - 1)) < 3:
        widths = widths[:-1]
    value = {"kind": "residual_unet", "features": widths, "blocks": (1,) * len(widths), "stem": stem}
    reason = f"the shortest side of the median image is {smallest:.0f} px: {len(widths)} levels, stem {stem}"
    return Decision(value, reason)


def plain_network(patch: Sequence[int]) -> Decision:
    """A plain U-Net whose coarsest grid still has `SMALLEST_GRID` pixels, as nnU-Net plans it."""
    levels = max(2, int(math.log2(min(patch) / SMALLEST_GRID)) + 1)
    features = tuple(min(32 * 2**level, MOST_FEATURES) for level in range(levels))
    reason = f"{levels} levels: halved {levels - 1} times, {_times(patch)} px leave at least {SMALLEST_GRID}"
    return Decision({"kind": "plain_unet", "features": features}, reason)


def patch_within(
    wanted: Sequence[int], facts: Fingerprint, zoom: Sequence[float], divisors: Sequence[int]
) -> Decision:
    """A recipe's patch, made no larger than the median image."""
    shape = [size * z for size, z in zip(facts.shape_median, zoom, strict=True)]
    value = tuple(
        _up(min(want, size), step) for want, size, step in zip(wanted, shape, divisors, strict=True)
    )
    sizes = _times([round(size) for size in shape])
    return Decision(value, f"the recipe's {_times(wanted)}, but the median image has {sizes} working px")


def patch_size(
    facts: Fingerprint, zoom: Sequence[float], divisors: Sequence[int], aspect: Sequence[float]
) -> Decision:
    """Training patch: several objects across, no larger than the median image, a multiple of the divisors.

    Args:
        facts: The data.
        zoom: Working pixels per input pixel, per axis.
        divisors: Of the network, per axis.
        aspect: Working pixel size per axis; only the proportions matter: a 3D patch is about a cube.
    """
    shape = [size * z for size, z in zip(facts.shape_median, zoom, strict=True)]
    diameter = facts.image_diameter_px.p50 * math.prod(zoom) ** (1 / facts.ndim)
    if facts.ndim == 2:
        wanted = [min(max(PATCH_PX, 6 * diameter), 2 * PATCH_PX)] * 2
    else:
        wanted = fill_sides(PATCH_VOXELS_3D, shape, aspect)
    value = tuple(
        _up(min(want, size), step) for want, size, step in zip(wanted, shape, divisors, strict=True)
    )
    across = round(min(value) / max(diameter, 1.0))
    return Decision(
        value,
        f"about {across} object{'s' * (across != 1)} across; the median image is "
        f"{_times([round(s) for s in shape])} working px, the network needs multiples of {_times(divisors)}",
    )


def fill_sides(budget: int, shape: Sequence[float], aspect: Sequence[float]) -> list[float]:
    """Sides of equal physical length with `budget` voxels; what a short axis leaves goes to the others."""
    sides = np.zeros(len(shape))
    free = np.ones(len(shape), bool)
    share = 1 / np.asarray(aspect, np.float64)
    limit = np.asarray(shape, np.float64)
    for _ in range(len(shape)):
        rest = budget / float(np.prod(sides[~free]))
        sides[free] = share[free] * (rest / np.prod(share[free])) ** (1 / free.sum())
        over = free & (sides >= limit)
        if not over.any():
            break
        sides[over] = limit[over]
        free &= ~over
        if not free.any():
            break
    return sides.tolist()


def batch_size(patch: Sequence[int]) -> Decision:
    """Patches per step, for about `PIXELS_PER_STEP`, between 2 and 16."""
    pixels = math.prod(patch)
    value = min(16, max(2, round(PIXELS_PER_STEP[len(patch)] / pixels)))
    return Decision(
        value, f"{value} patches of {_times(patch)} are {value * pixels / 1e6:.1f} megapixels a step"
    )


def halo(facts: Fingerprint, zoom: Sequence[float], patch: Sequence[int]) -> Decision:
    """Margin of a crop: the object extent that 95 % stay below, at most a quarter of the patch."""
    extents = [item.p95 * z for item, z in zip(facts.extent_px, zoom, strict=True)]
    value = tuple(
        max(1, min(math.ceil(extent), side // 4)) for extent, side in zip(extents, patch, strict=True)
    )
    return Decision(value, f"95 % of the objects are no longer than {_times([round(e) for e in extents])} px")


def steps(facts: Fingerprint, zoom: Sequence[float], patch: Sequence[int], batch: int) -> Decision:
    """Optimiser steps: every labelled pixel about forty times, within 1,500 to 12,000 steps."""
    labelled = [image.shape for image in facts.images if image.labelled]
    pixels = sum(math.prod(shape) for shape in labelled) * math.prod(zoom)
    wanted = 40 * pixels / (math.prod(patch) * batch)
    value = int(min(12000, max(1500, round(wanted, -2))))
    return Decision(
        value, f"{pixels / 1e6:.1f} labelled megapixels, seen about forty times, within 1500 to 12000"
    )


def averaging(n_steps: int) -> Decision:
    """Decay of the moving average of the weights."""
    value = float(f"{min(0.999, max(0.0, 1 - 10 / n_steps)):.4g}")
    return Decision(
        value, "the average runs over about the last tenth of a short training, at most 1000 steps"
    )


def validate_every(n_steps: int) -> Decision:
    """Steps between two looks at the validation images."""
    return Decision(max(SHORTEST_PAUSE, n_steps // LOOKS), "about sixteen looks in all")


def precision(facts: Fingerprint) -> Decision:
    """Arithmetic of the forward pass."""
    if facts.bfloat16:
        return Decision("bfloat16", "the processor multiplies bfloat16 natively: about twice as fast")
    return Decision("float32", "the processor has no bfloat16 units")


def tile_size(
    facts: Fingerprint, patch: Sequence[int], divisors: Sequence[int], *, light: bool = False
) -> Decision:
    """Prediction tile.

    Args:
        facts: Of the data set.
        patch: Training patch, in working pixels.
        divisors: Of the network, per axis.
        light: The network holds few numbers per pixel, and normalises by what it learnt, not by the tile.
    """
    if facts.ndim == 2:
        side = 1024 if light else 512
        return Decision(
            tuple(max(_up(side, step), edge) for edge, step in zip(patch, divisors, strict=True)),
            "large tiles waste little overlap",
        )
    return Decision(
        tuple(_up(1.5 * side, step) for side, step in zip(patch, divisors, strict=True)),
        "one and a half patches per axis fit memory",
    )


def zoom_range(facts: Fingerprint) -> Decision:
    """Range of random zooms, from how much object sizes differ between images: at most 0.25 to 2.

    Shrinking may go further than enlarging: it brings more of the image into view, enlarging only blurs.
    """
    low, high = max(facts.image_diameter_px.p5, 1.0), max(facts.image_diameter_px.p95, 1.0)
    half = max(1.25, math.sqrt(high / low))
    value = (round(1 / min(4.0, half), 2), round(min(2.0, half), 2))
    return Decision(value, f"median diameters of the images run from {low:.0f} to {high:.0f} px (5 to 95 %)")


def invert(facts: Fingerprint) -> Decision:
    """Probability of inverted intensities."""
    seen = [kind for kind in facts.modalities if kind.n_objects]
    bright = [kind.name for kind in seen if kind.contrast > 0.2]
    dark = [kind.name for kind in seen if kind.contrast < -0.2]
    if bright and dark:
        reason = f"objects are bright in {', '.join(bright)} and dark in {', '.join(dark)}"
        return Decision(0.25, f"{reason}: one network for both")
    return Decision(0.0, "objects are all brighter, or all darker, than what surrounds them")


def shuffle(chosen: Sequence[str]) -> Decision:
    """Probability of permuted channels."""
    if tuple(chosen) == RGB:
        return Decision(0.2, "colour images: stains differ, shapes do not")
    return Decision(0.0, "every channel has its own meaning")


def colour(chosen: Sequence[str]) -> Decision:
    """Probability that every channel changes on its own."""
    if tuple(chosen) == RGB:
        return Decision(0.3, "colour images: stains and lamps differ between laboratories")
    return Decision(0.0, "no colour images")


def pseudo_colour(facts: Fingerprint, chosen: Sequence[str]) -> Decision:
    """Probability that a grey image becomes one stain of a colour image."""
    grey = sum(len(image.channels) == 1 for image in facts.images)
    if tuple(chosen) == RGB and grey:
        return Decision(0.1, "grey images beside colour ones: a stain may lie in one channel only")
    return Decision(0.0, "no grey images in a network for colour")


def copy_paste(facts: Fingerprint) -> Decision:
    """Probability that objects of another patch are pasted in."""
    few = f"{facts.n_labelled} labelled images, {facts.n_objects} objects"
    if facts.n_labelled < 30 or facts.n_objects < 500:
        return Decision(0.3, f"{few}: pasted objects make new neighbours")
    return Decision(0.0, f"{few} are enough as they are")


def representation(facts: Fingerprint) -> Decision:
    """How instances are written: several ways at once, because which one decodes best is measured later."""
    value = {
        "kind": "union",
        "parts": {
            "distance": {"kind": "signed_distance"},
            "borders": {"kind": "shrunk_borders"},
            "offsets": {"kind": "hover", "gradient_weight": 0.0},
        },
        "decoder": "borders",
    }
    reason = f"{facts.touching:.0%} of the objects touch; the decoder is chosen on validation images"
    if facts.ceilings:
        rows = sorted(facts.ceilings, key=lambda row: -row.dsb_score)
        table = ", ".join(f"{row.representation} {row.dsb_score:.3f}" for row in rows)
        reason += f"; ceilings on these labels (DSB score): {table}"
    return Decision(value, reason)


def _up(size: float | int, divisor: int) -> int:
    """`size` rounded up to a positive multiple of `divisor`."""
    return max(1, math.ceil(size / divisor - 1e-9)) * divisor


def _times(sizes: Sequence[int]) -> str:
    return "x".join(str(size) for size in sizes)


def _names(names: Sequence[str]) -> str:
    return f"the channel {names[0]}" if len(names) == 1 else f"the channels {', '.join(names)}"
