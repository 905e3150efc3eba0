"""What single parts of the published systems are worth, each on one small network.

    OMP_NUM_THREADS=1 python benchmarks/ablations.py DATA -o OUT
    OMP_NUM_THREADS=1 python benchmarks/ablations.py DATA -o OUT --only loss weight-map

Trained on folds 2 and 3, tested on fold 1; fold 0 is not touched. The variants of a group
(`ablation_groups.py`) differ in what they are named after and in nothing else: data, validation images,
length, optimiser and seeds are the same. The first one is the baseline. ``sdm`` is about classes:
hippocampus3d, folds 2 to 4 of five that are made, tested on fold 1.

What lies in OUT is kept: a killed call goes on within the run that it was in. OUT/ablations.json and .md are
written anew after every run. Scores are those of `morula evaluate`: the mean over test images and seeds with
a 95 % percentile bootstrap over both; with three seeds, the part that is due to them is seen too small.
Differences are to the baseline: seeds are averaged image by image, then a paired sign-flip test over images,
p-values corrected within the group (Holm).
"""

import argparse
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ablation_groups import GROUPS, HIPPOCAMPUS, PACE, Group, Variant
from label_efficiency import predictions
from morula.data import splits
from morula.data.dataset import Dataset
from morula.data.files import write_text
from morula.errors import InputError
from morula.evaluation.comparison import holm
from morula.evaluation.evaluate import score_pairs
from morula.evaluation.semantic import ScoredCase, score_classes, summarize_classes
from morula.evaluation.statistics import paired_test
from morula.networks.count import cost
from morula.planning.plan import Plan
from morula.prediction.model import Model
from morula.training.run import Request, Run, open_selected, start_run
from morula.training.selftrain import SelftrainRequest, selftrain
from morula.training.train import train

SCORES = {"instances": ("dsb", "f1_50", "dice", "boundary_dice"), "semantic": ("dice", "nsd")}
"""Scores of the table; the first one is tested."""

RESAMPLES = 2000
"""Of the bootstrap."""


@dataclass(frozen=True)
class Job:
    """One call: the options, and what follows from them."""

    options: argparse.Namespace

    @cached_property
    def cells(self) -> Dataset:
        """The test images with objects."""
        return open_selected(self.options.data, {"fold": ("1",)})

    @cached_property
    def organs(self) -> tuple[Dataset, tuple[str, ...]]:
        """The test images with classes, and the ids of those to train on."""
        whole = open_selected(self.organs_path, {})
        _, test, *others = splits.make_folds(whole.labelled, 5, 0)
        classes = {pair.split("=")[0].split(".")[1]: int(pair.split("=")[1]) for pair in HIPPOCAMPUS[1:]}
        held_out = Dataset(
            whole.root, whole.select({"id": set(test)}).samples, task="semantic", classes=classes
        )
        return held_out, tuple(sorted(id_ for fold in others for id_ in fold))

    @property
    def organs_path(self) -> Path:
        """The data set with classes."""
        return self.options.organs or self.options.data.parent / "hippocampus3d"

    def folder(self, group: Group, variant: Variant, seed: int) -> Path:
        """Of one run."""
        return self.options.out / group.name / f"{variant.name}-{seed}"

    def request(self, group: Group, variant: Variant, seed: int) -> Request:
        """A supervised training."""
        steps = (self.options.steps or group.steps) * variant.longer
        chosen = (f"training.steps={steps}", f"training.seed={seed}")
        chosen += ("training.snapshots=3",) if group.teacher else ()
        select = {"id": self.organs[1]} if group.organs else {"fold": ("2", "3")}
        return Request(
            data=str((self.organs_path if group.organs else self.options.data).resolve()),
            recipe=variant.recipe or group.recipe,
            overrides=(*PACE, *group.overrides, *variant.overrides, *chosen),
            select=select,
            labelled=self.options.labelled if group.teacher else None,
        )

    def finish(self, group: Group, variant: Variant, seed: int) -> Path:
        """Train what is not trained yet."""
        folder = self.folder(group, variant, seed)
        if variant.method is None:
            self._train(folder, self.request(group, variant, seed))
            return folder
        # Groups with the same teacher share it.
        teacher = self.options.out / "teacher" / str(seed)
        self._train(teacher, self.request(group, Variant("teacher"), seed))
        if not (folder / "rounds.json").exists():
            asked = {
                "teacher": str(teacher.resolve()),
                "method": variant.method,
                "rounds": variant.rounds,
                "overrides": variant.overrides,
            }
            selftrain(folder, SelftrainRequest.model_validate(asked), device=self.options.device)
        return folder

    def _train(self, folder: Path, request: Request) -> None:
        start_run(folder, request)
        # The report is the last thing that a training writes.
        if not (folder / "report.html").exists():
            train(folder, request, device=self.options.device)

    def score(self, group: Group, run: Path) -> dict[str, Any]:
        """``test.json`` of a run, made when missing; what is needed for training only is then dropped."""
        path = run / "test.json"
        if not path.exists():
            model, plan = Model.load(run, self.options.device), Run(run).plan()
            found = score_organs(model, self.organs[0]) if group.organs else self._score_cells(model)
            facts = {"steps": steps_of(run), "parameters": parameters_of(plan)}
            write_text(path, json.dumps({**facts, **found}))
        for pattern in ("prepared*", "pseudo_*/overlays"):
            for folder in run.glob(pattern):
                shutil.rmtree(folder, ignore_errors=True)
        return json.loads(path.read_text(encoding="utf-8"))

    def _score_cells(self, model: Model) -> dict[str, Any]:
        metrics = score_pairs(predictions(model, self.cells))
        return {"scores": metrics["scores"], "images": metrics["images"]}


