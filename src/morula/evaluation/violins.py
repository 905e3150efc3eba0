"""Violin plots: how scores are spread over cases, class by class, as system E shows them."""

from collections.abc import Sequence

import numpy as np

from morula.evaluation.charts import COLOURS, ticks
from morula.evaluation.page import Html, Number, node

WIDTH, HEIGHT = 560, 280
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 14, 30
"""Margins around the plotting area."""

LEVELS = 60
"""Heights at which the density is drawn."""


def violin_chart(groups: Sequence[tuple[str, Sequence[Number]]], name: str) -> Html:
    """One violin per group on an axis from 0 to 1: density, every value as a dot, the median as a line.

    Args:
        groups: Name and values, from left to right; empty ones are left out.
        name: What the values are.
    """
    known = [(label, np.array(values, float)) for label, values in groups if len(values)]
    if not known:
        return Html("")
    low = min(0.5, *(float(values.min()) for _, values in known))
    low = max(0.0, np.floor(low * 10) / 10)
    step = (WIDTH - LEFT - RIGHT) / len(known)
    parts = []
    for value in ticks(low, 1.0, 6):
        y = f"{_height(value, low):.1f}"
        ends = {"x1": f"{LEFT}", "x2": f"{WIDTH - RIGHT}", "y1": y, "y2": y}
        parts += [node("line", css="grid", attributes=ends), _text(LEFT - 8, value, low, f"{value:g}", "end")]
    for place, (label, values) in enumerate(known):
        middle = LEFT + (place + 0.5) * step
        parts += _violin(values, middle, 0.42 * min(step, 130), low, place % COLOURS, label)
        parts.append(_text(middle, low, low, f"{label} ({len(values)})", "middle", below=18))
    view = {"viewBox": f"0 0 {WIDTH} {HEIGHT}", "role": "img", "aria-label": f"{name} by class"}
    return node("div", node("svg", *parts, attributes=view), css="chart")


def density(values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Gaussian kernel density at some levels, 1 at its highest; the width is Silverman's rule.

    Silverman 1986, equation 3.31; at least 0.01, so that equal values have a shape too.
    """
    spread = min(values.std(ddof=1), np.subtract(*np.percentile(values, (75, 25))) / 1.34 or np.inf)
    width = max(0.9 * spread * len(values) ** -0.2, 0.01)
    curve = np.exp(-0.5 * ((levels[:, None] - values) / width) ** 2).sum(1)
    return curve / curve.max()


def _violin(
    values: np.ndarray, middle: Number, half: Number, low: Number, colour: int, label: str
) -> list[Html]:
    parts = []
    if len(values) > 1:
        levels = np.linspace(float(values.min()), float(values.max()), LEVELS)
        widths = half * density(values, levels)
        right = list(zip(middle + widths, levels, strict=True))
        left = list(zip(middle - widths, levels, strict=True))
        points = " ".join(f"{x:.1f},{_height(level, low):.1f}" for x, level in [*right, *reversed(left)])
        parts.append(node("polygon", css=f"band color-{colour}", attributes={"points": points}))
    # Dots side by side in a fixed order, so that equal values do not hide each other.
    for place, value in enumerate(np.sort(values).tolist()):
        x = middle + half * (((place * 0.618) % 1) - 0.5) * 0.5
        where = {"cx": f"{x:.1f}", "cy": f"{_height(value, low):.1f}", "r": "2.2"}
        dot = node("title", f"{label}: {value:.4f}")
        parts.append(node("circle", dot, css=f"dot color-{colour}", attributes=where))
    y = f"{_height(float(np.median(values)), low):.1f}"
    ends = {"x1": f"{middle - half / 2:.1f}", "x2": f"{middle + half / 2:.1f}", "y1": y, "y2": y}
    return [*parts, node("line", css=f"line color-{colour}", attributes=ends)]


def _height(value: Number, low: Number) -> float:
    return HEIGHT - BOTTOM - (value - low) / (1 - low) * (HEIGHT - TOP - BOTTOM)


def _text(x: Number, value: Number, low: Number, text: str, anchor: str, below: int = 4) -> Html:
    place = {"x": f"{x:.1f}", "y": f"{_height(value, low) + below:.1f}"}
    return node("text", text, css=f"tick {anchor}", attributes=place)
