"""The whole chain: check, plan, prepare, train, tune the decoder, evaluate, report."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from morula.data.dataset import Dataset
from morula.data.files import write_text
from morula.data.layouts import open_dataset
from morula.data.lock import hold
from morula.data.problems import Problem
from morula.data.sample import Sample
from morula.errors import InputError
from morula.evaluation.evaluate import score_pairs
from morula.evaluation.pictures import WorstPictures
from morula.evaluation.report import render_report
from morula.evaluation.report_train import TrainReport
from morula.evaluation.semantic import ScoredCase, score_classes, summarize_classes
from morula.planning.fingerprint import Fingerprint
from morula.planning.modality import appearance, inverted
from morula.planning.plan import Plan
from morula.prediction.ensemble import check_device, keep_to_cores
from morula.prediction.model import Model
from morula.prediction.record import peak_memory_mb
from morula.prediction.reliability import Scored, calibrate, cross_check
from morula.prediction.shipped import CALIBRATION, find_folder, weight_files
from morula.preprocessing.geometry import select_channels
from morula.preprocessing.prepare import Prepared, name_modalities
from morula.training.decoder import inherit_scorer, tune_run
from morula.training.loop import train_fold
from morula.training.more_labels import would_more_labels_help
from morula.training.pace import fix_steps
from morula.training.run import Progress, Request, Run, folds_of, plan_run, silent, start_run
from morula.training.validation import (
    looker,
    spread,
    unseen,
    without_fold,
)
from morula.types import Labels, PathLike

SEEN_IMAGES = 1000
"""Training images whose appearance is measured."""

WORST_IMAGES = 12
"""Validation images that the report shows, truth beside prediction."""


@dataclass(frozen=True)
class TrainSummary:
    """What a training came to."""

    run: Path
    """The run folder: it is the model."""

    plan: Plan
    """Every decision."""

    metrics: dict[str, Any] | None
    """Scores on validation images, as in ``metrics.json``; None when no image was held out."""

    problems: tuple[Problem, ...]
    """What the doctor found; images with errors were left out."""


def train(
    run: PathLike, request: Request | None = None, *, device: str = "cpu", progress: Progress = silent
) -> TrainSummary:
    """Train a model on labelled images, or go on with a run exactly where it stopped.

    Args:
        run: The run folder, which becomes the model.
        request: What is asked for; None goes on with `run` as it was asked for.
        device: As torch names it.
        progress: Gives for each stage's name a function called with (done, total).

    Raises:
        InputError: Nothing sound to train on, a bad option, a run that was asked for differently, or one that
            another process works on.
    """
    started = time.monotonic()
    check_device(device)
    keep_to_cores()
    run = Path(run)
    work = Run(run) if request is None else start_run(run, request)
    # Where there is no run, nothing is written.
    work.request()
    with hold(run):
        return _train(work, device, progress, started)


def _train(work: Run, device: str, progress: Progress, started: float) -> TrainSummary:
    run = work.folder
    plan_run(work, progress)
    prepared = work.prepare(progress)
    fix_steps(work, folds_of(work), prepared, device, started)
    inherit_scorer(work)
    _train_folds(work, prepared, work.prepare_pseudo(progress), device, progress)
    tune_run(work, prepared, device, progress)
    metrics = evaluate_run(work, device, progress)
    render_report(TrainReport.load(run), run / "report.html")
    return TrainSummary(run, work.plan(), metrics, work.problems())


def _train_folds(
    run: Run, prepared: Sequence[Prepared], pseudo: Sequence[Prepared], device: str, progress: Progress
) -> None:
    plan, named = run.plan(), name_modalities([*prepared, *pseudo])
    for number, held_out in folds_of(run):
        inside = [sample for sample in named[: len(prepared)] if sample.id not in held_out]
        outside = [sample for sample in prepared if sample.id in held_out]
        train_fold(
            plan,
            with_pseudo(inside, named[len(prepared) :]),
            run.fold(number),
            validate=looker(plan, outside, device) if outside else None,
            device=device,
            start_from=_start_weights(run, number),
            progress=progress(f"train fold {number}"),
        )


def with_pseudo(labelled: Sequence[Prepared], pseudo: Sequence[Prepared]) -> list[Prepared]:
    """All of them, the labelled ones repeated until they are as many as the pseudo-labelled ones (ST++)."""
    times = max(1, -(-len(pseudo) // len(labelled))) if labelled else 1
    return [*labelled] * times + [*pseudo]


def _start_weights(run: Run, fold: int) -> dict[str, Tensor] | None:
    name = run.request().start_from
    # A run that goes on has them in its checkpoint: where they came from may be gone.
    if name is None or (run.fold(fold) / "checkpoint.safetensors").exists():
        return None
    folder = find_folder(name)
    # A teacher's other folds were trained on the images that this fold is validated on.
    own = folder / f"fold_{fold}" / "weights.safetensors"
    path = own if own.exists() else weight_files(folder)[0]
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        msg = f"{path} is damaged ({error}). Copy the model again, or choose another one with --from."
        raise InputError(msg) from error


def validation_jobs(run: Run) -> list[tuple[int, Sample]]:
    """Every validation image, with the place of the network that did not see it."""
    samples = {sample.id: sample for sample in run.labelled()}
    return [(i, samples[name]) for i, (_, ids) in enumerate(folds_of(run)) for name in ids]


def evaluate_run(run: Run, device: str = "cpu", progress: Progress = silent) -> dict[str, Any] | None:
    """Scores on the validation images, on their own grid, each by the network that did not see it."""
    jobs = validation_jobs(run)
    if not jobs:
        return None
    # Of an earlier evaluation: of another network or decoder, or damaged.
    (run.folder / CALIBRATION).unlink(missing_ok=True)
    model, dataset = Model.load(run.folder, device), run.dataset()
    bar, images = progress("evaluate"), {sample.id: sample for _, sample in jobs}
    worst = WorstPictures(WORST_IMAGES, lambda name: dataset.image(images[name]))
    if model.plan.task == "semantic":
        numbers = [number for number, _ in folds_of(run)]
        metrics = _class_scores(model, dataset, jobs, numbers, worst, bar)
    else:
        metrics = _object_scores(run, model, dataset, jobs, worst, bar)
        metrics |= _advice(run, model, dataset, metrics["images"], progress)
    metrics["overlays"] = worst.write(run.folder)
    write_text(run.folder / "metrics.json", json.dumps(metrics, indent=1) + "\n")
    return metrics


def _advice(
    run: Run, model: Model, dataset: Dataset, rows: Sequence[dict[str, Any]], progress: Progress
) -> dict[str, Any]:
    """Whether more labels would help, by the first network; nothing where one side has no images."""
    first = set(folds_of(run)[0][1])
    inside = [sample for sample in run.labelled() if sample.id not in first]
    held_out = [row["dsb"] for row in rows if row["id"] in first]
    if not inside or not held_out:
        return {}
    counts = {image.id: image.n_objects for image in Fingerprint.load(run.fingerprint_path).images}
    n_objects = sum(counts[sample.id] for sample in inside)
    alone, bar = without_fold(model, 0), progress("score images that were trained on")
    return {"more_labels": would_more_labels_help(alone, dataset, inside, held_out, n_objects, bar)}


def _object_scores(
    run: Run,
    model: Model,
    dataset: Dataset,
    jobs: Sequence[tuple[int, Sample]],
    worst: WorstPictures,
    bar: Any,
) -> dict[str, Any]:
    """Scores of the instances; on the way confidence and reliability are calibrated on the same images."""
    found: list[Scored] = []
    pairs = predictions(model, dataset, jobs, found, bar)
    metrics = score_pairs(pairs, worst=worst)
    curve = calibrate(found, _seen(run))
    if curve is not None:
        curve.save(run.folder)
        metrics["calibration"] = cross_check(found)
    return metrics


def _seen(run: Run) -> list[np.ndarray]:
    """How the training images look, and their negatives where the networks were shown them."""
    plan, rows = run.plan(), []
    pseudo = [open_dataset(Path(place)) for place in run.request().pseudo]
    for dataset, samples in ((run.dataset(), run.labelled()), *((each, each.labelled) for each in pseudo)):
        for sample in spread(samples, SEEN_IMAGES):
            rows.append(appearance(select_channels(dataset.image(sample), plan.channels)))
    return rows + [inverted(row) for row in rows] if plan.training.augmentation.invert > 0 else rows


def _class_scores(
    model: Model,
    dataset: Dataset,
    jobs: Sequence[tuple[int, Sample]],
    folds: Sequence[int],
    worst: WorstPictures,
    bar: Any,
) -> dict[str, Any]:
    """Dice and surface distance of every class, with the fold and the running time of each case."""
    cases, classes = [], model.plan.classes
    for done, (index, sample) in enumerate(jobs, 1):
        image, truth = dataset.image(sample), dataset.labels(sample)
        start = time.monotonic()
        found = without_fold(model, index).segment(image).labels
        seconds = round(time.monotonic() - start, 3)
        scores = score_classes(truth, found, classes, image.spacing_um, dataset.tolerance_mm)
        case = ScoredCase(sample.id, scores, folds[index], seconds)
        worst.offer(sample.id, case.mean("dice") or 0.0, truth, found)
        cases.append(case)
        bar(done, len(jobs))
    scores = summarize_classes(cases, classes, dataset.tolerance_mm)
    return {**scores, "peak_memory_mb": peak_memory_mb()}


def predictions(
    model: Model,
    dataset: Dataset,
    jobs: Sequence[tuple[int, Sample]],
    scored: list[Scored],
    bar: Any,
) -> Iterator[tuple[str, Labels, Labels, dict[str, str]]]:
    """Id, truth, what the image's network finds at the trained scale, attributes: as `score_pairs` reads.

    `scored` receives what a calibration is fitted to.
    """
    for done, (index, sample) in enumerate(jobs, 1):
        image, truth = dataset.image(sample), dataset.labels(sample)
        found = unseen(model, index, sample.id).segment(image, diameter_px="trained")
        scored.append(Scored.of(truth, found))
        yield sample.id, truth, found.labels, dict(sample.attributes)
        bar(done, len(jobs))
