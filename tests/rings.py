"""Polygons back to pixels, for tests."""

import numpy as np


def fill(rings: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Even-odd rule at pixel centres, by counting the vertical edges to the left of each pixel."""
    crossings = np.zeros((shape[0], shape[1] + 1), int)
    for ring in rings:
        for (y0, x0), (y1, x1) in zip(ring, np.roll(ring, -1, 0), strict=True):
            if x0 == x1:
                crossings[min(y0, y1) : max(y0, y1), x0] += 1
    return crossings.cumsum(1)[:, :-1] % 2 == 1
