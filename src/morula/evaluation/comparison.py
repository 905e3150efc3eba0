"""Several predictions of the same images: scores with intervals, tests between all pairs, a winner."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from morula.data.dataset import Dataset
from morula.data.formats import read_labels
from morula.data.sample import Sample
from morula.errors import InputError
from morula.evaluation.evaluate_classes import class_definitions, name_classes, spacing_of
from morula.evaluation.metrics import ImageScore, score_image
from morula.evaluation.pairing import predictions_of
from morula.evaluation.semantic import ScoredCase, score_classes
from morula.evaluation.statistics import bootstrap_intervals, paired_test
from morula.evaluation.summary import (
    DEFINITIONS,
    STRATUM_SCORES,
    Definition,
    plain_interval,
    plain_number,
    stratum_columns,
)
from morula.types import Labels

SCORES = (
    *("dsb", "dsb_to_90", "f1_50", "ap_50", "ap_75", "ap_90"),
    *("pq", "dice", "boundary_dice", "f1_50_lent"),
)
"""Scores of objects, in the table's order. The first one ranks, and its tests name the winner."""

TESTED = STRATUM_SCORES
"""Those that are tested between all pairs; of classes, all are."""

ALPHA = 0.05
"""Largest p-value, after Holm's correction, of a clear difference."""


@dataclass(frozen=True)
class Entrant:
    """One method that takes part."""

    name: str
    """As it stands in the table."""

    folders: tuple[Path, ...]
    """Its label files, one folder for each seed."""

    facts: dict[str, Any] = field(default_factory=dict)
    """What is known of its training; empty for labels that other software made."""


@dataclass(frozen=True)
class Contest:
    """The counts of every entrant in the images that all of them have."""

    samples: tuple[Sample, ...]
    """The images."""

    scores: dict[str, tuple[tuple[ImageScore | ScoredCase, ...], ...]]
    """Per entrant and image, one for each seed."""

    left_out: dict[str, str]
    """Images that could not be scored for everybody, and why."""

    classes: dict[str, int] = field(default_factory=dict)
    """Name of each class to its label; empty for objects."""

    @property
    def definitions(self) -> dict[str, Definition]:
        """The scores, the one that ranks first."""
        return (
            class_definitions(self.classes) if self.classes else {name: DEFINITIONS[name] for name in SCORES}
        )

    def ratios(self, name: str) -> np.ndarray:
        """What each image adds above and below the line of every score ``(images, seeds, scores, 2)``."""
        parts = [definition.ratio for definition in self.definitions.values()]
        return np.array(
            [[[part(score) for part in parts] for score in image] for image in self.scores[name]], float
        )


def score_contest(
    dataset: Dataset,
    samples: Sequence[Sample],
    entrants: Sequence[Entrant],
    progress: Callable[[int, int], None] | None = None,
) -> Contest:
    """Score every image under every entrant, objects or classes; it counts for all of them or for none.

    Args:
        dataset: Reads the truth.
        samples: The test images.
        entrants: Who takes part; their files pair as in `morula.evaluation.pairing`.
        progress: Called with (images done, images in all).

    Raises:
        InputError: An entrant without label files, or no image that all have.
    """
    ids = [sample.id for sample in samples]
    files = {e.name: [predictions_of(folder, ids) for folder in e.folders] for e in entrants}
    semantic = dataset.task == "semantic"
    classes = (dict(dataset.classes) or name_classes(dataset, samples)) if semantic else {}
    kept: list[Sample] = []
    scores: dict[str, list[tuple[ImageScore | ScoredCase, ...]]] = {e.name: [] for e in entrants}
    left_out: dict[str, str] = {}
    for done, sample in enumerate(samples, 1):
        try:
            truth = dataset.labels(sample)
            score = _scorer(dataset, sample, truth, classes)
            found = {
                name: tuple(score(_labels(name, seed, sample.id)) for seed in seeds)
                for name, seeds in files.items()
            }
        except InputError as error:
            left_out[sample.id] = str(error)
        else:
            kept.append(sample)
            for name, row in found.items():
                scores[name].append(row)
        if progress:
            progress(done, len(samples))
    if not kept:
        first, why = next(iter(left_out.items()))
        msg = f"none of the {len(samples)} test images could be scored for every entrant; {first}: {why}"
        raise InputError(msg)
    return Contest(tuple(kept), {name: tuple(rows) for name, rows in scores.items()}, left_out, classes)


