"""One self-contained page per run, made again from the files in its folder whenever it is wanted."""

from pathlib import Path

from morula.data.files import write_atomic
from morula.evaluation.report_compare import CompareReport
from morula.evaluation.report_evaluate import EvaluateReport
from morula.evaluation.report_predict import PredictReport
from morula.evaluation.report_train import TrainReport

__all__ = ["CompareReport", "EvaluateReport", "PredictReport", "Report", "TrainReport", "render_report"]

Report = PredictReport | EvaluateReport | TrainReport | CompareReport
"""What a stage leaves in its folder; each has ``load(folder)`` and ``page()``."""


def render_report(report: Report, path: Path) -> None:
    """Write `report` as one HTML file that needs nothing else: no network, no files beside it.

    Raises:
        InputError: The file cannot be written.
    """
    page = report.page()
    with write_atomic(path) as part:
        part.write_text(page, encoding="utf-8")
