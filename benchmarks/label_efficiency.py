"""What unlabelled images are worth: supervised training against self-training and ST++, by number of labels.

    python benchmarks/label_efficiency.py DATA --select fold=2,3 --test fold=1 -o OUT --budget 6m --retrain 6m

For each seed and number of labelled images a teacher is trained on them, the others counting as unlabelled,
and from it one student by each method. As students cost time beyond their teacher's, ``longer`` is the
supervised training with the budgets of both. With ``--steps N`` in place of budgets a teacher has N steps,
each of a student's two rounds as many, and ``longer`` 3 N. All are scored on the test images, which nothing
else sees. What lies in OUT already is kept: a killed call goes on. OUT/label_efficiency.json and .csv hold
the DSB score of each number and method, mean and deviation over seeds, .svg draws it; the gain over
``supervised`` is the mean over seeds and test images, its interval the bootstrap over test images.
"""

import argparse
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from morula.cli.options import parse_selection
from morula.data.dataset import Dataset
from morula.data.files import write_atomic
from morula.data.layouts import open_dataset
from morula.errors import InputError
from morula.evaluation.evaluate import score_pairs
from morula.evaluation.statistics import paired_test
from morula.planning.budget import parse_budget
from morula.planning.fingerprint import Fingerprint
from morula.prediction.model import Model
from morula.training.run import Request, Run
from morula.training.selftrain import SelftrainRequest, selftrain
from morula.training.train import train
from morula.types import Labels

NETWORK = 'network={kind="residual_unet", features=[16, 32, 64, 128], blocks=[1, 1, 1, 1]}'
"""One small U-Net for all, unless ``--set network=...`` says otherwise."""

METHODS = ("supervised", "longer", "iterative", "st++")


def request(options: argparse.Namespace, method: str, seed: int, count: int | None) -> Request:
    """A supervised training on `count` labelled images; None: all."""
    chosen = {column: tuple(sorted(values)) for column, values in parse_selection(options.select).items()}
    overrides = (NETWORK, "training.snapshots=3", *options.set, f"training.seed={seed}")
    longer = method == "longer"
    if options.steps:
        overrides += (f"training.steps={3 * options.steps if longer else options.steps}",)
        budget_s = None
    else:
        budget_s = options.budget + options.retrain if longer else options.budget
    return Request(
        data=str(options.data.resolve()),
        recipe=options.recipe,
        overrides=overrides,
        select=chosen,
        labelled=count,
        budget_s=budget_s,
    )


def train_method(options: argparse.Namespace, method: str, seed: int, count: int | None) -> Path:
    """The run folder of one training; passed over when it is finished."""
    place = options.out / f"seed{seed}" / (f"{count}_labelled" if count else "all_labelled")
    folder = place / method
    if (folder / "report.html").exists() and (method in METHODS[:2] or (folder / "rounds.json").exists()):
        return folder
    if method in METHODS[:2]:
        train(folder, request(options, method, seed, count), device=options.device)
        return folder
    asked = SelftrainRequest.model_validate(
        {
            "teacher": str((place / "supervised").resolve()),
            "method": method,
            "budget_s": None if options.steps else options.retrain,
            "overrides": ("training.retraining.share=1",) if options.steps else (),
        }
    )
    selftrain(folder, asked, device=options.device)
    return folder


def predictions(model: Model, dataset: Dataset) -> Iterator[tuple[str, Labels, Labels, dict[str, str]]]:
    """Id, truth, prediction and columns of every labelled sample."""
    for sample in dataset.labelled:
        found = model.segment(dataset.image(sample), diameter_px="trained").labels
        yield sample.id, dataset.labels(sample), found, dict(sample.attributes)


