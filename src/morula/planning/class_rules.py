"""Decisions for classes (organs): pure functions, facts in, values and reasons out.

They go before those of `morula.planning.rules`, which think of single objects. nnU-Net's rules: Isensee et
al. 2021, https://doi.org/10.1038/s41592-020-01008-z.
"""

import re
from collections.abc import Sequence
from typing import Any

from morula.data.dataset import default_class_name
from morula.errors import InputError
from morula.planning.fingerprint import Fingerprint
from morula.planning.rules import PATCH_VOXELS_3D, SMALLEST_GRID, Decision, fill_sides

MOST_LEVELS = 6
"""Levels of a U-Net; five halvings."""

SIMILAR = 2.0
"""Axes whose pixels are less than so many times as long as the finest are pooled together (nnU-Net)."""

FIRST_FEATURES, MOST_CLASS_FEATURES = 32, 320
"""Channels of a U-Net's finest level, doubled from level to level up to the second number (nnU-Net in 3D)."""

HALO_PX = 8
"""Margin of a crop: surfaces this far beyond its edge are seen, in pixels of the finest axis."""

FOREGROUND_SHARE = 1 / 3
"""Share of each batch that is sure to hold a class (nnU-Net, system E)."""

SIDES = re.compile(r"(?i:(?<![a-z])(left|right|[lr](?![a-z0-9])))|[a-z](Left|Right|L|R)(?![a-z0-9])")
"""Names of classes with a side: left kidney, kidney_left, KidneyLeft, lung_r; not bright, vertebra_L1."""


def of_input(facts: Fingerprint, channels: Sequence[str], normalization: str | None) -> dict[str, Decision]:
    """Decisions on classes and intensities.

    Args:
        facts: With classes.
        channels: That the network sees.
        normalization: The kind that was asked for, if any.

    Raises:
        InputError: A fixed scale is asked for, but the images' channels differ.
    """
    ids = tuple(item.label for item in facts.classes)
    unnamed = [item for item in facts.classes if item.name == default_class_name(item.label)]
    why = "named by the data set, or by --set"
    if unnamed:
        why = (
            f"the data give no names. Name all, above all those of one side, which must not be mirrored: "
            f"--set 'classes.left kidney={unnamed[0].label}'"
        )
    return {
        "classes": Decision({item.name: item.label for item in facts.classes}, why),
        "normalization": _normalization(facts, channels, normalization),
        "scaling": _scaling(facts),
        "representation": _representation(facts, ids),
    }


def _normalization(facts: Fingerprint, channels: Sequence[str], kind: str | None) -> Decision:
    tomography = all(name.lower() == "ct" for name in channels)
    if kind == "fixed" or (kind is None and tomography):
        if len(facts.class_intensities) != len(channels):
            msg = (
                f"normalization.kind = 'fixed' needs the same channels in all images; they have "
                f"{', '.join(facts.channels)}, the plan {', '.join(channels)}. Choose 'zscore'."
            )
            raise InputError(msg)
        value = {"kind": "fixed", "fixed": facts.class_intensities}
        why = "CT" if tomography else "as asked for"
        return Decision(value, f"{why}: clipped to the 0.5 and 99.5 percentile of what lies inside classes")
    why = "no CT (a channel of that name), so intensities have no fixed scale: each image by its own"
    return Decision({"kind": "zscore"}, why)


def _scaling(facts: Fingerprint) -> Decision:
    diameter = round(facts.image_diameter_px.p50, 2)
    table: dict[str, Any] = {"interpolation": "cubic", "diameter_px": diameter}
    if facts.spacing_um is None:
        return Decision({"kind": "native", **table}, "pixel sizes are not known: pixels as they are")
    sizes = " x ".join(f"{size / 1000:.3g}" for size in facts.spacing_um)
    value = {"kind": "spacing", "spacing_um": facts.spacing_um, **table}
    return Decision(value, f"the median pixel size, {sizes} mm")


def _representation(facts: Fingerprint, ids: tuple[int, ...]) -> Decision:
    # Whole in every image of the training data, so whole in every other: the rule of the paper.
    whole = tuple(item.label for item in facts.classes if 0 < item.n_images == item.n_whole)
    names = [item.name for item in facts.classes if item.label in whole]
    reason = f"{len(ids)} classes; in one piece in all labels, so kept in one: {', '.join(names) or 'none'}"
    return Decision({"kind": "class_distance", "ids": ids, "keep_largest": whole}, reason)