def score_organs(model: Model, dataset: Dataset) -> dict[str, Any]:
    """Scores of the classes of every test image."""
    cases = []
    for sample in dataset.labelled:
        image = dataset.image(sample)
        found = model.segment(image, diameter_px="trained").labels
        scores = score_classes(dataset.labels(sample), found, dataset.classes, image.spacing_um)
        cases.append(ScoredCase(sample.id, scores))
    metrics = summarize_classes(cases, dataset.classes)
    return {name: metrics[name] for name in ("scores", "classes", "images")}


def steps_of(run: Path) -> int:
    """Steps in all; of a student, those of its teacher and of every round."""
    path = run / "rounds.json"
    if path.exists():
        return sum(row["steps"] for row in json.loads(path.read_text(encoding="utf-8"))["rounds"])
    return Run(run).plan().training.steps


def parameters_of(plan: Plan) -> int:
    """Size of the network."""
    heads = plan.representation.heads(plan.ndim)
    return cost(plan.network, len(plan.channels), heads, plan.training.patch_size).parameters


def table_of(runs: Mapping[int, dict[str, Any]], score: str) -> np.ndarray:
    """A score of every test image in the order of their ids ``(seeds, images)``."""
    rows = [sorted(metrics["images"], key=lambda row: row["id"]) for _, metrics in sorted(runs.items())]
    return np.array([[row[score] for row in images] for images in rows], float)


def interval(table: np.ndarray) -> tuple[float, float]:
    """95 % of the means of tables ``(seeds, images)`` whose seeds and images are drawn with replacement."""
    rng, (n_seeds, n_images) = np.random.default_rng(0), table.shape
    seeds = rng.integers(0, n_seeds, (RESAMPLES, n_seeds, 1))
    images = rng.integers(0, n_images, (RESAMPLES, 1, n_images))
    low, high = np.percentile(table[seeds, images].mean((1, 2)), [2.5, 97.5])
    return float(low), float(high)


def against(runs: Mapping[int, Any], base: Mapping[int, Any], score: str) -> dict[str, float] | None:
    """The difference to the baseline over the seeds that both have; None when they share none."""
    shared = runs.keys() & base.keys()
    if not shared:
        return None
    sides = [table_of({seed: side[seed] for seed in shared}, score) for side in (runs, base)]
    ones = np.ones(sides[0].shape[1])
    test = paired_test((sides[0].mean(0), ones), (sides[1].mean(0), ones))
    low, high = interval(sides[0] - sides[1])
    return {"difference": test.difference, "low": low, "high": high, "p_value": test.p_value}


