"""What a candidate object looks like in the maps: numbers that tell whole objects from parts and clumps."""

from typing import no_type_check

import numpy as np
from jaxtyping import Float32, Float64, Int32
from numba import njit

from morula.decoding.regions import LEVELS, Regions
from morula.labels.volume import as_volume
from morula.types import Scalar

OWN = (
    "log_size",
    "log_relative_size",
    "inside",
    "core",
    "border",
    "marked",
    "sure",
    "peak",
    "log_ellipse",
    "log_perimeter",
    "log_elongation",
    "contact",
    "contact_border",
    "outside",
    "seam",
    "seam_border",
    "seam_marker",
    "seam_inside",
    "has_seam",
    "born",
    "gone",
    "log_leaves",
)
"""Of a candidate itself.

Sizes in pixels: absolute, relative to the image's median leaf, and relative to the ellipse with the same
second moments. Means over pixels of the three maps, and the shares of pixels whose marker exceeds 0.5 and
whose foreground probability exceeds 0.8. Faces towards other fragments (contact), background (outside), and
between fragments of the object itself (seam): how many, and the maps there. Place in the tree.
"""

FEATURES = (
    *OWN,
    "has_parent",
    *(f"parent_{name}" for name in OWN),
    "has_parts",
    *(f"parts_{name}" for name in OWN),
)
"""Names of the columns: also those of the parent, and the mean of the children by size; 0 without them."""

_LOWEST = -0.2
"""Stands for the foreground itself among the thresholds."""


def describe(
    regions: Regions, inside: Scalar, core: Scalar, border: Scalar
) -> Float32[np.ndarray, "nodes_and_none _"]:
    """`FEATURES` of every node; the row of number 0 is meaningless.

    Args:
        regions: The candidates.
        inside: Foreground probability ``(*spatial)``.
        core: Probability of the shrunken object.
        border: Probability of a border between touching objects.
    """
    maps = [as_volume(array) for array in (inside, core, border)]
    fragments, parents = as_volume(regions.fragments), regions.parents
    sums, peaks = _pixel_sums(fragments, parents, *maps)
    sums = regions.gather(sums)
    faces = regions.gather(_face_sums(fragments, parents, *maps))
    ndim = regions.fragments.ndim
    pixels = np.maximum(sums[:, 0], 1)
    means = sums / pixels[:, None]
    length = pixels ** ((ndim - 1) / ndim)
    axes = _axes(means, ndim)
    # Pixels per volume of the ellipse with these axes: 1 for ellipses.
    fill = pixels / ((4 * np.pi, 4 / 3 * np.pi * 5**1.5)[ndim - 2] * np.sqrt(np.prod(axes, 1)))
    (total, contact, contact_border, outside), (seam, *on_seam) = faces[:, :4].T, faces[:, 4:].T
    total, contact = total - 2 * seam, contact - 2 * seam
    contact_border = contact_border - 2 * on_seam[0]
    median = np.median(pixels[regions.leaves]) if len(regions.leaves) else 1.0
    heights = np.array((_LOWEST, *LEVELS))
    leaves = np.zeros((len(parents), 1))
    leaves[regions.leaves] = 1
    columns = (
        np.log(pixels),
        np.log(pixels / median),
        *means[:, 1:6].T,
        peaks,
        np.log(fill),
        np.log(total / length + 0.1),
        np.log(axes.max(1) / axes.min(1)),
        contact / np.maximum(total, 1),
        contact_border / np.maximum(contact, 1),
        outside / np.maximum(total - contact, 1),
        seam / length,
        *(values / np.maximum(seam, 1) for values in on_seam),
        seam > 0,
        heights[regions.born],
        heights[regions.gone],
        np.log(np.maximum(regions.gather(leaves)[:, 0], 1)),
    )
    return _with_kin(np.stack(columns, 1).astype(np.float32), regions.parents, pixels)


