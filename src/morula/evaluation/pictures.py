"""Pictures for the report: images as people look at them, with outlines coloured by right and wrong."""

import base64
from pathlib import Path

import numpy as np

from morula.data.files import write_atomic
from morula.data.sample import Image
from morula.errors import InputError
from morula.labels.matching import matched_pairs
from morula.types import Labels

# Teal against orange and magenta: told apart with every common kind of colour blindness, on dark and bright.
RIGHT = (64, 224, 208)
"""Outline of a matched object."""

MISSED = (255, 82, 170)
"""Outline of a true object without a partner."""

FALSE = (255, 159, 28)
"""Outline of a predicted object without a partner."""

UNKNOWN = (128, 128, 128)
"""Shade of pixels that are not annotated."""

PANEL_PX = 560
"""Longest side of one panel."""

GAP_PX = 6
"""Between two panels."""

JPEG_QUALITY = 84


def draw_comparison(image: Image | None, truth: Labels, predicted: Labels) -> np.ndarray:
    """Truth on the left, prediction on the right, outlined over the image.

    Matched objects (IoU of at least 0.5) are outlined in teal, missed ones in magenta (left), false ones in
    orange (right). Of a volume, the slice with the most annotated foreground is drawn.

    Args:
        image: The picture below; the outlines stand on black when None, or when its grid is another one.
        truth: ``(*spatial)``; -1 is shaded.
        predicted: ``(*spatial)``.

    Returns:
        uint8 RGB ``(y, x, 3)``.
    """
    plane = _busiest_plane(truth)
    truth_ids, predicted_ids, _ = matched_pairs(truth, predicted, 0.5)
    fits = image is not None and image.pixels.shape[1:] == truth.shape
    pixels = (
        image.pixels[:, *plane]
        if image is not None and fits
        else np.zeros((1, *truth[plane].shape), np.uint8)
    )
    picture = to_rgb(pixels)
    left = _outlined(picture, truth[plane], truth_ids, MISSED)
    right = _outlined(picture, predicted[plane], predicted_ids, FALSE)
    gap = np.full((len(left), GAP_PX, 3), 255, np.uint8)
    return np.concatenate([left, gap, right], 1)


def to_rgb(pixels: np.ndarray) -> np.ndarray:
    """A plane ``(C, y, x)`` of any dtype as uint8 RGB ``(y, x, 3)``, stretched from percentile 0.5 to 99.8.

    One channel is shown grey, three as they are, others as their mean. Eight-bit colour keeps its own scale.
    """
    if len(pixels) == 3 and pixels.dtype == np.uint8:
        return np.ascontiguousarray(np.moveaxis(pixels, 0, -1))
    values = np.nan_to_num(pixels.astype(np.float32), posinf=0.0, neginf=0.0)
    chosen = values if len(values) == 3 else values.mean(0, keepdims=True)
    low, high = np.percentile(chosen, [0.5, 99.8])
    scaled = np.clip((chosen - low) / max(high - low, 1e-6), 0, 1) * 255
    return np.ascontiguousarray(
        np.moveaxis(np.broadcast_to(scaled, (3, *scaled.shape[1:])), 0, -1).astype(np.uint8)
    )


def write_jpeg(path: Path, picture: np.ndarray) -> None:
    """Write uint8 RGB ``(y, x, 3)`` as JPEG; missing folders are made.

    Raises:
        InputError: It cannot be written.
    """
    with write_atomic(path) as part:
        part.write_bytes(_jpeg(picture))


def embed(path: Path, *, longest_px: int = 2 * PANEL_PX + GAP_PX) -> str:
    """A picture file as a ``data:`` address, no larger than `longest_px`.

    Raises:
        InputError: It is missing or no picture.
    """
    import cv2

    content = path.read_bytes() if path.is_file() else b""
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB) if content else None
    if picture is None:
        msg = f"{path} is no picture that can be shown. Make it again."
        raise InputError(msg)
    scale = longest_px / max(picture.shape[:2])
    if scale < 1 or path.suffix.lower() not in (".jpg", ".jpeg"):
        content = _jpeg(_scaled(picture, min(1.0, scale), cv2.INTER_AREA))
    return "data:image/jpeg;base64," + base64.b64encode(content).decode("ascii")


def _busiest_plane(labels: Labels) -> tuple[int, ...]:
    """Index of the slice of a volume with the most foreground; nothing in 2D."""
    if labels.ndim == 2:
        return ()
    return (int((labels > 0).sum((1, 2)).argmax()),)


def _outlined(
    picture: np.ndarray, labels: Labels, matched: np.ndarray, alone: tuple[int, int, int]
) -> np.ndarray:
    """`picture` at panel size with outlines: objects in `matched` in teal, the others in `alone`."""
    import cv2

    scale = PANEL_PX / max(labels.shape)
    enlarged = _scaled(picture, scale, cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    grid = cv2.resize(labels, enlarged.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    panel = enlarged.copy()
    panel[grid < 0] = (panel[grid < 0] // 2 + np.array(UNKNOWN) // 2).astype(np.uint8)
    outline = _boundaries(grid)
    hit = np.isin(grid, matched)
    panel[outline & hit] = RIGHT
    panel[outline & ~hit] = alone
    return panel


def _boundaries(labels: np.ndarray) -> np.ndarray:
    """Pixels of an object with another id above, below, left or right: a line of one to two pixels."""
    edge = np.zeros(labels.shape, bool)
    for axis in range(2):
        ahead = [slice(None)] * 2
        behind = [slice(None)] * 2
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        differs = labels[tuple(ahead)] != labels[tuple(behind)]
        edge[tuple(ahead)] |= differs
        edge[tuple(behind)] |= differs
    return edge & (labels > 0)


def _scaled(picture: np.ndarray, scale: float, interpolation: int) -> np.ndarray:
    import cv2

    height, width = (max(1, round(size * scale)) for size in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=interpolation)


def _jpeg(picture: np.ndarray) -> bytes:
    import cv2

    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    good, content = cv2.imencode(".jpg", np.ascontiguousarray(picture[..., ::-1]), quality)
    if not good:
        msg = f"a picture of shape {picture.shape} cannot be written as JPEG; expected uint8 (y, x, 3)."
        raise InputError(msg)
    return content.tobytes()
