"""Pictures of images with their objects' outlines, for people to look at.

Outlines are thin and smooth, just inside their objects, so that touching ones lie side by side; neighbours
have different colours. With the truth given, the colours say what was found, invented and missed.
"""

from typing import no_type_check

import cv2
import numpy as np
from jaxtyping import Int64, UInt8
from numba import njit

from morula.data.sample import Image
from morula.errors import InputError
from morula.labels.matching import matched_pairs
from morula.labels.outlines import Outlines, outlines
from morula.types import Labels, Mask

Picture = UInt8[np.ndarray, "_ _ 3"]
"""RGB, ``(y, x, 3)``."""

SMALLEST = 1100
"""Small images are enlarged by a whole factor until their longer side has about this many pixels."""

LARGEST = 1600
"""Larger images are shrunk until their longer side has this many pixels."""

ON_DARK = (
    (255, 214, 10),
    (48, 209, 255),
    (255, 69, 132),
    (80, 230, 120),
    (255, 149, 30),
    (190, 140, 255),
    (225, 250, 110),
    (120, 255, 235),
)
"""Light, saturated colours for bright objects on black."""

ON_LIGHT = (
    (0, 160, 60),
    (0, 120, 255),
    (255, 110, 0),
    (0, 190, 190),
    (235, 20, 30),
    (230, 180, 0),
    (90, 205, 0),
    (255, 60, 150),
)
"""Strong colours that purple, brown and grey objects do not have, for stained tissue and brightfield."""

FOUND, INVENTED, MISSED = (64, 224, 208), (255, 159, 28), (255, 82, 170)
"""Colours where the truth is known: matched at IoU 0.5; predicted, and true, without a partner."""

JPEG_QUALITY = 88

_CHANNEL_COLOURS = ((0, 1, 0), (1, 0, 1), (0, 0.6, 1), (1, 0.8, 0), (1, 0.2, 0.2), (0.6, 0.6, 0.6))
_LIGHT = 110
_GAP_PX = 8
_NEIGHBOURHOOD_PX = 4
_SPARSE_PX = 256
_SUBPIXEL_BITS = 4


def draw_overlay(
    image: Image, labels: Labels, truth: Labels | None = None, *, smallest: int = SMALLEST
) -> Picture:
    """The image, contrast-stretched, with the outline of every object.

    Volumes are shown twice, side by side: the plane with most object pixels, and from above (the
    brightest value along z, the objects as they are first met).

    Args:
        image: ``(C, *spatial)``; red, green and blue are shown as such, others in colours of their own.
        labels: Ids ``(*spatial)``.
        truth: True ids ``(*spatial)``: found objects are teal then, invented ones orange, missed magenta.
        smallest: Smaller images are enlarged until their longer side has about this many pixels.
    """
    if labels.ndim == 2:
        return _draw_plane(image, labels, truth, smallest)
    z = fullest_plane(labels)
    plane = Image(image.pixels[:, z], image.channels)
    above = Image(image.pixels.max(1), image.channels)
    panels = (
        _draw_plane(plane, labels[z], None if truth is None else truth[z], smallest),
        _draw_plane(above, first_met(labels), None if truth is None else first_met(truth), smallest),
    )
    gap = np.full((panels[0].shape[0], _GAP_PX, 3), 255, np.uint8)
    return np.concatenate([panels[0], gap, panels[1]], 1)


def fullest_plane(labels: Labels) -> int:
    """The plane of a volume ``(z, y, x)`` with most object pixels; the middle one when there are none."""
    counts = [np.count_nonzero(plane > 0) for plane in labels]
    return int(np.argmax(counts)) if max(counts) else len(counts) // 2


def first_met(labels: Labels) -> Labels:
    """A volume ``(z, y, x)`` seen from above: per column the first object, else 0."""
    flat = np.zeros(labels.shape[1:], np.int32)
    for plane in labels:
        np.copyto(flat, plane, where=(flat <= 0) & (plane > 0))
    return flat


def _draw_plane(image: Image, labels: Labels, truth: Labels | None, smallest: int) -> Picture:
    factor = _factor(labels.shape, smallest)
    height, width = (max(1, round(n * factor)) for n in labels.shape)
    picture = _render(image, (height, width))
    coarse = _shrink(labels, (height, width))
    zoom = (height / coarse.shape[0], width / coarse.shape[1])
    if truth is not None:
        return _draw_agreement(picture, coarse, _shrink(truth, (height, width)), zoom)
    found = outlines(coarse, every_edge=True)
    return _draw(picture, found, _distinct_colours(coarse, found, _palette(picture)), zoom)


def _draw_agreement(picture: Picture, labels: Labels, truth: Labels, zoom: tuple[float, float]) -> Picture:
    true_ids, predicted_ids, _ = matched_pairs(truth, labels)
    missed = outlines(truth, every_edge=True)
    # A matched true object would only double the outline of its partner.
    missed = _only(missed, ~np.isin(missed.ids, true_ids))
    picture = _draw(picture, missed, np.tile(np.array(MISSED, np.uint8), (len(missed.ids), 1)), zoom)
    found = outlines(labels, every_edge=True)
    matched = np.isin(found.ids, predicted_ids)[:, None]
    return _draw(picture, found, np.where(matched, FOUND, INVENTED).astype(np.uint8), zoom)


