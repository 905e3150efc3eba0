"""Measurements of every object: size, place, shape, intensity."""

from typing import Protocol, no_type_check, runtime_checkable

import numpy as np
from jaxtyping import Float64
from numba import njit

from morula.labels.extents import Extents, extents
from morula.labels.renumber import low_ids
from morula.labels.runs import CHUNK, run_ends, run_room
from morula.labels.volume import as_volume, check_same_shape
from morula.types import Labels, Spacing


@runtime_checkable
class Pixels(Protocol):
    """What `measure` needs of an image; `morula.data.sample.Image` is one."""

    @property
    def pixels(self) -> np.ndarray:
        """``(C, *spatial)``, any integer or float dtype."""
        ...

    @property
    def channels(self) -> tuple[str, ...]:
        """One name per channel."""
        ...


def measure(
    labels: Labels,
    image: Pixels | None = None,
    spacing_um: Spacing | None = None,
    confidence: dict[int, float] | None = None,
) -> list[dict[str, float | int]]:
    """One row per object, ascending by id.

    - ``label``; ``area_px`` (2D) or ``volume_px`` (3D); ``centroid_z/y/x``; the bounding box as
      ``bbox_z0`` ... (first pixel) and ``bbox_z1`` ... (one past the last);
    - ``equivalent_diameter_px``: of the circle or ball of the same size; ``major_axis_px``,
      ``minor_axis_px``: full lengths of the ellipse or ellipsoid of the same second moments;
      ``eccentricity``: sqrt(1 - (minor / major)^2);
    - ``solidity``: size over the number of pixels in the convex hull of its pixels (of each z plane in 3D);
    - ``mean_CHANNEL``, ``min_CHANNEL``, ``max_CHANNEL`` for each channel of `image`, in its own unit;
    - with `spacing_um`: ``area_um2`` or ``volume_um3``, ``equivalent_diameter_um``, ``major_axis_um``,
      ``minor_axis_um`` (moments are taken in micrometres then);
    - ``confidence`` where given, NaN for an object it does not name.

    Args:
        labels: Ids ``(*spatial)``; -1 is background.
        image: Pixels on the same grid.
        spacing_um: Pixel size in micrometres per axis.
        confidence: Confidence by id.

    Raises:
        ValueError: `image` or `spacing_um` does not fit `labels`.

    Example:
        >>> row, = measure(np.array([[0, 3, 3], [0, 3, 3]], np.int32))
        >>> row["area_px"], row["centroid_x"], row["solidity"]
        (4, 1.5, 1.0)
    """
    if spacing_um is not None and len(spacing_um) != labels.ndim:
        msg = f"spacing_um {spacing_um} for labels of {labels.ndim} axes; expected one number per axis"
        raise ValueError(msg)
    ids, former = low_ids(labels)
    rows = extents(ids)
    centroids, covariance = _moments_of(ids, rows)
    columns: dict[str, np.ndarray] = {"label": former[rows.ids]}
    columns |= _places(rows, centroids)
    columns |= _shapes(rows, covariance, _hulls_of(ids, rows), spacing_um)
    if image is not None:
        columns |= _intensities(ids, rows, image)
    if confidence is not None:
        columns["confidence"] = np.array([confidence.get(i, np.nan) for i in columns["label"].tolist()])
    order = np.argsort(columns["label"], kind="stable")
    names = list(columns)
    values = zip(*(column[order].tolist() for column in columns.values()), strict=True)
    return [dict(zip(names, row, strict=True)) for row in values]


def diameters(labels: Labels) -> Float64[np.ndarray, "*_"]:
    """Equivalent diameter of every object in pixels, ascending by id.

    Args:
        labels: Ids ``(*spatial)``.

    Returns:
        Diameter of the circle (2D) or ball (3D) of the same size ``(n,)``.
    """
    return _equivalent_diameter(extents(labels).sizes.astype(np.float64), labels.ndim)


def touching_share(labels: Labels) -> float:
    """Share of objects that have another object within two pixels along an axis.

    Args:
        labels: Ids ``(*spatial)``.

    Returns:
        0 to 1; 0 when there are no objects.

    Example:
        >>> touching_share(np.array([[1, 1, 0, 2, 0, 0, 3]], np.int32))
        0.6666666666666666
    """
    new, former = low_ids(labels)
    near = _touching(as_volume(new), former.size)
    present = np.bincount(np.maximum(new, 0).reshape(-1), minlength=former.size)[1:] > 0
    return float(near[1:][present].mean()) if present.any() else 0.0


def _places(rows: Extents, centroids: np.ndarray) -> dict[str, np.ndarray]:
    ndim = centroids.shape[1]
    axes = "zyx"[3 - ndim :]
    columns = {"volume_px" if ndim == 3 else "area_px": rows.sizes}
    columns |= {f"centroid_{axis}": centroids[:, i] for i, axis in enumerate(axes)}
    columns |= {f"bbox_{axis}0": rows.low[:, i] for i, axis in enumerate(axes)}
    columns |= {f"bbox_{axis}1": rows.high[:, i] for i, axis in enumerate(axes)}
    return columns