def _with_kin(
    own: Float32[np.ndarray, "n own"], parents: Int32[np.ndarray, " n"], pixels: Float64[np.ndarray, " n"]
) -> Float32[np.ndarray, "n features"]:
    """What the next greater and the next smaller choice look like, beside each."""
    has_parent = parents > 0
    above = np.where(has_parent[:, None], own[parents], 0)
    children = np.flatnonzero(has_parent)
    share, parts = np.zeros(len(own)), np.zeros(own.shape)
    np.add.at(share, parents[children], pixels[children])
    np.add.at(parts, parents[children], own[children] * pixels[children, None])
    parts /= np.maximum(share, 1)[:, None]
    return np.column_stack((own, has_parent, above, share > 0, parts)).astype(np.float32)


def _axes(means: Float64[np.ndarray, "n _"], ndim: int) -> Float64[np.ndarray, "n ndim"]:
    """Variances along the principal axes, in pixels squared; a pixel has 1 / 12."""
    centre, second = means[:, 6:9], means[:, 9:]
    covariance = np.zeros((len(means), 3, 3))
    for column, (i, j) in enumerate(((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))):
        covariance[:, i, j] = covariance[:, j, i] = second[:, column] - centre[:, i] * centre[:, j]
    covariance = covariance[:, 3 - ndim :, 3 - ndim :] + np.eye(ndim) / 12
    return np.maximum(np.linalg.eigvalsh(covariance), 1e-3)


@njit(cache=True, nogil=True)
@no_type_check
def _pixel_sums(fragments, parents, inside, core, border):
    """Per node: pixels, three maps, two shares, first and second moments; and the highest marker."""
    sums, peaks = np.zeros((parents.size, 15)), np.full(parents.size, -1.0)
    depth, height, width = fragments.shape
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                node = fragments[z, y, x]
                if node == 0:
                    continue
                marker = core[z, y, x] - border[z, y, x]
                peaks[node] = max(peaks[node], marker)
                row = sums[node]
                row[0] += 1
                row[1] += inside[z, y, x]
                row[2] += core[z, y, x]
                row[3] += border[z, y, x]
                row[4] += marker > 0.5
                row[5] += inside[z, y, x] > 0.8
                row[6] += z
                row[7] += y
                row[8] += x
                row[9] += z * z
                row[10] += z * y
                row[11] += z * x
                row[12] += y * y
                row[13] += y * x
                row[14] += x * x
    for node in range(1, parents.size):
        if parents[node] > 0:
            peaks[parents[node]] = max(peaks[parents[node]], peaks[node])
    return sums, peaks


@njit(cache=True, nogil=True)
@no_type_check
def _face_sums(fragments, parents, inside, core, border):
    """Faces of every leaf: all, with other leaves, their border probability, foreground at the others.

    Then, at the lowest node that holds both sides: faces, border probability, marker, foreground.
    """
    sums = np.zeros((parents.size, 8))
    depth, height, width = fragments.shape
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                here = fragments[z, y, x]
                # Pixels in the middle of objects are most: they are through with these comparisons.
                if z + 1 < depth and fragments[z + 1, y, x] != here:
                    _add_face(sums, (z, y, x), (z + 1, y, x), fragments, parents, inside, core, border)
                if y + 1 < height and fragments[z, y + 1, x] != here:
                    _add_face(sums, (z, y, x), (z, y + 1, x), fragments, parents, inside, core, border)
                if x + 1 < width and fragments[z, y, x + 1] != here:
                    _add_face(sums, (z, y, x), (z, y, x + 1), fragments, parents, inside, core, border)
    return sums


@njit(cache=True, nogil=True)
@no_type_check
def _add_face(sums, one, other, fragments, parents, inside, core, border):  # noqa: PLR0913 - a pass's maps
    """The face between two neighbouring pixels of different leaves; see `_face_sums`."""
    a, b = fragments[one], fragments[other]
    sums[a, 0] += 1
    sums[b, 0] += 1
    if a == 0 or b == 0:
        sums[max(a, b), 3] += max(inside[one], inside[other])
        return
    between = max(border[one], border[other])
    for node in (a, b):
        sums[node, 1] += 1
        sums[node, 2] += between
    while a != b and a > 0 and b > 0:
        if a < b:
            a = parents[a]
        else:
            b = parents[b]
    if a == b:
        sums[a, 4] += 1
        sums[a, 5] += between
        sums[a, 6] += min(core[one] - border[one], core[other] - border[other])
        sums[a, 7] += min(inside[one], inside[other])
