"""Composites of stains: objects in one colour of an RGB image, other structures in the others.

A model that has learnt from grey images knows objects in a stain, and finds little where cytoplasm, fibres or
other objects are shown over them in another colour. It looks at each colour alone, as if the image were grey,
and takes the one in which it is so much surer of what it finds. That this never happens to stained tissue in
white light, and how much it finds in composites, was measured: docs/experiments.md.
"""

from collections.abc import Callable, Sequence

import numpy as np

from morula.data.sample import RGB, Image
from morula.planning.plan import Plan
from morula.prediction.scale import Look, is_estimated
from morula.preprocessing.intensity import is_replicated

SURE = 0.6
"""The least sureness of a colour alone."""

SURER = 0.1
"""By how much surer a colour alone must be than all together."""

DARK = 0.45
"""Some colour's median lies below this share of its range, where stains shine on dark."""

ALIKE = 0.99
"""Correlation of colours that show the same."""

_THUMBNAIL_PX = 256


def stain_of(image: Image, plan: Plan, look: Callable[[Image], Look | None]) -> str | None:
    """The colour of an image that a model should look at alone; None: at all of them.

    Args:
        image: Without what is no specimen.
        plan: Of the model. Only one that has seen grey images as stains is asked.
        look: What the model finds in a window of an image; None where there is too little to see.
    """
    knows_stains = is_estimated(plan) and plan.training.augmentation.pseudo_colour > 0
    if not knows_stains or image.channels[:3] != RGB:
        return None
    colours = shining(image.pixels[:3])
    if len(colours) < 2 or (whole := look(image)) is None:
        return None
    alone = {name: look(image.only(name)) for name in (RGB[index] for index in colours)}
    surest = max(alone, key=lambda name: _sureness(alone[name]))
    needed = max(SURE, whole.sureness + SURER)
    return surest if _sureness(alone[surest]) >= needed else None


def shining(pixels: np.ndarray) -> Sequence[int]:
    """Numbers of the colours ``(3, y, x)`` that show something; none where nothing shines on dark.

    Nor where all show the same: a grey picture, or one in a single tint.
    """
    if is_replicated(pixels):
        return ()
    step = max(1, max(pixels.shape[1:]) // _THUMBNAIL_PX)
    small = pixels[:, ::step, ::step].reshape(len(pixels), -1)
    low, middle, high = np.percentile(small, (1, 50, 99.8), axis=1)
    shown = np.flatnonzero(high > low)
    dark = (middle - low)[shown] < DARK * (high - low)[shown]
    if not dark.any() or np.corrcoef(small[shown]).min() > ALIKE:
        return ()
    return shown.tolist()


def _sureness(seen: Look | None) -> float:
    return 0.0 if seen is None else seen.sureness
