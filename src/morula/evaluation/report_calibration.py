"""The section of a report on how far confidence can be taken at its word."""

from collections.abc import Mapping
from typing import Any

from morula.evaluation.charts import Axes, Line, line_chart
from morula.evaluation.page import Html, number, section


def calibration_section(metrics: Mapping[str, Any]) -> Html:
    """Reliability diagram and expected calibration error; empty where nothing was calibrated.

    Args:
        metrics: With ``calibration`` as `morula.prediction.calibration.cross_check` gives it.
    """
    found = metrics.get("calibration")
    if not found:
        return Html("")
    rows = found["bins"]
    diagonal = Line("as it should be", (0, 1), (0, 1), thin=True)
    measured = Line(
        "measured", [row["probability"] for row in rows], [row["hits"] for row in rows], dots=True
    )
    axes = Axes("confidence", "share with IoU of 0.5 or more", (0, 1), (0, 1))
    lead = (
        "The confidence of an object is the probability that its IoU with a true object is 0.5 or more. "
        f"Measured on {number(found['n_objects'])} objects of validation images, every other image judging "
        f"the rest: expected calibration error {number(found['ece'], 3)}."
    )
    return section("Confidence", line_chart([measured, diagonal], axes), lead=lead)