def _shapes(
    rows: Extents, covariance: np.ndarray, hulls: np.ndarray, spacing_um: Spacing | None
) -> dict[str, np.ndarray]:
    ndim = covariance.shape[-1]
    sizes = rows.sizes.astype(np.float64)
    major, minor = _axes(covariance)
    columns = {
        "equivalent_diameter_px": _equivalent_diameter(sizes, ndim),
        "major_axis_px": major,
        "minor_axis_px": minor,
    }
    if spacing_um is not None:
        pixel = float(np.prod(spacing_um))
        major, minor = _axes(covariance * np.outer(spacing_um, spacing_um))
        columns |= {
            "volume_um3" if ndim == 3 else "area_um2": sizes * pixel,
            "equivalent_diameter_um": _equivalent_diameter(sizes * pixel, ndim),
            "major_axis_um": major,
            "minor_axis_um": minor,
        }
    # One pixel has no extent: it counts as round.
    ratio = np.divide(minor, major, out=np.ones_like(major), where=major > 0)
    return columns | {"eccentricity": np.sqrt(np.maximum(1 - ratio**2, 0)), "solidity": sizes / hulls}


def _equivalent_diameter(sizes: np.ndarray, ndim: int) -> np.ndarray:
    unit_ball = {1: 2.0, 2: np.pi, 3: 4 / 3 * np.pi}[ndim]
    return 2 * (sizes / unit_ball) ** (1 / ndim)


