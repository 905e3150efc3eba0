"""What the choice among nested regions is worth: validation images of a finished run.

    python benchmarks/regions.py RUN [--by source] [--json FILE.json]

"one threshold" is the decoder that was tuned on these very images; "chosen" the scorer's choice, each image
by the perceptron that has not seen it, taught by training images too or "alone", by validation images; "best
choice" that of a scorer which knows the truth. ``--by`` names a column of the index: each of its values is
then also scored by a scorer that has seen none of these images ("chosen by others").
"""

import argparse
import json
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from machine import describe
from morula.data.files import write_text
from morula.evaluation.evaluate import score_pairs
from morula.prediction.model import Model
from morula.representations import decode_to_shape
from morula.training.decoder import teachers, tuning_examples
from morula.training.run import Run
from morula.training.scorer import Candidates, deal, fit_scorer
from morula.types import Labels

SCORES = ("dsb", "ap_50", "ap_75", "f1_50")


def quiet(done: int, total: int) -> None:
    """No bar."""


def scored(truth: Mapping[str, Labels], labels: Mapping[str, Labels]) -> dict[str, float]:
    """Scores over the images in `labels`."""
    metrics = score_pairs((id_, truth[id_], found, {}) for id_, found in labels.items())
    return {name: float(metrics["scores"][name]["value"]) for name in SCORES}


def measure(run: Run, by: str) -> dict[str, Any]:
    """Scores of every decoder, for all images and for each value of a column."""
    model = Model.load(run.folder)
    plan = model.plan
    prepared = run.prepare()
    examples = tuning_examples(run, model, prepared)
    truth = {id_: example[1] for id_, example in examples.items()}
    known = {sample.id: sample for sample in run.labelled()}
    samples = [sample for id_, sample in known.items() if id_ in examples]
    kind = {sample.id: sample.attributes.get(by, "") for sample in samples}
    plain = {
        id_: decode_to_shape(plan.representation, maps, plan.working_spacing, labels.shape)
        for id_, (maps, labels) in examples.items()
    }
    lessons = teachers(run, model, prepared, plan.representation)
    groups = deal(samples, plan.training.seed)
    alone = fit_scorer(examples, groups, plan.representation, quiet)
    fitted = fit_scorer(examples, groups, plan.representation, quiet, list(lessons.values()))
    if fitted is None or alone is None:
        raise SystemExit(f"{run.folder}: too few images, or a representation without regions")
    found = {id_: Candidates.of(example, fitted.representation) for id_, example in examples.items()}
    fair = {
        name: {
            id_: each.regions.choose(scorer.without(id_).quality(each.features), scorer.least)[0]
            for id_, each in found.items()
        }
        for name, scorer in (("chosen, learnt alone", alone.scorer), ("chosen", fitted.scorer))
    }
    # Above the least threshold of the DSB score; ties go to the whole.
    best = {id_: each.regions.choose(each.quality.astype(np.float32), 0.0)[0] for id_, each in found.items()}
    tables = {"one threshold": plain, **fair, "best choice": best}
    rows: dict[str, Any] = {"all": {name: scored(truth, table) for name, table in tables.items()}}
    for value in sorted(set(kind.values())) if by else ():
        inside = {id_ for id_ in kind if kind[id_] == value}
        part = {name: {id_: table[id_] for id_ in sorted(inside)} for name, table in tables.items()}
        outside = {id_: example for id_, example in examples.items() if id_ not in inside}
        groups = deal([sample for sample in samples if sample.id in outside], plan.training.seed)
        others = [lesson for id_, lesson in lessons.items() if known[id_].attributes.get(by, "") != value]
        stranger = fit_scorer(outside, groups, plan.representation, quiet, others)
        if stranger is not None:
            part["chosen by others"] = {
                id_: found[id_].regions.choose(
                    stranger.scorer.quality(found[id_].features), stranger.scorer.least
                )[0]
                for id_ in sorted(inside)
            }
        rows[value] = {name: scored(truth, table) for name, table in part.items()}
        rows[value]["images"] = len(inside)
    return rows


def main() -> None:
    """Measure, print, and write JSON when asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--by", default="", help="column of the index")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = measure(Run(options.run), options.by)
    print("| images | decoder | DSB score | AP@0.5 | AP@0.75 | F1@0.5 |\n|---|---|---|---|---|---|")
    for value, table in rows.items():
        count = table.pop("images", None)
        for name, scores in table.items():
            figures = " | ".join(f"{scores[key]:.3f}" for key in SCORES)
            print(f"| {value}{f' ({count})' if count else ''} | {name} | {figures} |")
    if options.json:
        facts = {"date": date.today().isoformat(), **describe(), "command": " ".join(["python", *sys.argv])}
        facts["rows"] = rows
        write_text(options.json, json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