def _scorer(
    dataset: Dataset, sample: Sample, truth: Labels, classes: Mapping[str, int]
) -> Callable[[Labels], ImageScore | ScoredCase]:
    """Scores predicted labels of one image."""
    if not classes:
        return lambda found: score_image(truth, found)
    spacing, tolerances = spacing_of(dataset, sample, truth.ndim), dataset.tolerance_mm
    return lambda found: ScoredCase(
        sample.id, score_classes(truth, found, classes, spacing, tolerances), sample.fold
    )


def summarize_contest(contest: Contest, entrants: Sequence[Entrant]) -> dict[str, Any]:
    """All scores, tests and the verdict as plain numbers, ready for JSON; the best entrant comes first.

    Scores of several seeds are pooled: each image adds the mean of what it adds with each seed. Intervals
    and tests are over images; how far seeds lie apart is told beside them.
    """
    attributes = [sample.attributes for sample in contest.samples]
    columns = stratum_columns(attributes)
    groups = {
        column: _groups([image.get(column, "") for image in attributes])
        for column in (["modality"] if "modality" in columns else columns)
    }
    pooled = {entrant.name: contest.ratios(entrant.name).mean(1) for entrant in entrants}
    main, *_ = names = list(contest.definitions)
    rows = [_entrant_row(contest, entrant, pooled[entrant.name], groups) for entrant in entrants]
    rows.sort(key=lambda row: -(row["scores"][main]["value"] or 0.0))
    tested = names if contest.classes else list(TESTED)
    tests = _tests([row["name"] for row in rows], pooled, {name: names.index(name) for name in tested})
    truth = [image[0] for image in contest.scores[entrants[0].name]]
    images = [
        {
            "id": sample.id,
            "attributes": sample.attributes,
            "n_truth": score.n_truth if isinstance(score, ImageScore) else None,
            main: {name: _quotient(*table[place, 0]) for name, table in pooled.items()},
        }
        for place, (sample, score) in enumerate(zip(contest.samples, truth, strict=True))
    ]
    return {
        "task": "semantic" if contest.classes else "instances",
        "definitions": {key: {"label": d.label, "text": d.text} for key, d in contest.definitions.items()},
        "tested": tested,
        "n_images": len(images),
        "n_truth": None if contest.classes else sum(row["n_truth"] for row in images),
        "entrants": rows,
        "tests": tests,
        "verdict": find_winner(rows, tests, main, contest.definitions[main].label),
        "images": images,
        "left_out": contest.left_out,
    }


def _quotient(top: float, bottom: float) -> float | None:
    return float(top / bottom) if bottom else None


def find_winner(
    rows: Sequence[Mapping[str, Any]],
    tests: Sequence[Mapping[str, Any]],
    main: str = SCORES[0],
    label: str = DEFINITIONS[SCORES[0]].label,
) -> dict[str, Any]:
    """Who is clearly better than everybody else, if anybody is, and the sentence that says so.

    Args:
        rows: The entrants, best first, as in `summarize_contest`.
        tests: Tests between all pairs.
        main: The score that decides.
        label: Its name.
    """
    best, others = rows[0], rows[1:]
    if not others:
        return {"winner": None, "text": f"No winner: {best['name']} is alone."}
    of_best = [
        test for test in tests if test["score"] == main and best["name"] in (test["first"], test["second"])
    ]
    ahead = f"{best['name']} ({_shown(best['scores'][main]['value'])})"
    close = [test for test in of_best if test["p_holm"] is None or test["p_holm"] >= ALPHA]
    if not close:
        worst = max(test["p_holm"] for test in of_best)
        text = f"{ahead} has a clearly better {label} than every other entrant ({p_text(worst)})."
        return {"winner": best["name"], "text": text + _weak(rows)}
    names = {test["second"] if test["first"] == best["name"] else test["first"]: test for test in close}
    listed = ", ".join(
        f"{row['name']} ({_shown(row['scores'][main]['value'])}; {p_text(names[row['name']]['p_holm'])})"
        for row in others
        if row["name"] in names
    )
    return {
        "winner": None,
        "text": f"No winner: {ahead} is ahead, but not clearly ahead of {listed}." + _weak(rows),
    }


