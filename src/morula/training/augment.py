"""Random changes to a training patch: one fused spatial field, then intensities.

The patch is cut straight out of the whole image through one displacement field (mirror, rotation, zoom,
shear, perspective and bends together), so that it is interpolated once and has no empty corners.
"""

from collections.abc import Sequence
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

    bend: np.ndarray | None = None
    """Elastic displacement in source pixels on a coarse grid, float32 ``(2, n, n)`` (y, x), or None."""

    shear: float = 0.0
    """By how many pixels a row is shifted against the row before it."""

    tilt: tuple[float, float] = (0.0, 0.0)
    """Perspective (y, x): the zoom grows linearly by this share from the patch's middle to its last pixel."""

    nodes: np.ndarray | None = None
    """As `bend`, but linear between the nodes."""


def draw_view(
    centre: tuple[float, ...], augmentation: Augmentation, rng: Rng, diameter_px: float = 0.0
) -> View:
    """Draw one spatial change around `centre`.

    Args:
        centre: Position in the source, in pixels.
        augmentation: Probabilities and ranges.
        rng: Source of all randomness.
        diameter_px: Of the median object of the source, for `Augmentation.zoom_to_px`; 0: there is none.
    """
    limits = augmentation.zoom
    if augmentation.zoom_to_px is not None and diameter_px > 0:
        smallest, largest = augmentation.zoom_to_px
        limits = (smallest / diameter_px, largest / diameter_px)
    zoomed = rng.random() < augmentation.zoom_probability
    zoom = _between(limits, rng) if zoomed else 1.0
    angle = float(rng.uniform(-np.pi, np.pi)) if rng.random() < augmentation.rotate else 0.0
    if rng.random() < augmentation.quarter_turn:
        angle += int(rng.integers(1, 4)) * np.pi / 2
    bent = rng.random() < augmentation.elastic
    return View(
        centre=centre,
        flips=tuple(bool(rng.random() < augmentation.flip) for _ in centre),
        angle=angle,
        zoom=zoom,
        bend=rng.normal(0, 3, (2, 5, 5)).astype(np.float32) if bent else None,
        shear=float(rng.uniform(-0.3, 0.3)) if rng.random() < augmentation.shear else 0.0,
        tilt=_tilt(rng) if rng.random() < augmentation.perspective else (0.0, 0.0),
        nodes=rng.normal(0, 4, (2, 5, 5)).astype(np.float32)
        if rng.random() < augmentation.piecewise_affine
        else None,
    )


def _between(limits: tuple[float, float], rng: Rng) -> float:
    """A positive number, drawn log-uniformly."""
    return float(np.exp(rng.uniform(*np.log(limits))))


def _tilt(rng: Rng) -> tuple[float, float]:
    """In any direction; over the whole patch the zoom changes by a factor of 2 at most."""
    direction = rng.uniform(0, 2 * np.pi)
    y, x = np.sin(direction), np.cos(direction)
    strength = rng.uniform(0, 1 / 3) / (abs(y) + abs(x))
    return float(strength * y), float(strength * x)


def cut(
    sources: Sequence[Float[np.ndarray, "_ *_"]], labels: Labels, view: View, shape: tuple[int, ...]
) -> tuple[Map, Labels]:
    """The patch of `shape` that `view` sees; outside the source everything is mirrored.

    Args:
        sources: The image and maps that go along with it, ``(C, *spatial)`` each, any float dtype; only the
            needed window is read.
        labels: ``(*spatial)``.
        view: Centre and spatial change.
        shape: Size of the patch, in pixels.

    Returns:
        All channels of all sources, float32 ``(C, *shape)``, linearly interpolated; and labels, nearest.
    """
    rows, columns = _field(view, (shape[-2], shape[-1]))
    top, rows = _window(rows, labels.shape[-2])
    left, columns = _window(columns, labels.shape[-1])
    window = (..., slice(*top), slice(*left))
    pieces, ids = [source[window] for source in sources], labels[window]
    if len(shape) == 3:
        depths = _depths(view, shape[0], labels.shape[0])
        pieces = [_planes(piece, depths) for piece in pieces]
        ids = ids[np.floor(depths + 0.5).astype(np.int64)]
    channels = [plane for piece in pieces for plane in piece.reshape(-1, *piece.shape[-2:])]
    moved = _remap(channels, rows, columns, cv2.INTER_LINEAR)
    # cv2 remaps no 32-bit integers; prepared ids run from 1 to n and are exact in float32 up to 2**24.
    moved_ids = _remap(ids.reshape(-1, *ids.shape[-2:]), rows, columns, cv2.INTER_NEAREST)
    return moved.reshape(-1, *shape), moved_ids.astype(np.int32).reshape(shape)


