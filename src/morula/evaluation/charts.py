"""Charts as SVG: a few lines of markup each, in the page's own colours, dark or light."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from morula.evaluation.page import Html, Number, node
from morula.evaluation.statistics import Interval

WIDTH, HEIGHT = 560, 280
"""Size of a chart in its own units; the page scales it."""

COLOURS = 8
"""Colours of lines; further lines repeat them, dashed."""

LEFT, RIGHT, TOP, BOTTOM = 52, 14, 26, 42
"""Margins around the plotting area."""

NAMES, ROW, MOST_LETTERS = 176, 28, 24
"""Of a chart of intervals: width of the names, height of a row, longest name."""


@dataclass(frozen=True)
class Line:
    """One line of a chart."""

    name: str
    x: Sequence[Number]
    y: Sequence[Number | None]
    low: Sequence[Number | None] | None = None
    """Lower edge of a band around the line."""

    high: Sequence[Number | None] | None = None
    """Upper edge of the band."""

    dots: bool = False
    """Whether every point is marked."""

    thin: bool = False
    """Whether it stands back behind the others."""

    colour: int | None = None
    """Which colour it has; None: the colour of its place."""


@dataclass(frozen=True)
class Axes:
    """Names and limits of a chart's axes; None: fitted to the data."""

    x_name: str
    y_name: str
    x_range: tuple[Number, Number] | None = None
    y_range: tuple[Number, Number] | None = None
    log_y: bool = False
    """Whether the vertical axis is logarithmic."""


def line_chart(lines: Sequence[Line], axes: Axes) -> Html:
    """Lines over a common axis, with bands, a legend where there are several, and tooltips at the points."""
    drawn = [line for line in lines if any(value is not None for value in line.y)]
    if not drawn:
        return Html("")
    x_range = axes.x_range or _span([value for line in drawn for value in line.x], 0)
    values = [value for line in drawn for value in line.y if value is not None]
    log_y = axes.log_y and min(values) > 0 and max(values) > min(values)
    y_range = axes.y_range or ((min(values), max(values)) if log_y else _span(values, 0.06))
    frame = _Frame(x_range, y_range, log_y)
    parts = [*frame.grid(axes)]
    for index, line in enumerate(drawn):
        parts += _band(frame, line, index) + _stroke(frame, line, index)
    legend = [_legend(drawn)] if len(drawn) > 1 else []
    return node("div", *legend, _svg(parts, f"{axes.y_name} over {axes.x_name}"), css="chart")


def histogram(values: Sequence[Number], x_name: str, *, bins: int = 28, y_name: str = "objects") -> Html:
    """How often values fall where; the highest and lowest half percent are gathered at the ends.

    The median is marked.
    """
    known = np.array([value for value in values if value is not None and math.isfinite(value)], float)
    if not len(known):
        return Html("")
    low, high = np.percentile(known, [0.5, 99.5])
    if high <= low:
        low, high = low - 0.5, high + 0.5
    counts, edges = np.histogram(np.clip(known, low, high), bins=bins, range=(low, high))
    frame = _Frame((float(low), float(high)), (0.0, float(counts.max()) * 1.16), False)
    parts = [*frame.grid(Axes(x_name, y_name))]
    for count, start, end in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        parts.append(_column(frame, start, end, count))
    parts += _median(frame, float(np.median(known)))
    return node("div", _svg(parts, f"{y_name} by {x_name}"), css="chart")