def _shown(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"


def p_text(p_value: float | None) -> str:
    """A p-value in words.

    >>> p_text(0.0004), p_text(0.2)
    ('p < 0.001', 'p = 0.20')
    """
    if p_value is None:
        return "p not defined"
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}" if p_value < 0.1 else f"p = {p_value:.2f}"


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm 1979), in the order given; NaN stays.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    values = np.array(p_values, float)
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    values[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1)
    return values.tolist()


def csv_text(comparison: Mapping[str, Any]) -> str:
    """The comparison as a table: a row for each entrant, over all images and in each stratum."""
    facts = ("steps", "minutes", "parameters", "gmac_per_megapixel", "undertrained")
    ends = [f"{name}{end}" for name in comparison["definitions"] for end in ("", "_low", "_high")]
    text = io.StringIO()
    writer = csv.DictWriter(
        text, ("entrant", "column", "value", "n_images", *facts, *ends), lineterminator="\n"
    )
    writer.writeheader()
    for row in comparison["entrants"]:
        known = {"entrant": row["name"], **{name: row.get(name) for name in facts}}
        whole = {"n_images": comparison["n_images"], **_flat(row["scores"])}
        writer.writerow({**known, "column": "", "value": "all", **whole})
        for column, strata in row["strata"].items():
            for part in strata:
                scores = {"n_images": part["n_images"], **_flat(part["scores"])}
                writer.writerow({**known, "column": column, "value": part["value"], **scores})
    return text.getvalue()


def _flat(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    keys = {"value": "", "low": "_low", "high": "_high"}
    return {f"{name}{end}": score[key] for name, score in scores.items() for key, end in keys.items()}


def _labels(name: str, files: Mapping[str, Path], id_: str) -> Labels:
    """The labels of an entrant.

    Raises:
        InputError: There are none, or they cannot be read.
    """
    if id_ not in files:
        msg = f"{name} has no labels for it."
        raise InputError(msg)
    return read_labels(files[id_])


def _groups(values: Sequence[str]) -> dict[str, np.ndarray]:
    """Places of each value."""
    return {value: np.flatnonzero(np.array(values) == value) for value in sorted(set(values))}


def _entrant_row(
    contest: Contest, entrant: Entrant, pooled: np.ndarray, groups: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, Any]:
    ratios, names = contest.ratios(entrant.name), list(contest.definitions)
    counts = [
        score.n_predicted
        for image in contest.scores[entrant.name]
        for score in image
        if isinstance(score, ImageScore)
    ]
    seeds = [_intervals(ratios[:, seed], names, resamples=1) for seed in range(ratios.shape[1])]
    whole = _intervals(pooled, names)
    for name, score in whole.items():
        score["seeds"] = [seed[name]["value"] for seed in seeds]
    return {
        "name": entrant.name,
        **entrant.facts,
        "n_predicted": sum(counts) / len(seeds) if counts else None,
        "scores": whole,
        "strata": {
            column: [
                {"value": value, "n_images": len(places), "scores": _intervals(pooled[places], names)}
                for value, places in parts.items()
            ]
            for column, parts in groups.items()
        },
    }


def _intervals(ratios: np.ndarray, names: Sequence[str], resamples: int = 2000) -> dict[str, dict[str, Any]]:
    """Every score of a table ``(images, scores, 2)``."""
    found = bootstrap_intervals(ratios[..., 0], ratios[..., 1], resamples=resamples)
    return {name: dict(plain_interval(interval)) for name, interval in zip(names, found, strict=True)}


def _tests(
    names: Sequence[str], pooled: Mapping[str, np.ndarray], tested: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Paired tests between all pairs in scores at some places; Holm's correction is over the pairs."""
    rows = []
    for score, place in tested.items():
        of_score = []
        for first, second in combinations(names, 2):
            sides = [(pooled[name][:, place, 0], pooled[name][:, place, 1]) for name in (first, second)]
            of_score.append((first, second, asdict(paired_test(*sides))))
        corrected = holm([test["p_value"] for _, _, test in of_score])
        for (first, second, test), p_holm in zip(of_score, corrected, strict=True):
            plain = {key: plain_number(value) for key, value in {**test, "p_holm": p_holm}.items()}
            rows.append({"first": first, "second": second, "score": score, **plain})
    return rows


def _weak(rows: Sequence[Mapping[str, Any]]) -> str:
    """A warning about runs that were too short to say anything about their method."""
    names = [row["name"] for row in rows if row.get("undertrained")]
    if not names:
        return ""
    return f" Undertrained, and no measure of what the method can do: {', '.join(names)}."
