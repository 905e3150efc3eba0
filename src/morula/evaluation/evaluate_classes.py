"""Class labels (organs) in files against the truth."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from morula.data.formats import read_image, read_labels
from morula.data.sample import Sample
from morula.errors import InputError
from morula.evaluation.pairing import Pairing, Progress
from morula.evaluation.pictures import WorstPictures
from morula.evaluation.semantic import SCORES, ScoredCase, score_classes
from morula.evaluation.statistics import paired_test
from morula.types import Spacing


def read_run(predicted: Path) -> dict[str, Any]:
    """``run.json`` of a prediction; empty when other software made it."""
    path = predicted / "run.json"
    try:
        table = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        msg = f"{path} is broken: {error}. Delete it, or predict again."
        raise InputError(msg) from error
    return table if isinstance(table, dict) else {}


def classes_of(pairing: Pairing, run: Mapping[str, Any]) -> dict[str, int]:
    """Name of each class to its label, as the truth says, else the model that predicted; empty for objects.

    Classes without names are called ``class 1`` and so on, after the labels in the truth.
    """
    dataset = pairing.dataset
    if dataset.classes or dataset.task == "instances":
        return dict(dataset.classes)
    known = run.get("classes", {})
    if known or dataset.task is None:
        return dict(known)
    found: set[int] = set()
    for sample, _ in pairing.pairs:
        # What cannot be read is named when it is scored.
        with suppress(InputError):
            found.update(np.unique(dataset.labels(sample)).tolist())
    return {f"class {label}": label for label in sorted(found) if label > 0}


def score_cases(
    pairing: Pairing,
    classes: Mapping[str, int],
    run: Mapping[str, Any],
    failed: dict[str, str],
    progress: Progress,
    worst: WorstPictures | None = None,
) -> list[ScoredCase]:
    """Score every pair; those that cannot be read go into `failed` with their message."""
    seconds = {str(path): row for row in run.get("images", []) if (path := row.get("labels"))}
    tolerances = pairing.dataset.tolerance_mm
    cases = []
    for done, (sample, path) in enumerate(pairing.pairs, 1):
        try:
            truth, predicted = pairing.dataset.labels(sample), read_labels(path)
            scores = score_classes(
                truth, predicted, classes, _spacing(pairing, sample, truth.ndim), tolerances
            )
            row = next((row for name, row in seconds.items() if path.as_posix().endswith(name)), {})
            case = ScoredCase(sample.id, scores, sample.fold, row.get("seconds"))
            cases.append(case)
            if worst is not None:
                worst.offer(sample.id, case.mean("dice") or 0.0, truth, predicted)
        except InputError as error:
            failed[sample.id] = str(error)
        progress(done, len(pairing.pairs))
    return cases


def _spacing(pairing: Pairing, sample: Sample, ndim: int) -> Spacing | None:
    """Pixel size of the data set, else of the image, else, where that cannot be read, of the label file."""
    dataset = pairing.dataset
    if dataset.spacing_um is not None:
        return dataset.spacing_um * ndim if len(dataset.spacing_um) == 1 else dataset.spacing_um
    if sample.image:
        with suppress(InputError):
            return dataset.image(sample).spacing_um
    with suppress(InputError):
        return read_image(sample.labels[0], axes=dataset.label_axes).spacing_um
    return None


def compare_cases(first: Sequence[ScoredCase], second: Sequence[ScoredCase]) -> dict[str, Any]:
    """Paired tests between two predictions, over the cases that both have, one entry per score.

    Raises:
        InputError: They share no case.
    """
    others = {case.id: case for case in second}
    pairs = [(case, others[case.id]) for case in first if case.id in others]
    if not pairs:
        msg = "the two predictions share no image; a paired test needs both to have the same files."
        raise InputError(msg)
    tests = {}
    for name in SCORES:
        values = [(one.mean(name), two.mean(name)) for one, two in pairs]
        known = np.array([pair for pair in values if None not in pair], float).reshape(-1, 2)
        if len(known):
            ones = np.ones(len(known))
            tests[name] = asdict(paired_test((known[:, 0], ones), (known[:, 1], ones)))
    return tests