def summarise(group: Group, found: Mapping[str, Mapping[int, dict[str, Any]]]) -> list[dict[str, Any]]:
    """One line per variant that has runs."""
    main, *others = SCORES["semantic" if group.organs else "instances"]
    base = group.variants[0].name
    lines = []
    for name, runs in found.items():
        first, table = next(iter(runs.values())), table_of(runs, main)
        low, high = interval(table)
        means = {
            score: float(np.mean([run["scores"][score]["value"] for run in runs.values()]))
            for score in others
        }
        lines.append(
            {
                "variant": name,
                "steps": first["steps"],
                "parameters": first["parameters"],
                "n_images": table.shape[1],
                "seeds": sorted(runs),
                main: {
                    "mean": float(table.mean()),
                    "low": low,
                    "high": high,
                    "by_seed": table.mean(1).tolist(),
                },
                **means,
                "gain": None if name == base else against(runs, found.get(base, {}), main),
            }
        )
    gains = [line["gain"] for line in lines if line["gain"]]
    for gain, p_value in zip(gains, holm([gain["p_value"] for gain in gains]), strict=True):
        gain["p_holm"] = p_value
    return lines


def write_tables(job: Job, failed: Mapping[str, str]) -> None:
    """``ablations.json`` and ``ablations.md`` of everything that lies in OUT."""
    groups, text = {}, ["# Ablations", ""]
    for group in GROUPS:
        found: dict[str, dict[int, dict[str, Any]]] = {}
        for variant in group.variants:
            for seed in range(job.options.seeds):
                path = job.folder(group, variant, seed) / "test.json"
                if path.exists():
                    found.setdefault(variant.name, {})[seed] = json.loads(path.read_text(encoding="utf-8"))
        if found:
            groups[group.name] = summarise(group, found)
            text += markdown(group, groups[group.name])
    text += [f"- {name} failed: {why}" for name, why in failed.items()]
    content = {"groups": groups, "failed": dict(failed)}
    write_text(job.options.out / "ablations.json", json.dumps(content, indent=1))
    write_text(job.options.out / "ablations.md", "\n".join(text) + "\n")


def markdown(group: Group, lines: Sequence[dict[str, Any]]) -> list[str]:
    """A table for people."""
    main, *others = SCORES["semantic" if group.organs else "instances"]
    labels = {
        "dsb": "DSB score",
        "f1_50": "F1@.5",
        "dice": "Dice",
        "boundary_dice": "boundary Dice",
        "nsd": "NSD",
    }
    head = ["variant", "steps", "parameters, M", "seeds", labels[main]]
    head += [f"minus {group.variants[0].name}", "p (Holm)", *(labels[name] for name in others)]
    text = [f"## {group.name}: recipe `{group.recipe}`, {lines[0]['n_images']} test images", ""]
    text += [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for line in lines:
        score, gain = line[main], line["gain"]
        cells = [
            line["variant"],
            str(line["steps"]),
            f"{line['parameters'] / 1e6:.2f}",
            str(len(line["seeds"])),
        ]
        cells.append(f"{score['mean']:.3f} ({score['low']:.3f}–{score['high']:.3f})")
        if gain:
            cells.append(f"{gain['difference']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})")
            cells.append(f"{gain['p_holm']:.4f}")
        else:
            cells += ["", ""]
        text.append(f"| {' | '.join([*cells, *(f'{line[name]:.3f}' for name in others)])} |")
    return [*text, ""]


def read_options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="data set with objects and folds (dsb2018)")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--organs", type=Path, help="of sdm; hippocampus3d beside DATA when not given")
    names = [group.name for group in GROUPS]
    parser.add_argument(
        "--only", nargs="*", choices=names, default=names, metavar="NAME", help=", ".join(names)
    )
    parser.add_argument("--steps", type=int, help="in place of each group's own number")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--labelled", type=int, default=16, help="images with labels, of st++ and rounds")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def main() -> None:
    """Train, score and print, group by group and in each seed by seed."""
    job = Job(read_options())
    failed: dict[str, str] = {}
    for group in GROUPS:
        if group.name not in job.options.only:
            continue
        for seed in range(job.options.seeds):
            for variant in group.variants:
                start = time.monotonic()
                name = f"{group.name}/{variant.name}-{seed}"
                try:
                    found = job.score(group, job.finish(group, variant, seed))
                except InputError as error:
                    failed[name] = str(error)
                    print(f"{name} failed: {error}", flush=True)
                    continue
                main = SCORES["semantic" if group.organs else "instances"][0]
                value = found["scores"][main]["value"]
                minutes = (time.monotonic() - start) / 60
                print(f"{name}: {main} {value:.3f}, {found['steps']} steps, {minutes:.1f} min", flush=True)
                write_tables(job, failed)
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
