"""Random changes to a training patch: one fused spatial field, then intensities.

The patch is cut straight out of the whole image through one displacement field (mirror, rotation, zoom,
elastic deformation together), so that it is interpolated once and has no empty corners.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float

from morula.planning.plan import Augmentation
from morula.types import Labels, Map

Rng = np.random.Generator


@dataclass(frozen=True)
class View:
    """Where a patch is cut and how it is turned: the random draw behind one spatial change."""

    centre: tuple[float, ...]
    """Position in the source, in pixels, per spatial axis."""

    flips: tuple[bool, ...]
    """Mirrored or not, per spatial axis."""

    angle: float
    """Rotation in the plane of the last two axes, in radians."""

    zoom: float
    """Above 1 the objects become larger."""

    bend: np.ndarray | None
    """Elastic displacement in source pixels on a coarse grid, float32 ``(2, n, n)`` (y, x), or None."""


def draw_view(centre: tuple[float, ...], augmentation: Augmentation, rng: Rng) -> View:
    """Draw one spatial change around `centre`."""
    low, high = augmentation.zoom
    zoomed = rng.random() < augmentation.zoom_probability
    zoom = float(np.exp(rng.uniform(np.log(low), np.log(high)))) if zoomed else 1.0
    turned = rng.random() < augmentation.rotate
    bent = rng.random() < augmentation.elastic
    return View(
        centre=centre,
        flips=tuple(bool(rng.random() < augmentation.flip) for _ in centre),
        angle=float(rng.uniform(-np.pi, np.pi)) if turned else 0.0,
        zoom=zoom,
        bend=rng.normal(0, 3, (2, 5, 5)).astype(np.float32) if bent else None,
    )


def cut(
    image: Float[np.ndarray, "_ *_"], labels: Labels, view: View, shape: tuple[int, ...]
) -> tuple[Map, Labels]:
    """The patch of `shape` that `view` sees; outside the source everything is mirrored.

    Args:
        image: ``(C, *spatial)``, any float dtype; only the needed window is read.
        labels: ``(*spatial)``.
        view: Centre and spatial change.
        shape: Size of the patch, in pixels.

    Returns:
        Image float32 ``(C, *shape)``, linearly interpolated, and labels, nearest.
    """
    rows, columns = _field(view, (shape[-2], shape[-1]))
    top, rows = _window(rows, image.shape[-2])
    left, columns = _window(columns, image.shape[-1])
    window = (*top, *left)
    source = image[..., window[0] : window[1], window[2] : window[3]]
    ids = labels[..., window[0] : window[1], window[2] : window[3]]
    if len(shape) == 3:
        depth = _depths(view, shape[0], labels.shape[0])
        source, ids = source[:, depth], ids[depth]
    planes = np.asarray(source, np.float32).reshape(-1, *source.shape[-2:])
    moved = _remap(planes, rows, columns, cv2.INTER_LINEAR)
    # cv2 remaps no 32-bit integers; prepared ids run from 1 to n and are exact in float32 up to 2**24.
    id_planes = np.asarray(ids, np.float32).reshape(-1, *source.shape[-2:])
    moved_ids = _remap(id_planes, rows, columns, cv2.INTER_NEAREST).astype(np.int32)
    return moved.reshape(image.shape[0], *shape), moved_ids.reshape(shape)


def _field(view: View, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Source row and column of every pixel of the patch, float32 ``shape`` each."""
    y = (np.arange(shape[0], dtype=np.float32) - (shape[0] - 1) / 2)[:, None] / view.zoom
    x = (np.arange(shape[1], dtype=np.float32) - (shape[1] - 1) / 2)[None, :] / view.zoom
    y = -y if view.flips[-2] else y
    x = -x if view.flips[-1] else x
    cosine, sine = np.float32(np.cos(view.angle)), np.float32(np.sin(view.angle))
    rows = cosine * y - sine * x + np.float32(view.centre[-2])
    columns = sine * y + cosine * x + np.float32(view.centre[-1])
    if view.bend is not None:
        size = (shape[1], shape[0])
        rows = rows + cv2.resize(view.bend[0], size, interpolation=cv2.INTER_CUBIC)
        columns = columns + cv2.resize(view.bend[1], size, interpolation=cv2.INTER_CUBIC)
    return rows.astype(np.float32), columns.astype(np.float32)


def _window(positions: np.ndarray, size: int) -> tuple[tuple[int, int], np.ndarray]:
    """The range of the source that is needed, and the positions, mirrored into it, relative to it."""
    positions = _mirrored(positions, size)
    first = int(np.floor(positions.min()))
    last = min(int(np.ceil(positions.max())) + 1, size)
    return (first, last), positions - np.float32(first)