def interval_chart(rows: Sequence[tuple[str, Interval]], x_name: str, colours: Sequence[int]) -> Html:
    """Scores with their intervals below each other, on an axis that fits them.

    Args:
        rows: Name and score, from top to bottom; those without a score are left out.
        x_name: Name of the axis.
        colours: Which colour each row has.
    """
    known = [(row, colour) for row, colour in zip(rows, colours, strict=True) if math.isfinite(row[1].value)]
    if not known:
        return Html("")
    ends = [end for (_, score), _ in known for end in (score.low, score.high) if math.isfinite(end)]
    low, high = _span([*ends, *(score.value for (_, score), _ in known)], 0.06)
    bottom = ROW * len(known) + 8

    def x(value: Number) -> float:
        return NAMES + (value - low) / (high - low) * (WIDTH - NAMES - RIGHT)

    parts = []
    for value in ticks(low, high, 6):
        line = {"x1": f"{x(value):.1f}", "x2": f"{x(value):.1f}", "y1": "4", "y2": f"{bottom}"}
        parts.append(node("line", css="grid", attributes=line))
        parts.append(_text(x(value), bottom + 16, _tick(value), "tick middle"))
    for place, ((name, score), colour) in enumerate(known):
        parts += _whisker(name, score, 6 + ROW * (place + 0.5), x, f"color-{colour % COLOURS}")
    parts.append(_text((NAMES + WIDTH - RIGHT) / 2, bottom + 34, x_name, "axis-name middle"))
    return node("div", _svg(parts, f"{x_name} with intervals", bottom + 40), css="chart")


def _whisker(name: str, score: Interval, y: float, x: Callable[[Number], float], colour: str) -> list[Html]:
    """One row: its name, a line from end to end of the interval, a dot at the score."""
    shown = name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 1]}…"
    parts = [_text(NAMES - 12, y + 4, shown, "row end")]
    if math.isfinite(score.low) and math.isfinite(score.high):
        ends = {"x1": f"{x(score.low):.1f}", "x2": f"{x(score.high):.1f}", "y1": f"{y:.1f}", "y2": f"{y:.1f}"}
        parts.append(node("line", css=f"whisker {colour}", attributes=ends))
    label = node("title", f"{name}: {score.value:.3f} ({score.low:.3f} to {score.high:.3f})")
    place = {"cx": f"{x(score.value):.1f}", "cy": f"{y:.1f}", "r": "5"}
    return [*parts, node("circle", label, css=f"dot full {colour}", attributes=place)]


class _Frame:
    """Turns data into positions."""

    def __init__(self, x_range: tuple[Number, Number], y_range: tuple[Number, Number], log_y: bool) -> None:
        self.x_range, self.log_y = x_range, log_y
        self.y_range = tuple(map(math.log10, y_range)) if log_y else y_range

    def x(self, value: Number) -> float:
        """Horizontal position."""
        low, high = self.x_range
        return LEFT + (value - low) / (high - low or 1) * (WIDTH - LEFT - RIGHT)

    def y(self, value: Number) -> float:
        """Vertical position; smaller values lie lower."""
        low, high = self.y_range
        level = math.log10(max(value, 1e-12)) if self.log_y else value
        return HEIGHT - BOTTOM - (level - low) / (high - low or 1) * (HEIGHT - TOP - BOTTOM)

    def grid(self, axes: Axes) -> list[Html]:
        """Grid lines with their numbers, and the names of both axes."""
        parts = []
        for value in self._y_ticks():
            y = self.y(value)
            ends = {"x1": f"{LEFT}", "x2": f"{WIDTH - RIGHT}", "y1": f"{y:.1f}", "y2": f"{y:.1f}"}
            parts.append(node("line", css="grid", attributes=ends))
            parts.append(_text(LEFT - 8, y + 4, _tick(value), "tick end"))
        for value in ticks(*self.x_range, 7):
            parts.append(_text(self.x(value), HEIGHT - BOTTOM + 18, _tick(value), "tick middle"))
        base = {
            "x1": f"{LEFT}",
            "x2": f"{WIDTH - RIGHT}",
            "y1": f"{HEIGHT - BOTTOM}",
            "y2": f"{HEIGHT - BOTTOM}",
        }
        parts.append(node("line", css="axis", attributes=base))
        parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, axes.x_name, "axis-name middle"))
        parts.append(_text(0, 11, axes.y_name, "axis-name"))
        return parts

    def _y_ticks(self) -> list[Number]:
        low, high = self.y_range
        if not self.log_y:
            return ticks(low, high, 5)
        powers = range(math.floor(low), math.ceil(high) + 1)
        steps = (1,) if high - low > 2.6 else (1, 2, 5)
        return [m * 10.0**p for p in powers for m in steps if low <= math.log10(m * 10.0**p) <= high]


