"""Training curves of several runs in one chart."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from morula.evaluation.charts import Axes, Line, line_chart
from morula.evaluation.page import Html, node, section
from morula.evaluation.report_train import thinned


def rival_curves(
    entrants: Sequence[Mapping[str, Any]], journals: Mapping[str, Sequence[Mapping[str, Any]]], score: str
) -> Html:
    """Validation score and loss of every entrant over its own length; nothing when none has a journal.

    Args:
        entrants: In the order of their colours.
        journals: Lines of the journal of each entrant's first run.
        score: Name of the validation score.
    """
    validation, loss = [], []
    for colour, row in enumerate(entrants):
        journal = journals.get(row["name"], [])
        last = max((line["step"] for line in journal), default=1)
        looks = [
            (line["step"] / last * 100, line["validation"]["score"])
            for line in journal
            if "validation" in line
        ]
        losses = [(line["step"] / last * 100, line["loss"]) for line in journal if "loss" in line]
        validation.append(replace(thinned(row["name"], looks, dots=True), colour=colour))
        # Losses of different recipes share no unit: each is drawn as a share of where it began.
        shares = [(x, y / losses[0][1]) for x, y in losses if losses[0][1] > 0]
        loss.append(replace(thinned(row["name"], shares), colour=colour))
    across, percent = "% of the run", (0.0, 100.0)
    drawn = [
        _titled("Validation", validation, Axes(across, score, percent)),
        _titled("Loss", loss, Axes(across, "loss / loss at the start", percent, log_y=True)),
    ]
    if not any(drawn):
        return Html("")
    lead = "Of the first seed; validation images are a part of the training images, never test images."
    return section("Training curves", node("div", *drawn, css="charts"), lead=lead)


def _titled(title: str, lines: Sequence[Line], axes: Axes) -> Html:
    """A chart under its title; nothing without points."""
    if not any(line.x for line in lines):
        return Html("")
    return node("div", node("h3", title), line_chart(lines, axes))