def scores_on_test(run: Path, dataset: Dataset, device: str) -> dict[str, Any]:
    """``test.json`` of a run: its scores on the test images; made when missing."""
    path = run / "test.json"
    if not path.exists():
        metrics = score_pairs(predictions(Model.load(run, device), dataset))
        with write_atomic(path) as part:
            part.write_text(json.dumps(metrics), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def dsb_by_image(metrics: dict[str, Any]) -> np.ndarray:
    """DSB score of each test image, in the order of their ids."""
    return np.array([row["dsb"] for row in sorted(metrics["images"], key=lambda row: row["id"])])


def gain(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> dict[str, float]:
    """Mean difference of the DSB scores, seeds averaged image by image, with its interval over images."""
    sides = [np.mean([dsb_by_image(metrics) for metrics in side], axis=0) for side in (first, second)]
    ones = np.ones(len(sides[0]))
    test = paired_test((sides[0], ones), (sides[1], ones))
    return {"gain": test.difference, "low": float(test.low), "high": float(test.high), "p": test.p_value}


def summarise(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line per number of labels and method: mean and spread over seeds, gain over ``supervised``."""
    lines = []
    for count in dict.fromkeys(row["labelled"] for row in rows):
        of = {m: [r for r in rows if (r["labelled"], r["method"]) == (count, m)] for m in METHODS}
        for method, found in of.items():
            if not found:
                continue
            values = [row["metrics"]["scores"]["dsb"]["value"] for row in found]
            line = {
                "labelled": count,
                "objects": round(float(np.mean([row["objects"] for row in found]))),
                "method": method,
                "seeds": len(found),
                "dsb": float(np.mean(values)),
                "deviation": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0,
            }
            seeds = {row["seed"] for row in found}
            base = [row["metrics"] for row in of["supervised"] if row["seed"] in seeds]
            lines.append(line | gain([row["metrics"] for row in found], base))
    return lines


NAMES = {
    "supervised": "supervised: the teacher",
    "longer": "supervised, as long as all",
    "iterative": "iterative self-training",
    "st++": "ST++",
}
"""Of the methods, for people."""


def draw(lines: list[dict[str, Any]], path: Path) -> None:
    """DSB score over the number of labelled objects, a line for each method; bars are seeds' deviations."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.5, 4), layout="constrained")
    axes = figure.subplots()
    for method, name in NAMES.items():
        found = [line for line in lines if line["method"] == method]
        if found:
            x, y = [line["objects"] for line in found], [line["dsb"] for line in found]
            axes.errorbar(x, y, [line["deviation"] for line in found], marker="o", capsize=3, label=name)
    axes.set(xscale="log", xlabel="labelled objects", ylabel="DSB score")
    ticks = sorted({line["objects"] for line in lines})
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.grid(alpha=0.3)
    axes.legend()
    with write_atomic(path) as part:
        figure.savefig(part, format=path.suffix[1:])


def write_table(out: Path, lines: list[dict[str, Any]]) -> None:
    """``label_efficiency.json``, ``.csv`` and ``.svg``."""
    draw(lines, out / "label_efficiency.svg")
    with write_atomic(out / "label_efficiency.json") as part:
        part.write_text(json.dumps(lines, indent=1), encoding="utf-8")
    with write_atomic(out / "label_efficiency.csv") as part, part.open("w", newline="") as file:
        table = csv.DictWriter(file, list(lines[0]))
        table.writeheader()
        table.writerows(lines)


def show_table(lines: list[dict[str, Any]]) -> None:
    """The same for people."""
    print(f"{'labelled':>8} {'objects':>8}  {'method':<11}{'seeds':>6}{'DSB':>8}{'+-':>7}{'gain':>8}  95 %")
    for line in lines:
        print(
            f"{line['labelled']:>8} {line['objects']:>8}  {line['method']:<11}{line['seeds']:>6}"
            f"{line['dsb']:>8.3f}{line['deviation']:>7.3f}"
            f"{line['gain']:>+8.3f}  {line['low']:+.3f} to {line['high']:+.3f}"
        )


def read_options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--select", action="append", default=[], metavar="COLUMN=VALUE[,VALUE]")
    parser.add_argument("--test", action="append", required=True, metavar="COLUMN=VALUE[,VALUE]")
    parser.add_argument("--labelled", type=int, nargs="*", default=[8, 16, 64], help="beside all of them")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS))
    parser.add_argument("--budget", type=parse_budget, default=360.0, help="of a supervised training")
    parser.add_argument("--retrain", type=parse_budget, default=360.0, help="of all rounds together")
    parser.add_argument("--steps", type=int, help="in place of budgets, so that the machine does not matter")
    parser.add_argument("--recipe", default="auto")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def trainings(options: argparse.Namespace) -> Iterator[tuple[int, int | None, str]]:
    """Seed, number of labelled images (None: all) and method of each, a teacher before its students."""
    for count in (*options.labelled, None):
        for seed in range(options.seeds):
            # Without unlabelled images there is nothing for a student to learn from.
            possible = METHODS[:2] if count is None else METHODS
            for method in possible:
                if method == "supervised" or method in options.methods:
                    yield seed, count, method


def main() -> None:
    """Train, score and print; the table is written anew after every training."""
    options = read_options()
    test = open_dataset(options.data).select(parse_selection(options.test))
    rows = []
    for seed, count, method in trainings(options):
        try:
            run = train_method(options, method, seed, count)
        except InputError as error:
            if method in METHODS[:2]:
                raise
            # A teacher that finds nothing has no student; the others go on.
            print(f"seed {seed}, {count} labelled, {method}: {error}")
            continue
        facts = Fingerprint.load(Run(run).fingerprint_path)
        row = {"seed": seed, "labelled": facts.n_labelled, "objects": facts.n_objects, "method": method}
        rows.append({**row, "metrics": scores_on_test(run, test, options.device)})
        write_table(options.out, summarise(rows))
    show_table(summarise(rows))


if __name__ == "__main__":
    main()
