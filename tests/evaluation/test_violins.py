"""Violin plots: shape and escaping."""

import re

import numpy as np
import pytest

from morula.evaluation.violins import density, violin_chart


def test_density_of_two_values_peaks_at_both() -> None:
    levels = np.linspace(0, 1, 101)
    curve = density(np.array([0.2, 0.2, 0.8, 0.8]), levels)
    assert curve.max() == 1
    assert curve[20] == pytest.approx(curve[80])
    assert curve[50] < curve[20]
    # Equal values have a shape too.
    assert np.isfinite(density(np.array([0.9, 0.9]), levels)).all()


def test_every_value_is_a_dot_and_names_are_escaped() -> None:
    chart = violin_chart([("liver <1>", [0.9, 0.8, 0.95]), ("none", []), ("one", [0.2])], "Dice")
    assert len(re.findall("<circle", chart)) == 4
    assert len(re.findall("<polygon", chart)) == 1
    assert "liver &lt;1&gt; (3)" in chart
    assert "none" not in chart
    assert violin_chart([("none", [])], "Dice") == ""
