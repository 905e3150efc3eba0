"""Pictures for the report: truth beside prediction, and picture files as text that a page can hold."""

import base64
from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from morula.data.files import write_atomic
from morula.data.sample import Image
from morula.errors import InputError
from morula.types import Labels, Mask

PANEL_PX = 720
"""Longest side of one panel."""

GAP_PX = 8
GAP_COLOUR = 128
"""Between two panels."""


@dataclass
class WorstPictures:
    """Comparisons of the images with the lowest scores, drawn while the labels are in memory."""

    most: int
    """Pictures that are kept."""

    image_of: Callable[[str], Image | None]
    """The picture below the outlines by id; where it raises `InputError`, they stand on black."""

    kept: list[tuple[float, str, bytes]] = field(default_factory=list)
    """Score, id and JPEG, the lowest score first."""

    def offer(self, name: str, score: float, truth: Labels, predicted: Labels) -> None:
        """Draw an image if it is one of the worst so far; of equal ones the first are kept."""
        from morula.prediction.overlay import jpeg

        if len(self.kept) >= self.most and score >= self.kept[-1][0]:
            return
        try:
            image = self.image_of(name)
        except InputError:
            image = None
        picture = jpeg(draw_comparison(image, truth, predicted))
        insort(self.kept, (score, name, picture), key=lambda item: item[0])
        del self.kept[self.most :]

    def write(self, folder: Path) -> dict[str, str]:
        """Write ``overlays/ID.jpg``; gives id to path below `folder`, the worst first.

        Raises:
            InputError: They cannot be written.
        """
        written = {}
        for _, name, picture in self.kept:
            target = Path("overlays") / f"{name}.jpg"
            with write_atomic(folder / target) as part:
                part.write_bytes(picture)
            written[name] = target.as_posix()
        return written


def draw_comparison(image: Image | None, truth: Labels, predicted: Labels) -> np.ndarray:
    """Truth on the left, prediction on the right, outlined over the image.

    Found objects (IoU of at least 0.5) are teal, invented ones orange, missed ones magenta. Of a volume, the
    plane with most true object pixels is compared. What is not annotated is dimmed.

    Args:
        image: The picture below; the outlines stand on black when None, or when its grid is another one.
        truth: ``(*spatial)``; -1 is not annotated.
        predicted: ``(*spatial)``.

    Returns:
        uint8 RGB ``(y, x, 3)``.
    """
    from morula.prediction.overlay import draw_overlay, fullest_plane

    if image is None or image.pixels.shape[1:] != truth.shape:
        image = Image(np.zeros((1, *truth.shape), np.uint8), ("grey",))
    if truth.ndim == 3:
        plane = fullest_plane(truth)
        image = replace(image, pixels=image.pixels[:, plane])
        truth, predicted = truth[plane], predicted[plane]
    image = replace(image, pixels=_dimmed(image.pixels, truth < 0))
    truth = np.maximum(truth, 0)
    panels = [shrunk(draw_overlay(image, labels, truth), PANEL_PX) for labels in (truth, predicted)]
    gap = np.full((len(panels[0]), GAP_PX, 3), GAP_COLOUR, np.uint8)
    return np.concatenate([panels[0], gap, panels[1]], 1)


def embed(path: Path, *, longest_px: int = 2 * PANEL_PX + GAP_PX) -> str:
    """A picture file as the text of a ``data:`` address, no larger than `longest_px`.

    Raises:
        InputError: It is missing or no picture.
    """
    import cv2

    from morula.prediction.overlay import jpeg

    content = path.read_bytes() if path.is_file() else b""
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB) if content else None
    if picture is None:
        msg = f"{path} is no picture that can be shown. Make it again."
        raise InputError(msg)
    if max(picture.shape) > longest_px or path.suffix.lower() not in (".jpg", ".jpeg"):
        content = jpeg(shrunk(picture, longest_px))
    return "data:image/jpeg;base64," + base64.b64encode(content).decode("ascii")


def _dimmed(pixels: np.ndarray, where: Mask) -> np.ndarray:
    """Pixels ``(C, y, x)`` at a third of their intensity in some places."""
    if not where.any():
        return pixels
    return np.where(where, pixels / 3, pixels).astype(pixels.dtype)


def shrunk(picture: np.ndarray, longest_px: int) -> np.ndarray:
    """A picture ``(y, x, 3)`` whose longest side has at most so many pixels."""
    import cv2

    scale = longest_px / max(picture.shape[:2])
    if scale >= 1:
        return picture
    height, width = (max(1, round(size * scale)) for size in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
