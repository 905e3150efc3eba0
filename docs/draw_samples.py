"""Draws the picture of the README: ``morula demo && python docs/draw_samples.py morula-demo``."""

import sys
from pathlib import Path

import cv2
import numpy as np

from morula.data.formats import read_labels

SHOWN = (
    ("fluorescence-touching", 300),
    ("fluorescence-crowded", 360),
    ("fluorescence-dim", 256),
    ("fluorescence-small", 200),
    ("histology-crowded", 240),
    ("histology-fibres", 256),
    ("histology-epithelium", 240),
    ("brightfield-smear", 360),
)
"""Samples and the side of the square cut from their middle, in pixels."""

CELL_PX, GAP_PX, COLUMNS = 300, 6, 4


def cell(overlay: Path, side: int) -> np.ndarray:
    """The middle of an overlay as ``(CELL_PX, CELL_PX, 3)``."""
    picture = cv2.imread(str(overlay))
    if picture is None:
        msg = f"{overlay} is missing; run morula demo first."
        raise SystemExit(msg)
    # Overlays may be drawn larger than the image; the side is given in pixels of the image.
    labels = read_labels(overlay.parents[1] / "labels" / f"{overlay.stem}.tif")
    side = round(side * picture.shape[0] / labels.shape[0])
    height, width = picture.shape[:2]
    side = min(side, height, width)
    top, left = (height - side) // 2, (width - side) // 2
    crop = picture[top : top + side, left : left + side]
    return cv2.resize(
        crop, (CELL_PX, CELL_PX), interpolation=cv2.INTER_AREA if side > CELL_PX else cv2.INTER_CUBIC
    )


def main(demo: Path, target: Path) -> None:
    """Write the picture."""
    rows = -(-len(SHOWN) // COLUMNS)
    pitch = CELL_PX + GAP_PX
    canvas = np.full((rows * pitch - GAP_PX, COLUMNS * pitch - GAP_PX, 3), 255, np.uint8)
    for place, (name, side) in enumerate(SHOWN):
        top, left = place // COLUMNS * pitch, place % COLUMNS * pitch
        canvas[top : top + CELL_PX, left : left + CELL_PX] = cell(demo / "overlays" / f"{name}.jpg", side)
    cv2.imwrite(str(target), canvas, [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parent / "images" / "samples.jpg")