def _only(found: Outlines, keep: Mask) -> Outlines:
    rings = np.flatnonzero(keep)
    corners = [found.ring(int(ring)) for ring in rings] or [np.zeros((0, 2), np.int32)]
    ends = np.cumsum([len(found.ring(int(ring))) for ring in rings], dtype=np.int64)
    return Outlines(found.ids[rings], found.areas[rings], ends, np.concatenate(corners))


def _factor(shape: tuple[int, ...], smallest: int) -> float:
    longest = max(shape)
    if longest > LARGEST:
        return LARGEST / longest
    return float(max(1, min(8, round(smallest / longest))))


def _render(image: Image, shape: tuple[int, int]) -> Picture:
    """A plane ``(C, y, x)`` as a picture of another size."""
    # Far more pixels than needed: most are not even looked at.
    step = max(1, min(n // (2 * m) for n, m in zip(image.pixels.shape[1:], shape, strict=True)))
    few = np.moveaxis(image.pixels[:, ::step, ::step], 0, -1)
    if few.dtype.kind == "f" or few.dtype.itemsize > 2:
        few = np.nan_to_num(few.astype(np.float32), copy=False, posinf=0.0, neginf=0.0)
    if few.shape[0] > shape[0] and few.dtype in (np.uint8, np.uint16, np.float32):
        # Before anything is computed: large pictures shrink.
        few = cv2.resize(np.ascontiguousarray(few), shape[::-1], interpolation=cv2.INTER_AREA)
    rgb = _to_rgb(few.astype(np.float32, copy=False).reshape(*few.shape[:2], -1), image.channels)
    if rgb.shape[:2] != shape:
        rgb = cv2.resize(rgb, shape[::-1], interpolation=cv2.INTER_CUBIC).reshape(*shape, -1).clip(0, 1)
    picture = (rgb * 255).astype(np.uint8)
    return picture if picture.shape[-1] == 3 else np.repeat(picture, 3, -1)


def _shrink(labels: Labels, shape: tuple[int, int]) -> Labels:
    """Labels on a grid not finer than the picture's: outlines are enlarged as polygons, not as pixels."""
    if labels.shape[0] <= shape[0]:
        return labels
    rows, columns = (
        ((np.arange(m) + 0.5) * (n / m)).astype(int) for n, m in zip(labels.shape, shape, strict=True)
    )
    return np.ascontiguousarray(labels[np.ix_(rows, columns)])


def _to_rgb(pixels: np.ndarray, channels: tuple[str, ...]) -> np.ndarray:
    """Channels-last pixels as RGB or grey, 0 to 1, stretched from the 0.3rd to the 99.8th percentile."""
    if channels[:3] == ("red", "green", "blue"):
        # One range for all three: hues stay as they are.
        return _unit(pixels[..., :3])
    if len(channels) == 1:
        return _lift(_unit(pixels))
    total = np.zeros((*pixels.shape[:2], 3), np.float32)
    for index in range(pixels.shape[-1]):
        colour = np.array(_CHANNEL_COLOURS[index % len(_CHANNEL_COLOURS)], np.float32)
        total += _lift(_unit(pixels[..., index : index + 1])) * colour
    return total


def _unit(values: np.ndarray) -> np.ndarray:
    low, high = np.percentile(_sparse(values), [0.3, 99.8]).astype(np.float32)
    if high <= low:
        # A few objects on an even ground: the whole range shows them.
        low, high = float(values.min()), float(values.max())
    scaled = (values - low) * np.float32(1 / (high - low if high > low else 1))
    return np.clip(scaled, 0, 1, out=scaled)


def _sparse(values: np.ndarray) -> np.ndarray:
    """Every n-th row and column: enough to see how light a picture is."""
    step = max(1, min(values.shape[:2]) // _SPARSE_PX)
    return values[::step, ::step]


def _lift(grey: np.ndarray) -> np.ndarray:
    """Mostly dark pictures get a gamma that lifts their faint objects."""
    return grey**0.6 if np.median(_sparse(grey)) < 0.2 else grey


def _palette(picture: Picture) -> np.ndarray:
    return np.array(ON_LIGHT if np.median(_sparse(picture)) > _LIGHT else ON_DARK, np.uint8)


def _distinct_colours(labels: Labels, found: Outlines, palette: np.ndarray) -> np.ndarray:
    """RGB ``(rings, 3)``: objects within a few pixels of each other differ as long as the palette lasts."""
    ids, objects = np.unique(found.ids, return_inverse=True)
    first = np.full(len(ids), len(found.ids))
    np.minimum.at(first, objects, np.arange(len(objects)))
    chosen = _choose(len(ids), _neighbours(labels, ids), np.argsort(first), len(palette))
    return palette[chosen[objects]]


def _neighbours(labels: Labels, ids: np.ndarray) -> Int64[np.ndarray, "_ 2"]:
    """Pairs of ranks in `ids` whose objects lie within a few pixels of each other along an axis."""
    ranks = np.zeros(int(ids[-1]) + 1 if len(ids) else 1, np.int64)
    ranks[ids] = np.arange(len(ids))
    found = np.empty(4 * sum(labels.shape), np.int64)
    used = _near(labels, ranks, len(ids), _NEIGHBOURHOOD_PX, found)
    if used > len(found):
        found = np.empty(used, np.int64)
        _near(labels, ranks, len(ids), _NEIGHBOURHOOD_PX, found)
    low, high = np.divmod(np.unique(found[:used]), max(1, len(ids)))
    return np.unique(np.concatenate([np.stack([low, high], 1), np.stack([high, low], 1)]), axis=0)


@njit(cache=True, nogil=True)
@no_type_check
def _met(labels, y, x, up, left, reach):
    """The object that is met first, going back from a pixel; -1 where that is too far."""
    for step in range(1, reach + 1):
        if y < step * up or x < step * left:
            break
        other = labels[y - step * up, x - step * left]
        if other > 0:
            return np.int64(other)
    return np.int64(-1)


@njit(cache=True, nogil=True)
@no_type_check
def _near(labels, ranks, count, reach, found):
    """Pairs as ``rank * count + rank``, with repeats: of each object pixel and the one met first going back.

    Returns how many there are; those that `found` has no room for are counted only. (An array that grows in
    the loop would make it ten times slower.)
    """
    height, width = labels.shape
    used = 0
    for y in range(height):
        for x in range(width):
            label = labels[y, x]
            if label <= 0:
                continue
            for other in (_met(labels, y, x, 0, 1, reach), _met(labels, y, x, 1, 0, reach)):
                if other >= 0 and other != label:
                    if used < len(found):
                        found[used] = ranks[other] * count + ranks[label]
                    used += 1
    return used


@njit(cache=True, nogil=True)
@no_type_check
def _choose(count, pairs, order, colours):
    """Greedy: each object takes the colour that its neighbours, and the picture so far, use least."""
    start = np.searchsorted(pairs[:, 0], np.arange(count + 1))
    chosen = np.full(count, -1, np.int64)
    used = np.zeros(colours, np.int64)
    for node in order:
        cost = used.copy()
        for k in range(start[node], start[node + 1]):
            other = chosen[pairs[k, 1]]
            if other >= 0:
                cost[other] += count + 1
        chosen[node] = cost.argmin()
        used[chosen[node]] += 1
    return chosen


def _draw(picture: Picture, found: Outlines, colours: np.ndarray, zoom: tuple[float, float]) -> Picture:
    """Smooth lines on a copy of the picture, from corners along every pixel edge."""
    drawn = picture.copy()
    if not len(found.ids):
        return drawn
    # Small outlines in shrunk pictures stay one pixel wide; enlarged ones get a bit more.
    thickness = 1 if min(zoom) < 2 else 2
    points = _inset(found.corners, found.ends, 0.5 if min(zoom) > 1 else 0.3) * np.array(zoom)
    # OpenCV counts from pixel centres, corners from pixel edges.
    fixed = np.round((points[:, ::-1] - 0.5) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    start = 0
    for end, colour in zip(found.ends.tolist(), colours.tolist(), strict=True):
        cv2.polylines(drawn, [fixed[start:end]], True, colour, thickness, cv2.LINE_AA, shift=_SUBPIXEL_BITS)
        start = end
    return drawn


@njit(cache=True, nogil=True)
@no_type_check
def _inset(corners, ends, depth):
    """Middles of the pixel edges, moved `depth` pixels into the object and smoothed along the ring."""
    points = np.empty((len(corners), 2))
    smooth = np.empty((len(corners), 2))
    start = 0
    for end in ends:
        size = end - start
        for i in range(size):
            y0, x0 = corners[start + i, 0], corners[start + i, 1]
            y1, x1 = corners[start + (i + 1) % size, 0], corners[start + (i + 1) % size, 1]
            # The object is on the right of the edge.
            points[start + i, 0] = (y0 + y1) / 2 + depth * (x1 - x0)
            points[start + i, 1] = (x0 + x1) / 2 - depth * (y1 - y0)
        for i in range(size):
            before, after = start + (i - 1) % size, start + (i + 1) % size
            far, beyond = start + (i - 2) % size, start + (i + 2) % size
            # Number by number: rows would each become an array of their own.
            for axis in range(2):
                near = 3 * points[start + i, axis] + 2 * (points[before, axis] + points[after, axis])
                smooth[start + i, axis] = (near + points[far, axis] + points[beyond, axis]) / 9
        start = end
    return smooth


def jpeg(picture: Picture) -> bytes:
    """A picture as the content of a JPEG file; thin outlines keep their colours.

    Raises:
        InputError: It is no uint8 ``(y, x, 3)``.
    """
    fine = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
    settings = (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, *fine)
    good, content = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), settings)
    if not good:
        msg = f"a picture of shape {picture.shape} cannot be written as JPEG; expected uint8 (y, x, 3)."
        raise InputError(msg)
    return content.tobytes()
