"""The stage: a folder of predicted labels against the truth, into ``metrics.json`` and ``report.html``."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from morula.data.files import write_atomic
from morula.data.formats import read_labels
from morula.data.outputs import claim, keep_apart
from morula.data.sample import Image, Sample
from morula.errors import InputError
from morula.evaluation.evaluate_classes import classes_of, compare_cases, read_run, score_cases
from morula.evaluation.metrics import iou_levels, score_image
from morula.evaluation.pairing import Pairing, Progress, pair_files, plain_folders
from morula.evaluation.pictures import WorstPictures
from morula.evaluation.semantic import summarize_classes
from morula.evaluation.summary import ScoredImage, compare_predictions, summarize
from morula.types import Labels, PathLike

MOST_PICTURES = 50
"""The worst images that the report shows in full; the others stand in its table."""


def evaluate(  # noqa: PLR0913 - each is an option of the verb
    predicted: PathLike,
    truth: PathLike,
    out: PathLike,
    *,
    strict: bool = False,
    iou: Sequence[float] = (),
    by: Sequence[str] = (),
    compare: PathLike | None = None,
    select: Mapping[str, set[str]] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score predicted labels against the truth: objects, or classes where the truth (or the model) says so.

    Args:
        predicted: A label file, a folder of them, or what `morula predict` wrote.
        truth: A label file, a folder of them, or a data set (then its index columns make strata, and its
            images appear in the report). Pixels of its ``ignore_label`` count nowhere.
        out: Receives ``metrics.json``, ``overlays`` and ``report.html``.
        strict: A pair matches above an IoU threshold (DSB 2018), not at or above it (StarDist, Cellpose).
        iou: Thresholds whose AP, F1, precision and recall are wanted beside those from 0.5 to 0.95.
        by: Index columns to make strata of; when empty, every text column with few values.
        compare: Another prediction of the same images, to be tested against the first.
        select: Index columns of `truth` and the values wanted; all samples when None.
        progress: Called with (images done, images in all).

    Returns:
        What ``metrics.json`` holds. Files that could not be read or paired are named under ``failed``,
        ``without_truth`` and ``without_prediction``; they are not scored.

    Raises:
        InputError: Nothing can be scored: missing folders, no pairs, every file unreadable, unknown column,
            an IoU threshold that is not above 0 and at most 1; or `out` is, or lies in, a folder of labels.
    """
    predicted, truth, out = Path(predicted), Path(truth), Path(out)
    claim(out, "an evaluation")
    keep_apart(out, plain_folders(predicted, truth, *([Path(compare)] if compare else [])))
    levels = iou_levels(iou)
    pairing = pair_files(predicted, truth, select)
    other = pair_files(Path(compare), truth, select) if compare else None
    run = read_run(predicted)
    classes = classes_of(pairing, run)
    if classes and (strict or iou or by):
        msg = "--strict, --iou and --by are about single objects; these labels are classes. Leave them out."
        raise InputError(msg)

    def count(part: Pairing, lost: dict[str, str], report: Progress, worst: Any = None) -> list[Any]:
        if classes:
            return score_cases(part, classes, run if part is pairing else {}, lost, report, worst)
        return _score(part, levels, strict, lost, report, worst)

    total = len(pairing.pairs) + (len(other.pairs) if other else 0)
    worst = WorstPictures(MOST_PICTURES, _images_of(pairing))
    failed: dict[str, str] = {}
    images = count(pairing, failed, _shifted(progress, 0, total), worst)
    if not images:
        name, message = next(iter(failed.items()))
        msg = f"none of the {len(failed)} pairs could be scored; {name}: {message}"
        raise InputError(msg)
    if classes:
        summary = summarize_classes(images, classes, pairing.dataset.tolerance_mm)
        summary["peak_memory_mb"] = run.get("peak_memory_mb")
    else:
        summary = summarize(images, by=by, strict=strict)
    metrics: dict[str, Any] = {
        "kind": "evaluate",
        "version": version("morula"),
        "predicted": str(predicted),
        "truth": str(truth),
        **summary,
        "failed": failed,
        "without_truth": list(pairing.without_truth),
        "without_prediction": list(pairing.without_prediction),
    }
    if other is not None:
        lost: dict[str, str] = {}
        rivals = count(other, lost, _shifted(progress, len(pairing.pairs), total))
        tests = compare_cases(images, rivals) if classes else compare_predictions(images, rivals)
        metrics["comparison"] = {"with": str(compare), "tests": tests, "failed": lost}
    metrics["overlays"] = worst.write(out)
    write_metrics(metrics, out)
    return metrics


def score_pairs(
    pairs: Iterable[tuple[str, Labels, Labels, dict[str, str]]],
    *,
    by: Sequence[str] = (),
    strict: bool = False,
    iou: Sequence[float] = (),
    worst: WorstPictures | None = None,
) -> dict[str, Any]:
    """The scores of images in memory, as `evaluate` writes them.

    Args:
        pairs: Id, truth, predicted labels and index columns of each image; taken one at a time.
        by: As for `evaluate`.
        strict: As for `evaluate`.
        iou: As for `evaluate`.
        worst: Draws the worst of them.

    Raises:
        InputError: No pairs, unequal shapes, an unknown column or a bad threshold.
    """
    images = []
    for name, truth, predicted, attributes in pairs:
        score = score_image(truth, predicted, thresholds=iou, strict=strict)
        images.append(ScoredImage(name, score, attributes))
        if worst is not None:
            worst.offer(name, score.dsb, truth, predicted)
    return summarize(images, by=by, strict=strict)


def write_metrics(metrics: dict[str, Any], out: Path) -> None:
    """Write ``metrics.json`` and the report made of it.

    Raises:
        InputError: `out` cannot be written.
    """
    from morula.evaluation.report import EvaluateReport, render_report

    with write_atomic(out / "metrics.json") as part:
        part.write_text(json.dumps(metrics, indent=1, allow_nan=False), encoding="utf-8")
    render_report(EvaluateReport.load(out), out / "report.html")


def _score(
    pairing: Pairing,
    iou: Sequence[float],
    strict: bool,
    failed: dict[str, str],
    progress: Progress,
    worst: WorstPictures | None = None,
) -> list[ScoredImage]:
    """Count every pair; those that cannot be read go into `failed` with their message."""
    images = []
    for done, (sample, path) in enumerate(pairing.pairs, 1):
        try:
            truth, predicted = pairing.dataset.labels(sample), read_labels(path)
            score = score_image(truth, predicted, thresholds=iou, strict=strict)
            images.append(ScoredImage(sample.id, score, _columns(sample)))
            if worst is not None:
                worst.offer(sample.id, score.dsb, truth, predicted)
        except InputError as error:
            failed[sample.id] = str(error)
        progress(done, len(pairing.pairs))
    return images


def _columns(sample: Sample) -> dict[str, str]:
    fold = {} if sample.fold is None else {"fold": str(sample.fold)}
    return {**sample.attributes, **fold}


def _shifted(progress: Progress | None, start: int, total: int) -> Progress:
    """`progress` of a part that begins at `start` of `total`."""

    def report(done: int, _: int) -> None:
        if progress is not None:
            progress(start + done, total)

    return report


def _images_of(pairing: Pairing) -> Callable[[str], Image | None]:
    samples = {sample.id: sample for sample, _ in pairing.pairs}

    def image_of(name: str) -> Image | None:
        sample = samples[name]
        return pairing.dataset.image(sample) if sample.image else None

    return image_of
