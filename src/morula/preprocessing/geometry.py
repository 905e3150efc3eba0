"""Channels and grids: from the file's to those of the plan."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int64, Num
from scipy import ndimage, sparse

from morula.data.sample import RGB, Image
from morula.errors import InputError
from morula.planning.plan import Plan

Pixels = Num[np.ndarray, "_ *_"] | Bool[np.ndarray, "_ *_"]

Matrix = sparse.csr_array
"""Float32, of two axes."""

ANISOTROPIC = 3.0
"""An axis whose pixels are more than so many times as long as the finest is resampled apart (nnU-Net)."""

_MARGIN = 12
"""Pixels that the edge goes on before a spline is fitted: what lies beyond them is not felt within."""

_ADVICE = {
    2: "Give it single planes or a projection, name the axes if they are others (--axes), or train in 3D.",
    3: "Give it volumes, name the axes if they are others (--axes), or choose a 2D model.",
}
"""To somebody whose image has other axes than the model, by those of the model."""

_CV2_DTYPES = (np.uint8, np.uint16, np.int16, np.float32, np.float64)


def select_channels(image: Image, channels: tuple[str, ...]) -> Pixels:
    """The plan's channels of an image, as a view where that is possible (nothing is copied).

    Channels are picked by name. A grey image fills all of an RGB plan; an RGB image whose three
    channels are equal is a grey one; any single channel serves a plan of one channel. Nothing else
    is guessed: luminance, for one, is not.

    Returns:
        ``(len(channels), *spatial)`` in the file's dtype.

    Raises:
        InputError: The image lacks a channel that the plan needs.
    """
    names = image.channels
    if names == channels:
        return image.pixels
    if len(set(names)) == len(names) and set(channels) <= set(names):
        return image.pixels[[names.index(name) for name in channels]]
    if len(names) == 1 and (len(channels) == 1 or channels == RGB):
        return np.broadcast_to(image.pixels, (len(channels), *image.pixels.shape[1:]))
    if len(channels) == 1 and names[:3] == RGB and _equal_colours(image.pixels):
        return image.pixels[:1]
    several = len(names) > 1 and (channels == RGB or len(channels) == 1)
    alone = "Predict from one of them alone (--only-channel), name" if several else "Name"
    msg = (
        f"the image has the channels {', '.join(names)}; the model needs {', '.join(channels)}. {alone} "
        "the image's channels in its order (--channels), or choose a model trained on such images."
    )
    raise InputError(msg)


def _equal_colours(pixels: Pixels) -> bool:
    return np.array_equal(pixels[0], pixels[1]) and np.array_equal(pixels[0], pixels[2])


def working_shape(
    image_shape: tuple[int, ...],
    plan: Plan,
    spacing_um: tuple[float, ...] | None = None,
    diameter_px: float | None = None,
) -> tuple[int, ...]:
    """Shape of an image on the plan's working grid.

    Args:
        image_shape: ``(*spatial)`` of the image, in its own pixels.
        plan: Says what the network was trained on.
        spacing_um: Pixel size of the image, per axis.
        diameter_px: Object diameter in the image's pixels; when given it decides the scale, and the
            spacing only the proportions between the axes.

    Raises:
        InputError: The dimensions disagree, or the plan works at a physical pixel size and neither
            the image's pixel size nor a diameter is known.
    """
    if len(image_shape) != plan.ndim:
        msg = (
            f"the image has {len(image_shape)} spatial axes (shape {image_shape}), the model {plan.ndim}. "
            f"{_ADVICE[plan.ndim]}"
        )
        raise InputError(msg)
    zoom = _zoom(plan, spacing_um, known_diameter=diameter_px is not None)
    if diameter_px is not None:
        if not diameter_px > 0:
            msg = f"the object diameter is {diameter_px} px; it must be positive."
            raise InputError(msg)
        # A diameter comes from a volume in pixels, so the geometric mean of the zooms scales it.
        zoom = zoom / np.prod(zoom) ** (1 / plan.ndim) * plan.scaling.diameter_px / diameter_px
    return tuple(max(1, round(float(size * z))) for size, z in zip(image_shape, zoom, strict=True))


def _zoom(plan: Plan, spacing_um: tuple[float, ...] | None, *, known_diameter: bool) -> np.ndarray:
    """Working pixels per image pixel, per axis."""
    scaling = plan.scaling
    if scaling.kind == "native":
        return np.full(plan.ndim, scaling.factor)
    if scaling.spacing_um is None:
        msg = "scaling.kind = 'spacing' needs scaling.spacing_um, the working pixel size in micrometres."
        raise InputError(msg)
    if spacing_um is not None:
        if len(spacing_um) != plan.ndim:
            msg = f"pixel size {spacing_um} um; expected {plan.ndim} numbers, one per axis."
            raise InputError(msg)
        return np.array(spacing_um) / np.array(scaling.spacing_um)
    if known_diameter:
        return np.ones(plan.ndim)
    msg = (
        f"the pixel size of the image is unknown and the model works at {scaling.spacing_um} um. "
        "Give the pixel size (--pixel-size) or the object diameter (--diameter)."
    )
    raise InputError(msg)


def resample(pixels: Pixels, shape: Sequence[int]) -> Pixels:
    """Resample every channel: area averages where an axis shrinks, linear interpolation where it grows.

    Pixel centres are aligned: the outer edges of image and result coincide. What is not a finite number
    counts as 0, or it would spread.

    Args:
        pixels: ``(C, *spatial)``.
        shape: New spatial shape.

    Returns:
        ``(C, *shape)``; uint8, uint16, int16, float32 and float64 keep their dtype, others become float32.
    """
    new = tuple(int(size) for size in shape)
    if pixels.shape[1:] == new:
        return pixels
    if pixels.dtype not in _CV2_DTYPES:
        pixels = pixels.astype(np.float32)
    out = np.nan_to_num(pixels, nan=0.0, posinf=0.0, neginf=0.0) if pixels.dtype.kind == "f" else pixels
    for axis in range(len(new)):
        out = _resample_axis(out, axis + 1, new[axis])
    return np.ascontiguousarray(out)


def _resample_axis(pixels: Pixels, axis: int, size: int) -> Pixels:
    old = pixels.shape[axis]
    if size == old:
        return pixels
    # One axis at a time: OpenCV averages areas only where no axis of the call grows.
    how = cv2.INTER_AREA if size < old else cv2.INTER_LINEAR
    outer = int(np.prod(pixels.shape[:axis]))
    inner = int(np.prod(pixels.shape[axis + 1 :]))
    source = np.ascontiguousarray(pixels).reshape(outer, old, inner)
    out = np.empty((outer, size, inner), pixels.dtype)
    for index in range(outer if inner > 1 else 0):
        out[index] = cv2.resize(source[index], (inner, size), interpolation=how)
    if inner == 1:  # the last axis: all rows in one call
        out[..., 0] = cv2.resize(source[..., 0], (size, outer), interpolation=how)
    return out.reshape(*pixels.shape[:axis], size, *pixels.shape[axis + 1 :])


def coarse_axis(spacing: Sequence[float]) -> int | None:
    """The one axis whose pixels are more than `ANISOTROPIC` times as long as the finest; None without one.

    >>> coarse_axis((7.7, 1.25, 1.25)), coarse_axis((1.0, 1.0, 1.0))
    (0, None)
    """
    long = [axis for axis, step in enumerate(spacing) if step > ANISOTROPIC * min(spacing)]
    return long[0] if len(long) == 1 else None


def plane_axis(plan: Plan, spacing: Sequence[float] | None) -> int | None:
    """The axis across which planes are taken whole: that of the image, else that of the working grid."""
    own = coarse_axis(spacing) if spacing else None
    return coarse_axis(plan.working_spacing) if own is None else own


def resample_cubic(pixels: Pixels, shape: Sequence[int], across: int | None) -> Float32[np.ndarray, "_ *_"]:
    """Resample every channel by third-order splines, and by the nearest plane along the axis `across`.

    As nnU-Net does it (Isensee et al. 2021, https://doi.org/10.1038/s41592-020-01008-z; system E):
    interpolated between planes that lie far apart, structures would smear. Splines are separable, so every
    axis is one product with a matrix.

    Args:
        pixels: ``(C, *spatial)``, finite.
        shape: New spatial shape.
        across: See `coarse_axis`.

    Returns:
        ``(C, *shape)``.
    """
    out = np.asarray(pixels, np.float32)
    for axis, size in enumerate(shape, start=1):
        old = out.shape[axis]
        if size == old:
            continue
        if axis - 1 == across:
            out = along_axis(interpolation_matrix(old, size, 0), out, axis)
            continue
        edges = [(_MARGIN, _MARGIN) if axis == this else (0, 0) for this in range(out.ndim)]
        margin = np.pad(out, edges, mode="edge")
        weights = ndimage.spline_filter1d(margin, 3, axis, np.float32, "mirror")  # pyright: ignore[reportArgumentType]
        out = along_axis(interpolation_matrix(old, size, 3, _MARGIN), weights, axis)
    return np.ascontiguousarray(out)


def interpolation_matrix(old: int, new: int, order: int, margin: int = 0) -> Matrix:
    """What each of `new` pixels takes from each of `old` ones over the same field, pixel centres aligned.

    Sparse: an image of 100,000 pixels a side needs as little as its rows have taps.

    Args:
        old: Pixels of the source.
        new: Pixels of the result.
        order: Of the spline: 0 nearest, 1 linear, 3 cubic, which takes weights of B-splines for pixels.
        margin: Further pixels on both sides of the source; beyond the last one its value goes on.

    Returns:
        ``(new, old + 2 * margin)``.

    >>> interpolation_matrix(2, 4, 1).toarray().tolist()
    [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]
    """
    centre = (np.arange(new) + 0.5) * old / new
    if order == 0:
        first, taps = nearest(old, new), np.ones((new, 1))
    else:
        first = np.floor(centre - 0.5)
        f = centre - 0.5 - first
        if order == 1:
            taps = np.stack([1 - f, f], 1)
        else:
            first = first - 1
            taps = np.stack([(1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, 1 + 3 * (f + f**2 - f**3), f**3], 1) / 6
    source = first.astype(np.int32)[:, None] + np.arange(taps.shape[1], dtype=np.int32) + margin
    size = old + 2 * margin
    rows = np.arange(0, taps.size + 1, taps.shape[1])
    entries = (taps.astype(np.float32).ravel(), source.clip(0, size - 1).ravel(), rows)
    matrix = sparse.csr_array(entries, shape=(new, size))
    matrix.sum_duplicates()
    return matrix


def nearest(old: int, new: int) -> Int64[np.ndarray, " new"]:
    """The pixel of `old` ones in which the centre of each of `new` ones lies, over the same field.

    >>> nearest(10, 4).tolist()
    [1, 3, 6, 8]
    """
    return ((np.arange(new) + 0.5) * old / new).astype(np.int64)


def along_axis(matrix: Matrix, array: Float32[np.ndarray, "*_"], axis: int) -> Float32[np.ndarray, "*_"]:
    """`array` with the pixels along one axis mixed by `matrix` ``(new, old)``."""
    lines = np.moveaxis(array, axis, 0)
    mixed = matrix @ np.ascontiguousarray(lines).reshape(len(lines), -1)
    return np.moveaxis(mixed.reshape(-1, *lines.shape[1:]), 0, axis)