def ticks(low: Number, high: Number, most: int) -> list[Number]:
    """Round numbers between `low` and `high`, at most `most` of them.

    >>> ticks(0.0, 1.0, 6)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if not high > low:
        return [low]
    rough = (high - low) / max(1, most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def _span(values: Sequence[Number], margin: Number) -> tuple[Number, Number]:
    low, high = min(values), max(values)
    pad = (high - low) * margin or (abs(high) * 0.1 + 1e-6 if high == low else 0)
    return low - pad, high + pad


def _stroke(frame: _Frame, line: Line, index: int) -> list[Html]:
    points = [(x, y) for x, y in zip(line.x, line.y, strict=True) if y is not None]
    path = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in points)
    parts = [
        node(
            "polyline",
            css=f"line {_style(line, index)}",
            attributes={"points": path},
        )
    ]
    if not line.dots and len(points) > 1:
        return parts
    for x, y in points:
        label = node("title", f"{line.name}: {y:.4g} at {_tick(x)}")
        place = {"cx": f"{frame.x(x):.1f}", "cy": f"{frame.y(y):.1f}", "r": "3.2"}
        parts.append(node("circle", label, css=f"dot {_style(line, index)}", attributes=place))
    return parts


def _style(line: Line, index: int) -> str:
    """Classes of a line: its colour, and dashes when the colours have been used up."""
    place = index if line.colour is None else line.colour
    further = (" thin" if line.thin else "") + (" dashed" if place >= COLOURS else "")
    return f"color-{place % COLOURS}{further}"


def _band(frame: _Frame, line: Line, index: int) -> list[Html]:
    if line.low is None or line.high is None:
        return []
    edges = [
        (x, a, b)
        for x, a, b in zip(line.x, line.low, line.high, strict=True)
        if a is not None and b is not None
    ]
    outline = [(x, b) for x, _, b in edges] + [(x, a) for x, a, _ in reversed(edges)]
    points = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in outline)
    return [node("polygon", css=f"band {_style(line, index)}", attributes={"points": points})]


def _column(frame: _Frame, start: Number, end: Number, count: int) -> Html:
    left, right, top = frame.x(start), frame.x(end), frame.y(count)
    place = {"x": f"{left + 0.75:.1f}", "y": f"{top:.1f}", "width": f"{max(0.5, right - left - 1.5):.1f}"}
    place |= {"height": f"{HEIGHT - BOTTOM - top:.1f}", "rx": "1.5"}
    return node(
        "rect", node("title", f"{_tick(start)} to {_tick(end)}: {count}"), css="column", attributes=place
    )


def _median(frame: _Frame, median: float) -> list[Html]:
    x = frame.x(median)
    ends = {"x1": f"{x:.1f}", "x2": f"{x:.1f}", "y1": f"{TOP}", "y2": f"{HEIGHT - BOTTOM}"}
    left = x > WIDTH * 0.7
    label = _text(x + (-6 if left else 6), TOP + 10, f"median {median:.3g}", f"tick{' end' if left else ''}")
    return [node("line", css="median", attributes=ends), label]


def _legend(lines: Sequence[Line]) -> Html:
    items = [node("span", node("i", css=_style(line, index)), line.name) for index, line in enumerate(lines)]
    return node("div", *items, css="legend")


def _text(x: Number, y: Number, text: str, css: str) -> Html:
    return node("text", text, css=css, attributes={"x": f"{x:.1f}", "y": f"{y:.1f}"})


def _svg(parts: Sequence[Html], label: str, height: Number = HEIGHT) -> Html:
    attributes = {"viewBox": f"0 0 {WIDTH} {height}", "role": "img", "aria-label": label}
    return node("svg", *parts, attributes=attributes)


def _tick(value: Number) -> str:
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:.4g}"
