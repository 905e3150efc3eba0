"""Labels lent from the truth: how good a foreground would be if it were split perfectly (system B)."""

import numpy as np

from morula.types import Labels, Mask


def lend_labels(truth: Labels, predicted: Labels) -> Labels:
    """The predicted foreground with the truth's labels: an upper bound for any way of splitting it.

    Where foreground and truth meet, the true label holds; every other pixel of the foreground takes the label
    of the nearest such pixel (text of system B, section 6, steps 1 to 3). The bound is rough: a false object
    takes a label too, and is no false positive then.

    Args:
        truth: ``(*spatial)``; -1 is not annotated and lends nothing.
        predicted: ``(*spatial)``; only its foreground counts. It is returned when nothing can be lent.

    Returns:
        True ids ``(*spatial)`` inside the predicted foreground, 0 outside.

    Examples:
        >>> lend_labels(np.array([[1, 1, 2, 2, 0, 0]], np.int32), np.array([[0, 7, 7, 7, 7, 0]], np.int32))
        array([[0, 1, 2, 2, 2, 0]], dtype=int32)
    """
    # Imported here: it takes longer to load than most images to score.
    from scipy.spatial import KDTree

    foreground = predicted > 0
    lent = np.where(foreground, np.maximum(truth, 0), 0).astype(np.int32)
    lacking = foreground & (lent == 0)
    if not lent.any():
        return predicted
    if lacking.any():
        # The nearest lending pixel always lies on the rim of what lends.
        lenders = np.argwhere(_rim(lent > 0))
        _, nearest = KDTree(lenders).query(np.argwhere(lacking))
        lent[lacking] = lent[tuple(lenders[nearest].T)]
    return lent


def _rim(mask: Mask) -> Mask:
    """Pixels of a mask with a neighbour along an axis that is outside; the image's edge is not outside."""
    inner = mask.copy()
    for axis in range(mask.ndim):
        source, target = np.moveaxis(mask, axis, 0), np.moveaxis(inner, axis, 0)
        target[1:] &= source[:-1]
        target[:-1] &= source[1:]
    return mask & ~inner