def of_sizes(
    facts: Fingerprint, zoom: Sequence[float], spacing: Sequence[float | int], given: dict[str, Any]
) -> dict[str, Decision]:
    """Decisions on network and patch; a U-Net's grids follow from patch and pixel size as in nnU-Net.

    Args:
        facts: The data.
        zoom: Working pixels per input pixel, per axis.
        spacing: Working pixel size per axis.
        given: What is given already: ``network`` and ``patch_size``, where they are.
    """
    finest = min(spacing)
    halo = tuple(max(1, -int(-HALO_PX * finest // step)) for step in spacing)
    decisions = {"halo_px": Decision(halo, f"distances reach about {HALO_PX} px beyond a crop")}
    if given["network"].get("kind") == "plain_unet":
        shape = [size * z for size, z in zip(facts.shape_median, zoom, strict=True)]
        budget = PATCH_VOXELS_3D if facts.ndim == 3 else 512**2
        patch = given.get("patch_size") or fill_sides(budget, shape, spacing)
        strides, kernels = unet_grids(patch, spacing)
        features = tuple(min(FIRST_FEATURES * 2**level, MOST_CLASS_FEATURES) for level in range(len(kernels)))
        value = {"kind": "plain_unet", "features": features, "strides": strides, "kernels": kernels}
        sizes = " x ".join(f"{side:.0f}" for side in patch)
        decisions["network"] = Decision(value, f"{len(features)} levels for patches of about {sizes} px")
    return decisions


def unet_grids(
    patch: Sequence[float | int], spacing: Sequence[float | int]
) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]:
    """Strides between the levels of a U-Net and the kernels of each, per axis, by nnU-Net's rule.

    Axes are halved together while their pixels are about equally long and they have pixels left; a coarse
    axis waits, and is not convolved along, until the others have caught up with it.

    >>> unet_grids((8, 32, 32), (4.0, 1.0, 1.0))
    (((1, 2, 2), (1, 2, 2), (2, 2, 2)), ((1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3)))
    """
    sizes, steps = list(patch), list(spacing)
    strides: list[tuple[int, ...]] = []
    kernels = [_kernel(steps, (1,) * len(steps))]
    while len(kernels) < MOST_LEVELS:
        roomy = [axis for axis, size in enumerate(sizes) if size >= 2 * SMALLEST_GRID]
        finest = min((steps[axis] for axis in roomy), default=0.0)
        halved = [axis for axis in roomy if steps[axis] < SIMILAR * finest]
        # One axis alone is halved only while it is long.
        if not halved or (len(halved) == 1 and sizes[halved[0]] < 3 * SMALLEST_GRID):
            break
        stride = tuple(2 if axis in halved else 1 for axis in range(len(sizes)))
        sizes = [size / step for size, step in zip(sizes, stride, strict=True)]
        steps = [size * step for size, step in zip(steps, stride, strict=True)]
        strides.append(stride)
        kernels.append(_kernel(steps, kernels[-1]))
    if not strides:
        return ((2,) * len(steps),), ((3,) * len(steps),) * 2
    return tuple(strides), tuple(kernels)


def _kernel(steps: Sequence[float | int], before: tuple[int, ...]) -> tuple[int, ...]:
    """3 along the axes whose pixels are short enough, or were on a finer level; 1 along the others."""
    return tuple(
        3 if size == 3 or step < SIMILAR * min(steps) else 1 for step, size in zip(steps, before, strict=True)
    )


def of_training(facts: Fingerprint) -> dict[str, Decision]:
    """Decisions on patches and augmentation."""
    decisions = {
        "training.object_share": Decision(FOREGROUND_SHARE, "at least a third of each batch shows a class"),
        "training.augmentation.copy_paste": Decision(0.0, "organs have their place"),
        "training.augmentation.per_object": Decision(0.0, "organs are as bright as they are"),
    }
    sided = next((item.name for item in facts.classes if SIDES.search(item.name)), None)
    if sided is not None:
        why = f"{sided!r} names a side: mirrored, it would be another class"
        decisions["training.augmentation.flip"] = Decision(0.0, why)
        decisions["inference.mirror"] = Decision("none", why)
    return decisions