def _mirrored(positions: np.ndarray, size: int) -> np.ndarray:
    """Positions outside 0 .. size - 1 folded back, as often as needed; the edge is not repeated."""
    if size == 1:
        return np.zeros_like(positions)
    period = np.float32(2 * (size - 1))
    folded = np.abs(np.mod(positions, period))
    return np.minimum(folded, period - folded).astype(np.float32)


def _depths(view: View, planes: int, size: int) -> np.ndarray:
    z = (np.arange(planes, dtype=np.float32) - (planes - 1) / 2) / view.zoom
    z = -z if view.flips[0] else z
    return np.rint(_mirrored(z + np.float32(view.centre[0]), size)).astype(np.int64)


def _remap(planes: np.ndarray, rows: np.ndarray, columns: np.ndarray, how: int) -> np.ndarray:
    border = cv2.BORDER_REPLICATE
    return np.stack(
        [cv2.remap(np.ascontiguousarray(p), columns, rows, how, borderMode=border) for p in planes]
    )


def change_intensity(image: Map, labels: Labels, augmentation: Augmentation, rng: Rng) -> Map:
    """Random intensities: per object, contrast, gamma, inversion, channels, blur, noise.

    Args:
        image: Float32 ``(C, *spatial)``, about 0 to 1.
        labels: The same patch's instances, for the change per object.
        augmentation: Probabilities.
        rng: Source of all randomness.
    """
    out = image.copy()
    if rng.random() < augmentation.per_object:
        factors = rng.uniform(0.6, 1.4, int(labels.max(initial=0)) + 1).astype(np.float32)
        factors[0] = 1
        out *= factors[np.maximum(labels, 0)]
    if rng.random() < augmentation.intensity:
        out = out * np.float32(rng.uniform(0.5, 1.5)) + np.float32(rng.uniform(-0.15, 0.15))
    if rng.random() < augmentation.colour:
        shape = (len(out), *[1] * (out.ndim - 1))
        gain, offset = rng.uniform(0.7, 1.3, shape), rng.uniform(-0.1, 0.1, shape)
        out = out * gain.astype(np.float32) + offset.astype(np.float32)
    if rng.random() < augmentation.gamma:
        out = _gamma(out, float(np.exp(rng.uniform(np.log(0.6), np.log(1.6)))))
    if rng.random() < augmentation.invert:
        out = 1 - out
    if rng.random() < augmentation.shuffle:
        out = out[rng.permutation(len(out))]
    if rng.random() < augmentation.blur:
        out = _blur(out, float(rng.uniform(0.5, 1.5)))
    if rng.random() < augmentation.noise:
        noise = rng.standard_normal(out.shape, dtype=np.float32)
        out = out + np.float32(rng.uniform(0, 0.1)) * noise
    return np.ascontiguousarray(out, np.float32)


def _gamma(image: Map, gamma: float) -> Map:
    low, high = image.min(), image.max()
    span = np.float32(max(float(high - low), 1e-6))
    return ((image - low) / span) ** np.float32(gamma) * span + low


def _blur(image: Map, sigma: float) -> Map:
    planes = image.reshape(-1, *image.shape[-2:])
    return np.stack([cv2.GaussianBlur(p, (0, 0), sigma) for p in planes]).reshape(image.shape)


def paste_objects(
    image: Map, labels: Labels, other: tuple[Map, Labels], rng: Rng, share: float = 0.5
) -> tuple[Map, Labels]:
    """Copy-paste: a random share of another patch's objects replaces what lies below them.

    Ghiasi et al. 2021, https://arxiv.org/abs/2012.07177.

    Args:
        image: Float32 ``(C, *spatial)``.
        labels: ``(*spatial)``.
        other: Image and labels of another patch of the same shape.
        rng: Source of all randomness.
        share: Chance of each object to be pasted.
    """
    other_image, other_labels = other
    ids = np.unique(other_labels)
    ids = ids[ids > 0]
    chosen = ids[rng.random(len(ids)) < share]
    if not len(chosen):
        return image, labels
    table = np.zeros(int(ids[-1]) + 1, np.int32)
    table[chosen] = np.arange(len(chosen), dtype=np.int32) + int(max(labels.max(), 0)) + 1
    pasted = table[np.maximum(other_labels, 0)]
    over = pasted > 0
    return np.where(over, other_image, image), np.where(over, pasted, labels).astype(np.int32)
