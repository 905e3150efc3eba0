"""Class labels (organs) in files against the truth."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from morula.data.dataset import Dataset, default_class_name
from morula.data.formats import read_image, read_labels
from morula.data.sample import Sample
from morula.errors import InputError
from morula.evaluation.pairing import Pairing, Progress
from morula.evaluation.pictures import WorstPictures
from morula.evaluation.semantic import SCORES, ScoredCase, score_classes
from morula.evaluation.statistics import paired_test
from morula.evaluation.summary import Definition, Ratio
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
    """Name of each class to its label, as the truth or else the model says; empty for objects."""
    dataset = pairing.dataset
    if dataset.classes or dataset.task == "instances":
        return dict(dataset.classes)
    known = run.get("classes", {})
    if known or dataset.task is None:
        return dict(known)
    return name_classes(dataset, [sample for sample, _ in pairing.pairs])


def name_classes(dataset: Dataset, samples: Sequence[Sample]) -> dict[str, int]:
    """Classes without names are called ``class 1`` and so on, after the labels in the truth."""
    found: set[int] = set()
    for sample in samples:
        # What cannot be read is named when it is scored.
        with suppress(InputError):
            found.update(np.unique(dataset.labels(sample)).tolist())
    return {default_class_name(label): label for label in sorted(found) if label > 0}


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
            spacing = spacing_of(pairing.dataset, sample, truth.ndim)
            scores = score_classes(truth, predicted, classes, spacing, tolerances)
            row = next((row for name, row in seconds.items() if path.as_posix().endswith(name)), {})
            case = ScoredCase(sample.id, scores, sample.fold, row.get("seconds"))
            cases.append(case)
            if worst is not None:
                worst.offer(sample.id, case.mean("dice") or 0.0, truth, predicted)
        except InputError as error:
            failed[sample.id] = str(error)
        progress(done, len(pairing.pairs))
    return cases


def spacing_of(dataset: Dataset, sample: Sample, ndim: int) -> Spacing | None:
    """Pixel size of the data set, else of the image, else, where that cannot be read, of the label file."""
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


def class_definitions(classes: Mapping[str, int]) -> dict[str, Definition]:
    """Scores of a comparison: means over the classes of a case, then Dice and NSD of each class."""
    found = {
        key: Definition(f"Mean {label}", f"mean over cases and classes of {text}", partial(_mean_of, key))
        for key, (label, text) in SCORES.items()
    }
    for name in classes:
        for key in ("dice", "nsd"):
            label, text = SCORES[key]
            found[f"{key}_{name}"] = Definition(f"{name}, {label}", text, partial(_class_of, key, name))
    return found


def _mean_of(key: str, case: ScoredCase) -> Ratio:
    return _known(case.mean(key))


def _class_of(key: str, name: str, case: ScoredCase) -> Ratio:
    return _known(case.classes[name].of(key))


def _known(value: float | None) -> Ratio:
    """A case without the score adds nothing to either side of its mean."""
    return (0.0, 0) if value is None else (value, 1)
