"""Four-fold cross-validation of a small data set: no image is scored by a model that has seen its fold.

    python benchmarks/out_of_fold.py DATA -o RUNS [--from MODEL] [--steps N] [--set KEY=VALUE]... [--folds K]

Folds are those of the index, or the place in the order of ids modulo 4. Each fold's model chooses weights
and decoder on images of the other folds alone. Resumable: what is trained stays trained. Scores pool TP, FP
and FN over all images; they are written to ``RUNS/out_of_fold.json``. ``--folds`` names those to test on.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from accuracy import SCORES, otsu_watershed, row
from machine import describe
from morula.data.dataset import Dataset
from morula.data.files import write_text
from morula.data.layouts import open_dataset
from morula.evaluation.evaluate import score_pairs
from morula.prediction.model import Model
from morula.training.run import Request
from morula.training.train import train
from morula.types import Labels

N_FOLDS = 4


def folds(dataset: Dataset) -> dict[str, int]:
    """Fold of every labelled sample, by its id."""
    given = [sample.fold for sample in dataset.labelled]
    return {
        sample.id: place % N_FOLDS if None in given else int(sample.fold or 0)
        for place, sample in enumerate(dataset.labelled)
    }


def models(options: argparse.Namespace, of_id: dict[str, int]) -> Iterator[tuple[int, Model]]:
    """Number of every fold, and the model trained on the others."""
    for fold in sorted(set(of_id.values()).intersection(options.folds or range(N_FOLDS))):
        others = tuple(id_ for id_, own in of_id.items() if own != fold)
        steps = (f"training.steps={options.steps}",) if options.steps else ()
        request = Request(
            data=str(options.data.resolve()),
            recipe=options.recipe,
            start_from=options.start_from,
            select={"id": others},
            fold=0,
            overrides=(*steps, *options.overrides),
        )
        run = options.out / f"without_{fold}"
        print(f"fold {fold}: {len(others)} images to train on", flush=True)
        train(run, request)
        yield fold, Model.load(run)


def pairs(
    options: argparse.Namespace, dataset: Dataset, of_id: dict[str, int]
) -> Iterator[tuple[str, Labels, Labels, dict[str, str]]]:
    """Id, truth, prediction and columns of every image."""
    for fold, model in models(options, of_id):
        for sample in dataset.labelled:
            if of_id[sample.id] == fold:
                found = model.segment(dataset.image(sample)).labels
                yield sample.id, dataset.labels(sample), found, {"fold": str(fold)}


def main() -> None:
    """Read the command line, train, score and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--from", dest="start_from")
    parser.add_argument("--recipe", default="auto")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--folds", type=int, nargs="*", metavar="K", help="those to test on; all")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    dataset = open_dataset(options.data)
    of_id = folds(dataset)
    tested = [s for s in dataset.labelled if not options.folds or of_id[s.id] in options.folds]
    classic = ((s.id, dataset.labels(s), otsu_watershed(dataset.image(s)), {}) for s in tested)
    results = {
        "Morula": score_pairs(pairs(options, dataset, of_id), by=("fold",)),
        "Otsu + watershed": score_pairs(classic),
    }
    tested_folds = sorted({of_id[s.id] for s in tested})
    print(f"{len(tested)} images of {options.data.name}, folds {', '.join(map(str, tested_folds))}")
    print(f"{'':<34}" + "".join(f"{key:>9}" for key in SCORES))
    for name, metrics in results.items():
        print(row(name, metrics["scores"]))
        for stratum in metrics["strata"].get("fold", ()):
            print(row(f"  fold {stratum['value']} ({stratum['n_images']})", stratum))
    facts = {"date": date.today().isoformat(), **describe(), "command": " ".join(["python", *sys.argv])}
    write_text(options.out / "out_of_fold.json", json.dumps({**facts, **results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