def _field(view: View, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Source row and column of every pixel of the patch, float32 ``shape`` each."""
    y = (np.arange(shape[0], dtype=np.float32) - (shape[0] - 1) / 2)[:, None] / view.zoom
    x = (np.arange(shape[1], dtype=np.float32) - (shape[1] - 1) / 2)[None, :] / view.zoom
    y = -y if view.flips[-2] else y
    x = -x if view.flips[-1] else x
    x = x + np.float32(view.shear) * y
    if any(view.tilt):
        near = 1 + sum(t * axis for t, axis in zip(view.tilt, _unit_grid(shape), strict=True))
        y, x = y / near, x / near
    cosine, sine = np.float32(np.cos(view.angle)), np.float32(np.sin(view.angle))
    rows = cosine * y - sine * x + np.float32(view.centre[-2])
    columns = sine * y + cosine * x + np.float32(view.centre[-1])
    for grid, how in ((view.bend, cv2.INTER_CUBIC), (view.nodes, cv2.INTER_LINEAR)):
        if grid is not None:
            rows = rows + cv2.resize(grid[0], (shape[1], shape[0]), interpolation=how)
            columns = columns + cv2.resize(grid[1], (shape[1], shape[0]), interpolation=how)
    return rows.astype(np.float32), columns.astype(np.float32)


def _unit_grid(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Row and column from -1 at the first to 1 at the last, ready to be broadcast."""
    y, x = (np.linspace(-1, 1, size, dtype=np.float32) for size in shape)
    return y[:, None], x[None, :]


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
    if positions.min() >= 0 and positions.max() <= size - 1:
        return positions
    period = np.float32(2 * (size - 1))
    folded = np.abs(positions)
    if folded.max() > period:
        folded = np.mod(folded, period)
    return np.minimum(folded, period - folded)


def _depths(view: View, planes: int, size: int) -> np.ndarray:
    """Where each plane of the patch lies in the source: float32 ``(planes,)``, 0 to size - 1."""
    z = (np.arange(planes, dtype=np.float32) - (planes - 1) / 2) / view.zoom
    z = -z if view.flips[0] else z
    depths = _mirrored(z + np.float32(view.centre[0]), size)
    # Without a zoom the source's own planes do: a mean of two thick ones would be neither.
    return depths if view.zoom != 1 else np.floor(depths + 0.5).astype(np.float32)


def _planes(source: np.ndarray, depths: np.ndarray) -> Map:
    """The planes of ``(C, z, y, x)`` at `depths`, linearly interpolated."""
    low = np.floor(depths).astype(np.int64)
    share = (depths - low).astype(np.float32)[:, None, None]
    below = np.asarray(source[:, low], np.float32)
    if not share.any():
        return below
    return below + share * (source[:, np.minimum(low + 1, source.shape[1] - 1)] - below)


def _remap(
    planes: Sequence[np.ndarray] | np.ndarray, rows: np.ndarray, columns: np.ndarray, how: int
) -> np.ndarray:
    border = cv2.BORDER_REPLICATE
    return np.stack(
        [
            cv2.remap(np.ascontiguousarray(p, np.float32), columns, rows, how, borderMode=border)
            for p in planes
        ]
    )


def change_intensity(image: Map, labels: Labels, augmentation: Augmentation, rng: Rng) -> Map:
    """Random intensities: per object and per channel, contrast, gamma, inversion, blur, noise and more.

    Args:
        image: Float32 ``(C, *spatial)``, about 0 to 1.
        labels: The same patch's instances, for the change per object.
        augmentation: Probabilities and ranges.
        rng: Source of all randomness.
    """
    out = image.copy()
    if rng.random() < augmentation.per_object:
        factors = rng.uniform(0.6, 1.4, int(labels.max(initial=0)) + 1).astype(np.float32)
        factors[0] = 1
        out *= factors[np.maximum(labels, 0)]
    if rng.random() < augmentation.intensity:
        out = out * np.float32(rng.uniform(0.5, 1.5)) + np.float32(rng.uniform(-0.15, 0.15))
    if rng.random() < augmentation.faint:
        gain = _between((0.15, 1.0), rng)
        out = out * np.float32(gain) + np.float32(rng.uniform(0, 1 - gain))
    if rng.random() < augmentation.pseudo_colour:
        out = _pseudo_colour(out, rng)
    if rng.random() < augmentation.colour:
        shape = (len(out), *[1] * (out.ndim - 1))
        gain, offset = rng.uniform(0.7, 1.3, shape), rng.uniform(-0.1, 0.1, shape)
        out = out * gain.astype(np.float32) + offset.astype(np.float32)
    if rng.random() < augmentation.gamma:
        out = _gamma(out, _between(augmentation.gamma_range, rng))
    if rng.random() < augmentation.histogram:
        out = _bend_histogram(out, float(rng.random()))
    if rng.random() < augmentation.invert:
        out = 1 - out
    if rng.random() < augmentation.shuffle:
        out = out[rng.permutation(len(out))]
    return np.ascontiguousarray(_degrade(out, augmentation, rng), np.float32)


def _pseudo_colour(image: Map, rng: Rng) -> Map:
    """A grey patch in some of its channels only; each of the others is empty, or another stain.

    The other stain is a random texture, all over the patch or around what is bright in it (a cytoplasm).
    """
    if len(image) < 2 or not np.array_equal(image[1:], image[:-1]):
        return image
    out = image.copy()
    emptied = rng.permutation(len(image))[: rng.integers(1, len(image))]
    for channel in emptied:
        if rng.random() < 0.5:
            out[channel] = 0
            continue
        # Smooth like staining, or fine like noise: in between it would look like objects.
        nodes = int(rng.integers(3, 9) if rng.random() < 0.5 else rng.integers(64, 257))
        texture = np.abs(rng.normal(0, 0.7, (nodes, nodes))).astype(np.float32)
        size = (image.shape[-1], image.shape[-2])
        out[channel] = cv2.resize(texture, size, interpolation=cv2.INTER_CUBIC)
        if rng.random() < 0.5:
            out[channel] *= _blur(image[:1], float(rng.uniform(3, 12)))[0]
    return out


def _degrade(image: Map, augmentation: Augmentation, rng: Rng) -> Map:
    """What optics, camera and file do: shading, blur, coarse pixels, relief, noise, dead pixels, JPEG."""
    if rng.random() < augmentation.uneven:
        image = _shade(image, rng.normal(0, 1, (2, 3, 3)).astype(np.float32))
    if rng.random() < augmentation.blur:
        image = _blur(image, float(rng.uniform(*augmentation.blur_px)))
    if rng.random() < augmentation.low_resolution:
        image = _coarsen(image, float(rng.uniform(0.5, 1)))
    if rng.random() < augmentation.emboss:
        image = _emboss(image, float(rng.uniform(0, 1)), float(rng.uniform(0, 1)))
    if rng.random() < augmentation.noise:
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        image = image + np.float32(rng.uniform(*augmentation.noise_range)) * noise
    if rng.random() < augmentation.pixel_dropout:
        image = image * (rng.random(image.shape[1:], dtype=np.float32) >= rng.uniform(0, 0.05))
    if rng.random() < augmentation.compression:
        image = _compress(image, int(rng.integers(20, 91)))
    return image


def _shade(image: Map, nodes: np.ndarray) -> Map:
    """Gain and offset that are smooth between the `nodes` ``(2, n, n)`` of a coarse grid, one for all."""
    size = (image.shape[-1], image.shape[-2])
    gain, offset = (cv2.resize(grid, size, interpolation=cv2.INTER_CUBIC) for grid in nodes)
    return image * np.float32(2) ** (np.float32(0.5) * gain) + np.float32(0.1) * offset


def _compress(image: Map, quality: int) -> Map:
    """Through a JPEG file and back, plane by plane; what lies outside -0.25 to 1.25 is clipped."""
    planes = image.reshape(-1, *image.shape[-2:])
    levels = np.clip((planes + 0.25) * (255 / 1.5), 0, 255).round().astype(np.uint8)
    files = [cv2.imencode(".jpg", plane, [cv2.IMWRITE_JPEG_QUALITY, quality])[1] for plane in levels]
    read = np.stack([np.asarray(cv2.imdecode(file, cv2.IMREAD_GRAYSCALE)) for file in files])
    return (read.astype(np.float32) * np.float32(1.5 / 255) - np.float32(0.25)).reshape(image.shape)


def _gamma(image: Map, gamma: float) -> Map:
    low, high = image.min(), image.max()
    span = np.float32(max(float(high - low), 1e-6))
    return ((image - low) / span) ** np.float32(gamma) * span + low


def _bend_histogram(image: Map, middle: float) -> Map:
    """A line with one bend: the middle of the image's range goes to the share `middle` of it."""
    low, high = image.min(), image.max()
    span = np.float32(max(float(high - low), 1e-6))
    share = (image - low) / span
    dark, bright = 2 * middle * share, middle + (2 - 2 * middle) * (share - 0.5)
    return np.where(share < 0.5, dark, bright).astype(np.float32) * span + low


def _coarsen(image: Map, factor: float) -> Map:
    """The nearest pixels of a grid `factor` times as fine, enlarged again by cubic splines (nnU-Net)."""
    shape = image.shape[1:]
    picks = [_nearest(size, max(1, round(size * factor))) for size in shape]
    small = image[(slice(None), *np.ix_(*picks))]
    size = (shape[-1], shape[-2])
    planes = small.reshape(-1, *small.shape[-2:])
    wide = np.stack([cv2.resize(plane, size, interpolation=cv2.INTER_CUBIC) for plane in planes])
    if len(shape) == 2:
        return wide
    columns = wide.reshape(len(image), len(picks[0]), -1)
    size = (columns.shape[-1], shape[0])
    tall = np.stack([cv2.resize(slab, size, interpolation=cv2.INTER_CUBIC) for slab in columns])
    return tall.reshape(image.shape)


def _nearest(size: int, count: int) -> np.ndarray:
    """Index of the pixel at the middle of each of `count` equal parts of `size` pixels."""
    return ((np.arange(count) + 0.5) * size / count).astype(np.int64)


def _emboss(image: Map, share: float, strength: float) -> Map:
    """`share` of a relief lit along the diagonal, the rest the image; a flat image stays as it is."""
    relief = np.array([[-1, 0, 0], [0, 1, 0], [0, 0, 1]]) + strength * np.array(
        [[-1, -1, 0], [-1, 0, 1], [0, 1, 1]]
    )
    same = np.zeros((3, 3))
    same[1, 1] = 1
    kernel = ((1 - share) * same + share * relief).astype(np.float32)
    planes = image.reshape(-1, *image.shape[-2:])
    return np.stack([cv2.filter2D(plane, -1, kernel) for plane in planes]).reshape(image.shape)


def _blur(image: Map, sigma: float) -> Map:
    planes = image.reshape(-1, *image.shape[-2:])
    return np.stack([cv2.GaussianBlur(p, (0, 0), sigma) for p in planes]).reshape(image.shape)
