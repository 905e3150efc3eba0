import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from morula.evaluation.charts import NAMES, WIDTH, Axes, Line, histogram, interval_chart, line_chart, ticks
from morula.evaluation.statistics import Interval


def numbers(markup: str) -> list[float]:
    """Every coordinate of a chart."""
    found = re.findall(r'(?:points|x|y|x1|x2|y1|y2|cx|cy)="([^"]*)"', markup)
    return [float(value) for text in found for value in re.split("[ ,]", text)]


def test_a_line_runs_from_corner_to_corner():
    chart = line_chart([Line("a", [0, 1], [0, 1])], Axes("x", "y", (0, 1), (0, 1)))
    tree = ElementTree.fromstring(chart)
    (line,) = tree.iter("polyline")
    assert line.get("points") == "52.0,238.0 546.0,26.0"


def test_every_part_is_well_formed_and_inside():
    lines = [
        Line(f"<{k}>", [0, 5, 9], [0.1 * k, None, 0.5], [0, None, 0.4], [1, None, 0.6], dots=True)
        for k in range(10)
    ]
    chart = line_chart(lines, Axes("a & b", "y <"))
    ElementTree.fromstring(chart)
    assert "&lt;3&gt;" in chart
    assert "a &amp; b" in chart
    assert all(-1 <= value <= 561 for value in numbers(chart))


def test_log_axes_need_positive_values():
    lines = [Line("a", [0, 1], [0.01, 10])]
    assert line_chart(lines, Axes("x", "y", log_y=True)) != line_chart(lines, Axes("x", "y"))
    zero = [Line("a", [0, 1], [0, 10])]
    assert line_chart(zero, Axes("x", "y", log_y=True)) == line_chart(zero, Axes("x", "y"))


@pytest.mark.parametrize("values", [[], [float("nan")]])
def test_nothing_gives_nothing(values: list[float]):
    assert histogram(values, "x") == ""
    assert line_chart([Line("a", [1], [None])], Axes("x", "y")) == ""


def test_bars_count_every_value():
    chart = histogram([1.0] * 5 + [2.0] * 7 + [9.0], "x", bins=4)
    counts = [int(text.rsplit(": ", 1)[1]) for text in re.findall("<title>([^<]*)</title>", chart)]
    assert sum(counts) == 13
    assert "median 2" in chart


def test_equal_values_make_a_chart():
    ElementTree.fromstring(histogram([3.0, 3.0], "x"))
    ElementTree.fromstring(line_chart([Line("a", [1], [2.0])], Axes("x", "y")))


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 10))
def test_ticks_are_few_round_and_inside(low: float, width: float, most: int):
    high = low + width
    found = ticks(low, high, most)
    assert len(found) <= most
    assert found == sorted(found)
    slack = 1e-6 * width + 1e-9 * abs(low) + 1e-12
    assert all(low - slack <= value <= high + slack for value in found)


def test_intervals_stand_below_each_other_on_a_fitting_axis():
    rows = [
        ("best & longest name of all of them", Interval(0.6, 0.5, 0.7)),
        ("<b>", Interval(0.4, 0.3, 0.55)),
    ]
    chart = interval_chart(rows, "score", [0, 3])
    tree = ElementTree.fromstring(chart)
    dots = [(float(dot.get("cx", 0)), float(dot.get("cy", 0))) for dot in tree.iter("circle")]
    assert dots[0][0] > dots[1][0]
    assert dots[0][1] < dots[1][1]
    whiskers = [line for line in tree.iter("line") if "whisker" in line.get("class", "")]
    assert [line.get("class") for line in whiskers] == ["whisker color-0", "whisker color-3"]
    # The lowest and the highest end use the whole width.
    ends = [float(line.get(key, 0)) for line in whiskers for key in ("x1", "x2")]
    assert min(ends) > NAMES
    assert max(ends) - min(ends) > 0.85 * (WIDTH - NAMES)
    assert all(-1 <= value <= WIDTH + 1 for value in numbers(chart))


def test_what_has_no_score_has_no_row():
    nothing = Interval(float("nan"), float("nan"), float("nan"))
    assert interval_chart([("a", nothing)], "score", [0]) == ""
    chart = interval_chart([("a", nothing), ("b", Interval(0.5, 0.5, 0.5))], "score", [0, 1])
    assert len(list(ElementTree.fromstring(chart).iter("circle"))) == 1


def test_a_line_keeps_the_colour_that_it_is_given():
    chart = line_chart([Line("a", [0, 1], [0, 1], colour=5)], Axes("x", "y"))
    assert "color-5" in chart