def _axes(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # A solid ellipsoid of semi-axis a in n dimensions has the variance a^2 / (n + 2) along it.
    ndim = covariance.shape[-1]
    variance = np.maximum(np.linalg.eigvalsh(covariance), 0)
    lengths = 2 * np.sqrt((ndim + 2) * variance)
    return lengths[:, -1], lengths[:, 0]


def _moments_of(ids: Labels, rows: Extents) -> tuple[np.ndarray, np.ndarray]:
    """Centroids ``(n, ndim)`` and covariances ``(n, ndim, ndim)``, in pixels."""
    axes = slice(3 - ids.ndim, 3)
    first, second = _moments(as_volume(ids), _boxes(rows)[0])
    sizes = rows.sizes.astype(np.float64)
    mean = first[rows.ids, axes] / sizes[:, None]
    square = second[rows.ids, axes, axes] / sizes[:, None, None]
    return mean + rows.low, square - mean[:, :, None] * mean[:, None, :]


def _boxes(rows: Extents) -> tuple[np.ndarray, np.ndarray]:
    """First and one past the last pixel, z, y, x, of every id up to the highest; empty where it is not."""
    axes = slice(3 - rows.low.shape[1], 3)
    low = np.zeros((int(rows.ids.max(initial=0)) + 1, 3), np.int64)
    high = low.copy()
    high[rows.ids] = 1
    low[rows.ids, axes], high[rows.ids, axes] = rows.low, rows.high
    return low, high


def _hulls_of(ids: Labels, rows: Extents) -> np.ndarray:
    return _hulls(as_volume(ids), *_boxes(rows))[rows.ids]


def _intensities(ids: Labels, rows: Extents, image: Pixels) -> dict[str, np.ndarray]:
    check_same_shape(labels=ids, image=image.pixels[0])
    columns: dict[str, np.ndarray] = {}
    for name, pixels in zip(image.channels, image.pixels, strict=True):
        values = pixels.astype(np.float32) if pixels.dtype in (np.float16, np.bool_) else pixels
        count = int(rows.ids.max(initial=0)) + 1
        total, low, high = _intensity(as_volume(ids), as_volume(values), count)
        columns[f"mean_{name}"] = total[rows.ids] / rows.sizes
        columns[f"min_{name}"] = low[rows.ids]
        columns[f"max_{name}"] = high[rows.ids]
    return columns


@njit(cache=True, nogil=True)
@no_type_check
def _moments(labels, low):
    """Sums of coordinates and of their products, from each object's own corner: small numbers stay exact."""
    depth, height, width = labels.shape
    first = np.zeros((len(low), 3))
    second = np.zeros((len(low), 3, 3))
    room = run_room(width)
    for z in range(depth):
        for y in range(height):
            row, start = labels[z, y], 0
            for end in run_ends(row, room):
                label = row[start]
                if label > 0:
                    # A run of n pixels from column a: sums of x and x^2 in closed form.
                    n, a = float(end - start), float(start - low[label, 2])
                    dz, dy = z - low[label, 0], y - low[label, 1]
                    along = n * a + n * (n - 1) / 2
                    first[label, 0] += n * dz
                    first[label, 1] += n * dy
                    first[label, 2] += along
                    second[label, 0, 0] += n * dz * dz
                    second[label, 1, 1] += n * dy * dy
                    second[label, 2, 2] += n * a * a + a * n * (n - 1) + (n - 1) * n * (2 * n - 1) / 6
                    second[label, 0, 1] += n * dz * dy
                    second[label, 0, 2] += along * dz
                    second[label, 1, 2] += along * dy
                start = end
    for label in range(len(low)):
        second[label, 1, 0] = second[label, 0, 1]
        second[label, 2, 0] = second[label, 0, 2]
        second[label, 2, 1] = second[label, 1, 2]
    return first, second


@njit(cache=True, nogil=True)
@no_type_check
def _intensity(labels, values, count):
    total = np.zeros(count)
    low = np.full(count, np.inf)
    high = np.full(count, -np.inf)
    labels, values = labels.ravel(), values.ravel()
    room = run_room(CHUNK)
    for begin in range(0, labels.size, CHUNK):
        some, here, start = labels[begin : begin + CHUNK], values[begin : begin + CHUNK], 0
        for end in run_ends(some, room):
            label = some[start]
            if label > 0:
                add, least, most = _summary(here[start:end])
                total[label] += add
                low[label] = min(low[label], least)
                high[label] = max(high[label], most)
            start = end
    return total, low, high


@njit(cache=True, nogil=True, fastmath={"reassoc", "nsz"})
@no_type_check
def _summary(values):
    """Sum, lowest and highest; the order of adding is left to the compiler, which adds several at a time."""
    total, least, most = 0.0, np.inf, -np.inf
    for i in range(values.size):
        value = float(values[i])
        total += value
        least = value if value < least else least
        most = value if value > most else most
    return total, least, most


@njit(cache=True, nogil=True)
@no_type_check
def _touching(labels, count):
    touching = np.zeros(count, np.bool_)
    depth, height, width = labels.shape
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                label = labels[z, y, x]
                if label <= 0:
                    continue
                for reach in range(1, 3):
                    right = labels[z, y, x + reach] if x + reach < width else 0
                    below = labels[z, y + reach, x] if y + reach < height else 0
                    under = labels[z + reach, y, x] if z + reach < depth else 0
                    for other in (right, below, under):
                        if other > 0 and other != label:
                            touching[label] = True
                            touching[other] = True
    return touching


@njit(cache=True, nogil=True)
@no_type_check
def _hulls(labels, low, high):
    """Pixels in the convex hull of each object's pixels, summed over the z planes.

    The hull's corners are pixel centres, so Pick's theorem (1899) counts the pixels in it:
    area + half of the pixels on its rim + 1.
    """
    count = np.zeros(len(low))
    for label in range(1, len(low)):
        rows = high[label, 1] - low[label, 1]
        left = np.empty((rows, 2), np.int64)
        right = np.empty((rows, 2), np.int64)
        for z in range(low[label, 0], high[label, 0]):
            n_left, n_right = 0, 0
            for y in range(low[label, 1], high[label, 1]):
                row, first, last = labels[z, y], low[label, 2], high[label, 2] - 1
                while first <= last and row[first] != label:
                    first += 1
                while last > first and row[last] != label:
                    last -= 1
                if first <= last:
                    n_left = _push(left, n_left, y, first, 1)
                    n_right = _push(right, n_right, y, last, -1)
            if n_left > 0:
                area = _area_before(right, n_right) - _area_before(left, n_left)
                rim = _rim(right, n_right) + _rim(left, n_left)
                rim += right[0, 1] - left[0, 1] + right[n_right - 1, 1] - left[n_left - 1, 1]
                count[label] += area + rim / 2 + 1
    return count


@njit(cache=True, nogil=True)
@no_type_check
def _push(chain, count, y, x, side):
    """Adds a point to one side of a hull (Andrew's monotone chain); returns the new length."""
    while count > 1:
        dy, dx = chain[count - 1, 0] - chain[count - 2, 0], chain[count - 1, 1] - chain[count - 2, 1]
        if side * (dy * (x - chain[count - 2, 1]) - dx * (y - chain[count - 2, 0])) > 0:
            break
        count -= 1
    chain[count, 0], chain[count, 1] = y, x
    return count + 1


@njit(cache=True, nogil=True)
@no_type_check
def _area_before(chain, count):
    """Area between a chain and the column x = 0."""
    area = 0.0
    for i in range(1, count):
        area += (chain[i, 0] - chain[i - 1, 0]) * (chain[i, 1] + chain[i - 1, 1]) / 2
    return area


@njit(cache=True, nogil=True)
@no_type_check
def _rim(chain, count):
    """Steps from pixel centre to pixel centre along a chain."""
    steps = 0
    for i in range(1, count):
        a, b = abs(chain[i, 0] - chain[i - 1, 0]), abs(chain[i, 1] - chain[i - 1, 1])
        while b:
            a, b = b, a % b
        steps += a
    return steps
