"""Prepare a run for int8, if its validation images lose no more than a little by it."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

from morula.data.lock import hold
from morula.errors import InputError
from morula.evaluation.evaluate import score_pairs
from morula.planning.plan import Plan
from morula.prediction import int8
from morula.prediction.engines import Graph, choose_engine, export
from morula.prediction.ensemble import ready
from morula.prediction.int8 import measure_ranges
from morula.prediction.model import Model, load_network
from morula.prediction.shipped import weight_files
from morula.preprocessing.prepare import name_modalities
from morula.training.batches import Patches, stream
from morula.training.run import Progress, Run, folds_of, silent
from morula.training.train import predictions, validation_jobs

MOST_LOST = {"ap_50": 0.005, "ap_75": 0.01}
"""Average precision that int8 may cost on the validation images."""

BATCHES = 8
"""Training batches, augmented as in training, that the ranges are measured on."""


@dataclass(frozen=True)
class QuantizeSummary:
    """What preparing a run for int8 came to."""

    run: Path
    """The run folder."""

    before: dict[str, float]
    """Scores of the validation images without int8, by the names of `MOST_LOST`."""

    after: dict[str, float]
    """The same with int8."""

    seconds: tuple[float, float]
    """Time that the validation images took, before and after."""

    @property
    def accepted(self) -> bool:
        """Whether no score falls by more than it may."""
        return all(self.before[name] - self.after[name] <= most for name, most in MOST_LOST.items())


def quantize_run(run: Path, progress: Progress = silent) -> QuantizeSummary:
    """Measure ranges for int8 on training images, and keep them if the validation images allow it.

    Args:
        run: A finished run folder with validation images.
        progress: Gives for each stage's name a function called with (done, total).

    Raises:
        InputError: No finished run, one of classes or without validation images, or OpenVINO is missing.
    """
    choose_engine("openvino", "cpu")
    work = Run(run)
    work.request()
    if work.plan().task == "semantic":
        msg = f"{run} finds classes; int8 is judged by objects that are lost. Use --engine openvino."
        raise InputError(msg)
    with hold(run):
        prepared, folds = work.prepare(progress), folds_of(work)
        if not all(held_out for _, held_out in folds):
            msg = f"{run} held out no validation images, so that nothing says what int8 would lose."
            raise InputError(msg)
        plain, files = Model.load(run, engine="openvino"), weight_files(run)
        graphs = [_graph(plain.plan, path) for path in files]
        bar, found = progress("measure ranges"), []
        for graph, path, (_, held_out) in zip(graphs, files, folds, strict=True):
            inside = [sample for sample in prepared if sample.id not in held_out]
            batches = stream(Patches(plain.plan, name_modalities(inside)), 0, BATCHES)
            found.append(measure_ranges(graph, path, (batch.image.numpy() for batch in batches)))
            bar(len(found), len(files))
        networks = tuple(Graph(graph, "openvino", each) for graph, each in zip(graphs, found, strict=True))
        summary = _judge(work, plain, replace(plain, networks=networks), progress)
        for path, ranges in zip(files, found, strict=True):
            ranges.save(path) if summary.accepted else int8.remove(path)
    return summary


def _graph(plan: Plan, weights: Path) -> Path:
    return export(ready(load_network(plan, weights), plan.ndim), plan, weights)


def _judge(run: Run, plain: Model, rounded: Model, progress: Progress) -> QuantizeSummary:
    """Scores of the validation images, without and with int8."""
    jobs, dataset = validation_jobs(run), run.dataset()
    rows, seconds = [], []
    for name, model in (("as it is", plain), ("int8", rounded)):
        start = time.monotonic()
        pairs = predictions(model, dataset, jobs, [], progress(f"predict, {name}"))
        scores = score_pairs(pairs)["scores"]
        rows.append({key: float(scores[key]["value"]) for key in MOST_LOST})
        seconds.append(time.monotonic() - start)
    return QuantizeSummary(run.folder, rows[0], rows[1], (seconds[0], seconds[1]))
