"""Star-convex objects: from a centre probability and distances along rays to instances."""

from functools import lru_cache
from typing import no_type_check

import numpy as np
from jaxtyping import Float32, Int64
from numba import njit

from morula.labels.volume import as_volume
from morula.types import Labels, Map, Scalar, Spacing

# Cells per side of each face of the square or cube on which directions are looked up.
_CELLS = 64
# No distance is shorter than this part of a pixel: networks predict 0 and less.
_SHORTEST = 1e-3
# An estimated overlap this many times above the limit needs no counting of pixels.
_PLAINLY = 1.3


def find_peaks(probability: Scalar, threshold: float, size: int = 3) -> Int64[np.ndarray, "_ *_"]:
    """Local maxima above `threshold`, most probable first.

    Of equal neighbours the first in C order is the peak.

    Args:
        probability: ``(*grid)``.
        threshold: Peaks lie above it.
        size: Window in which a peak is the highest, odd; 1 takes every pixel above `threshold`, as
            StarDist does.

    Returns:
        Grid positions ``(peaks, ndim)``.

    Example:
        >>> find_peaks(np.array([[0.1, 0.9, 0.8, 0.2, 0.95]], np.float32), 0.5).tolist()
        [[0, 4], [0, 1]]
    """
    found = _find_peaks(as_volume(probability), threshold, size // 2)
    order = np.argsort(-probability.reshape(-1)[found], kind="stable")
    return np.stack(np.unravel_index(found[order], probability.shape), 1).astype(np.int64)


def paint_stars(
    probability: Scalar,
    distances: Map,
    directions: Float32[np.ndarray, "_ *_"],
    spacing: Spacing,
    probability_threshold: float = 0.5,
    max_overlap: float = 0.4,
    stride: int = 1,
) -> Labels:
    """Peaks of the probability, without duplicates, painted as star-convex polygons or polyhedra.

    Schmidt et al. 2018 (2D, https://arxiv.org/abs/1806.03535), Weigert et al. 2020 (3D,
    https://arxiv.org/abs/1908.03636): non-maximum suppression, then the more probable shape on top.

    Args:
        probability: Of a centre, ``(*grid)``.
        distances: From each grid point to the object's edge, in units of `spacing`, ``(rays, *grid)``.
        directions: Unit vectors of the rays ``(rays, ndim)``, in units of `spacing`.
        spacing: Size of a working pixel.
        probability_threshold: Least probability of a centre.
        max_overlap: See `suppress`.
        stride: Grid step in working pixels; grid point i lies in the middle of its pixels, at
            ``(i + 0.5) * stride - 0.5``.

    Returns:
        Ids ``(*grid * stride)``, 1 to n, most probable first.
    """
    peaks = find_peaks(probability, probability_threshold)
    return suppress(peaks, distances, directions, spacing, max_overlap, stride)[0]


def suppress(
    peaks: Int64[np.ndarray, "_ *_"],
    distances: Map,
    directions: Float32[np.ndarray, "_ *_"],
    spacing: Spacing,
    max_overlap: float = 0.4,
    stride: int = 1,
) -> tuple[Labels, Int64[np.ndarray, "*_"]]:
    """Paints shapes in the given order and skips those that an earlier one has covered.

    A shape is skipped when it shares more than `max_overlap` of the smaller one's pixels with a
    shape painted before (StarDist's criterion, counted in pixels).

    Args:
        peaks: Grid positions ``(peaks, ndim)``, best first.
        distances: As in `paint_stars`.
        directions: As in `paint_stars`.
        spacing: As in `paint_stars`.
        max_overlap: Share of the smaller shape, 0 to 1.
        stride: As in `paint_stars`.

    Returns:
        Ids ``(*grid * stride)``, 1 to n, and the row of `peaks` that each id came from ``(n,)``.
    """
    shape = tuple(n * stride for n in distances.shape[1:])
    volume = np.zeros((1,) * (3 - len(shape)) + shape, np.int32)
    if len(peaks) == 0:
        return volume.reshape(shape), np.zeros(0, np.int64)
    missing = 3 - len(shape)
    centres = np.zeros((len(peaks), 3))
    centres[:, missing:] = (peaks + 0.5) * stride - 0.5
    size = np.ones(3)
    size[missing:] = spacing
    edge = distances[(slice(None), *peaks.T)].T.astype(np.float64)
    # A network may say anything: what is no number is a point, and nothing reaches beyond the image.
    longest = float(np.linalg.norm(np.multiply(shape, spacing)))
    edge = np.nan_to_num(np.ascontiguousarray(edge), posinf=longest).clip(_SHORTEST * min(spacing), longest)
    rays = np.zeros((len(directions), 3))
    rays[:, missing:] = directions
    star = (rays, *_facets(tuple(map(tuple, directions.tolist()))))
    kept = _paint(volume, centres, edge, star, size, max_overlap)
    return volume.reshape(shape), kept


@lru_cache(maxsize=8)
def _facets(
    directions: tuple[tuple[float, ...], ...],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The sectors (2D) or triangles (3D) between neighbouring rays, and which lies in which direction.

    Returns:
        Rays of each facet int64 ``(facets, 3)``; matrices ``(facets, 3, 3)`` that write an offset as a
        sum of the facet's rays (the third, or in 2D the first, row and column are 0); a table of
        facets by direction, int32 ``(6, cells, cells)``: see `_facet_of`; each facet's area or volume
        between unit rays ``(facets,)``.
    """
    # Imported here: every representation is loaded with this module, few decode stars.
    from scipy.spatial import ConvexHull

    rays = np.array(directions)
    ndim = rays.shape[1]
    corners = ConvexHull(rays).simplices
    facets = np.zeros((len(corners), 3), np.int64)
    facets[:, :ndim] = corners
    inverses = np.zeros((len(corners), 3, 3))
    inverses[:, :ndim, 3 - ndim :] = np.linalg.inv(np.swapaxes(rays[corners], 1, 2))
    # The cells of a cube around the origin, seen from it; 2D uses the plane z = 0 of it.
    middle = (np.arange(_CELLS) + 0.5) / _CELLS * 2 - 1
    first, second = np.meshgrid(middle, middle, indexing="ij")
    cells = np.zeros((6, _CELLS, _CELLS, 3))
    for face in range(6):
        axis = face // 2
        cells[face, ..., axis] = 1 if face % 2 else -1
        cells[face, ..., (axis + 1) % 3] = first
        cells[face, ..., (axis + 2) % 3] = second
    if ndim == 2:
        cells[..., 0] = 0
    contents = np.abs(np.linalg.det(rays[corners])) / (2 if ndim == 2 else 6)
    return facets, inverses, _nearest_facets(cells.reshape(-1, 3), rays, corners, inverses), contents


def _nearest_facets(
    points: np.ndarray, rays: np.ndarray, corners: np.ndarray, inverses: np.ndarray
) -> np.ndarray:
    from scipy.spatial import KDTree

    # Of the facets around, the one whose smallest weight is highest holds the direction.
    ndim = rays.shape[1]
    middles = rays[corners].mean(1)
    middles /= np.linalg.norm(middles, axis=1, keepdims=True)
    units = points[:, 3 - ndim :]
    units = units / np.maximum(np.linalg.norm(units, axis=1, keepdims=True), 1e-12)
    near = np.asarray(KDTree(middles).query(units, k=min(12, len(corners)))[1])
    weights = np.einsum("pkij,pj->pki", inverses[near][..., :ndim, 3 - ndim :], units)
    best = weights.min(-1).argmax(1)
    return near[np.arange(len(points)), best].reshape(6, _CELLS, _CELLS).astype(np.int32)


@njit(cache=True, nogil=True)
@no_type_check
def _find_peaks(probability, threshold, radius):
    depth, height, width = probability.shape
    found = []
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                here = probability[z, y, x]
                if not here > threshold:
                    continue
                highest = True
                for k in range(max(z - radius, 0), min(z + radius + 1, depth)):
                    for j in range(max(y - radius, 0), min(y + radius + 1, height)):
                        for i in range(max(x - radius, 0), min(x + radius + 1, width)):
                            other = probability[k, j, i]
                            before = (k, j, i) < (z, y, x)
                            if other > here or (before and other == here):
                                highest = False
                if highest:
                    found.append((z * height + y) * width + x)
    return np.array(found, dtype=np.int64)


@njit(cache=True, nogil=True)
@no_type_check
def _facet_of(table, z, y, x):
    """The facet in the direction of an offset: the cell of the cube that the ray to it leaves through."""
    cells = table.shape[1]
    along_z, along_y, along_x = abs(z), abs(y), abs(x)
    if along_z >= along_y and along_z >= along_x:
        face, longest, first, second = (1 if z > 0 else 0), along_z, y, x
    elif along_y >= along_x:
        face, longest, first, second = (3 if y > 0 else 2), along_y, x, z
    else:
        face, longest, first, second = (5 if x > 0 else 4), along_x, z, y
    if longest == 0:
        return 0
    i = min(int((first / longest + 1) * 0.5 * cells), cells - 1)
    j = min(int((second / longest + 1) * 0.5 * cells), cells - 1)
    return table[face, i, j]


@njit(cache=True, nogil=True)
@no_type_check
def _planes(edge, facets, inverses):
    """The plane through the corners of each facet, as the vector that gives 1 on it, and the inner radius.

    An offset is inside when its facet's plane gives at most 1; the nearest plane is one inner radius away.
    """
    planes = np.zeros((len(facets), 3))
    steepest = 0.0
    for facet in range(len(facets)):
        for ray in range(3):
            planes[facet] += inverses[facet, ray] / edge[facets[facet, ray]]
        steepest = max(steepest, (planes[facet] ** 2).sum())
    return planes, 1 / np.sqrt(steepest)


@njit(cache=True, nogil=True)
@no_type_check
def _fill(inside, low, centre, shape, table, spacing):
    """Marks in `inside` the pixels of one shape; its first pixel is `low`. Returns how many they are."""
    planes, inner, outer = shape
    surely, at_most = inner * inner, outer * outer * (1 + 1e-9)
    count = 0
    for k in range(inside.shape[0]):
        z = (low[0] + k - centre[0]) * spacing[0]
        for j in range(inside.shape[1]):
            y = (low[1] + j - centre[1]) * spacing[1]
            for i in range(inside.shape[2]):
                x = (low[2] + i - centre[2]) * spacing[2]
                squared = z * z + y * y + x * x
                within = squared <= surely
                if not within and squared <= at_most:
                    plane = planes[_facet_of(table, z, y, x)]
                    within = plane[0] * z + plane[1] * y + plane[2] * x <= 1
                inside[k, j, i] = within
                count += within
    return count


@njit(cache=True, nogil=True)
@no_type_check
def _box(shape, centre, edge, rays, spacing):
    """First pixel and one past the last of a shape's box, cut at the image."""
    low = np.empty(3, np.int64)
    high = np.empty(3, np.int64)
    for axis in range(3):
        least, most = 0.0, 0.0
        for ray in range(edge.size):
            reach = edge[ray] * rays[ray, axis] / spacing[axis]
            least = min(least, reach)
            most = max(most, reach)
        low[axis] = max(int(np.ceil(centre[axis] + least)), 0)
        high[axis] = max(min(int(np.floor(centre[axis] + most)) + 1, shape[axis]), low[axis])
    return low, high


@njit(cache=True, nogil=True)
@no_type_check
def _share(window, inside, shared):
    """Counts a shape's pixels per label below it into `shared`; returns those labels."""
    touched = [0]
    for k in range(window.shape[0]):
        for j in range(window.shape[1]):
            for i in range(window.shape[2]):
                if inside[k, j, i]:
                    label = window[k, j, i]
                    if label > 0 and shared[label] == 0:
                        touched.append(label)
                    shared[label] += 1
    return touched


@njit(cache=True, nogil=True)
@no_type_check
def _stamp(window, inside, label):
    for k in range(window.shape[0]):
        for j in range(window.shape[1]):
            for i in range(window.shape[2]):
                if inside[k, j, i] and window[k, j, i] == 0:
                    window[k, j, i] = label


@njit(cache=True, nogil=True)
@no_type_check
def _is_covered(shared, touched, sizes, size, max_overlap):
    """Whether one of the labels below takes too much; sets `shared` back to 0."""
    covered = False
    for label in touched:
        if label > 0:
            covered |= shared[label] > max_overlap * min(size, sizes[label])
        shared[label] = 0
    return covered


@njit(cache=True, nogil=True)
@no_type_check
def _sample(labels, centre, edge, star, spacing, shared):
    """As `_share`, estimated at a few points of every facet; also returns the content, in pixels.

    Points lie on the line to the facet's middle, one for each of four shells of equal content.
    """
    rays, facets, _, _, contents = star
    corners = 2 if labels.shape[0] == 1 else 3
    point = np.empty(3, np.int64)
    touched = [0]
    seen = 0.0
    for facet in range(len(facets)):
        part = contents[facet] / spacing.prod() / 4
        for k in range(corners):
            part *= edge[facets[facet, k]]
        for shell in range(4):
            depth = ((shell + 0.5) / 4) ** (1 / corners) / corners
            inside = True
            for axis in range(3):
                reach = 0.0
                for k in range(corners):
                    reach += edge[facets[facet, k]] * rays[facets[facet, k], axis]
                point[axis] = int(np.floor(centre[axis] + depth * reach / spacing[axis] + 0.5))
                inside &= 0 <= point[axis] < labels.shape[axis]
            if inside:
                label = labels[point[0], point[1], point[2]]
                if label > 0 and shared[label] == 0:
                    touched.append(label)
                shared[label] += part
                seen += part
    return touched, seen


@njit(cache=True, nogil=True)
@no_type_check
def _paint(labels, centres, edges, star, spacing, max_overlap):
    """Paints into `labels`; returns the row of every painted shape."""
    rays, facets, inverses, table, _ = star
    kept = []
    sizes = np.zeros(len(centres) + 1)
    shared = np.zeros(len(centres) + 1)
    for row in range(len(centres)):
        centre, edge = centres[row], edges[row]
        # Most peaks are plain duplicates: well above the limit even as roughly as this.
        touched, size = _sample(labels, centre, edge, star, spacing, shared)
        if _is_covered(shared, touched, sizes, size, _PLAINLY * max_overlap):
            continue
        low, high = _box(labels.shape, centre, edge, rays, spacing)
        window = labels[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
        inside = np.empty(window.shape, np.bool_)
        planes, inner = _planes(edge, facets, inverses)
        size = _fill(inside, low, centre, (planes, inner, edge.max()), table, spacing)
        touched = _share(window, inside, shared)
        nothing_free = shared[0] == 0
        if not (_is_covered(shared, touched, sizes, size, max_overlap) or nothing_free):
            kept.append(row)
            sizes[len(kept)] = size
            _stamp(window, inside, len(kept))
    return np.array(kept, dtype=np.int64)
