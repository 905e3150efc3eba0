"""Minutes of training until AP@0.5 on StarDist's test images reaches 0.80: `auto` beside StarDist's package.

    OMP_NUM_THREADS=1 python benchmarks/time_to_accuracy.py stardist DATA -o OUT --environments ENVIRONMENTS
    OMP_NUM_THREADS=1 python benchmarks/time_to_accuracy.py morula DATA -o OUT
    python benchmarks/time_to_accuracy.py table DATA -o OUT --json FILE.json

Both learn from the same images, choose thresholds on the same others, and get one core each (``--core``), so
that the two may run side by side. StarDist trains on and is looked at every ``--every`` steps
(`stardist_worker.py`); its looks cost it no time. `auto` anneals its rate to the end, so every length is a
training of its own (``--steps``), and its time is that of the whole call of ``morula train``: preparing,
validating, choosing the decoder and the report included. What lies in OUT is kept; ``table`` scores it.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from machine import describe
from morula.data.dataset import Dataset
from morula.data.files import write_text
from morula.evaluation.evaluate import score_pairs
from morula.evaluation.statistics import paired_test
from morula.prediction.model import Model
from morula.training.run import Request, folds_of, open_selected, plan_run, start_run
from morula.training.train import train
from morula.types import Labels

GOAL = 0.8
TRAIN, TEST = {"stardist_split": ("train",)}, {"stardist_split": ("test",)}
SCORES = ("ap_50", "ap_75", "dsb")


def run_folder(out: Path, steps: int) -> Path:
    """Of one training of ours."""
    return out / f"morula_{steps}"


def request(data: Path, steps: int) -> Request:
    """`auto` on StarDist's training images."""
    overrides = (f"training.steps={steps}",)
    return Request(data=str(data.resolve()), recipe="auto", select=TRAIN, fold=0, overrides=overrides)


def train_ours(options: argparse.Namespace) -> None:
    """Every length that is asked for, in a process of its own, which is timed."""
    for steps in options.steps:
        folder = run_folder(options.out, steps)
        if (folder / "seconds.json").exists():
            continue
        if options.child:
            train(folder, request(options.data, steps))
            continue
        # A training that was killed begins afresh: nothing says how long it had taken.
        shutil.rmtree(folder, ignore_errors=True)
        started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        child = [*sys.argv[:1], "morula", str(options.data), "-o", str(options.out)]
        subprocess.run([sys.executable, *child, "--steps", str(steps), "--child"], check=True)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
        found = {"cpu_seconds": cpu, "seconds": time.perf_counter() - started}
        write_text(folder / "seconds.json", json.dumps(found))


def write_images(path: Path, dataset: Dataset, ids: set[str]) -> None:
    """Grey images and their objects, for the other environment."""
    arrays: dict[str, np.ndarray] = {}
    for i, sample in enumerate(sample for sample in dataset.labelled if sample.id in ids):
        arrays[f"image_{i}"] = dataset.image(sample).pixels[0]
        arrays[f"labels_{i}"] = dataset.labels(sample)
    np.savez(path, **arrays)  # pyright: ignore[reportArgumentType]


def train_stardist(options: argparse.Namespace) -> None:
    """One training, in StarDist's environment."""
    folder = options.out / "stardist"
    folder.mkdir(parents=True)
    # The same validation images as ours.
    run = start_run(options.out / "plan", request(options.data, 1))
    plan_run(run)
    ((_, held_out),) = folds_of(run)
    dataset = run.dataset()
    everything = {sample.id for sample in dataset.labelled}
    write_images(folder / "train.npz", dataset, everything - set(held_out))
    write_images(folder / "validation.npz", dataset, set(held_out))
    test = open_selected(options.data, TEST)
    write_images(folder / "test.npz", test, {sample.id for sample in test.labelled})
    python = options.environments / "stardist" / "bin" / "python"
    worker = Path(__file__).with_name("stardist_worker.py")
    steps = str(max(options.steps)), str(options.every)
    subprocess.run([str(python), str(worker), str(folder), *steps], check=True)


def pairs_of_ours(folder: Path, dataset: Dataset) -> Iterator[tuple[str, Labels, Labels, dict[str, str]]]:
    """Id, truth, prediction and columns of every test image."""
    model = Model.load(folder)
    for sample in dataset.labelled:
        found = model.segment(dataset.image(sample), diameter_px="trained").labels
        yield sample.id, dataset.labels(sample), found, {}


def pairs_of_stardist(path: Path, dataset: Dataset) -> Iterator[tuple[str, Labels, Labels, dict[str, str]]]:
    """The same of one look."""
    found = np.load(path)
    for i, sample in enumerate(dataset.labelled):
        yield sample.id, dataset.labels(sample), found[f"arr_{i}"], {}


def scored(pairs: Iterator[tuple[str, Labels, Labels, dict[str, str]]]) -> dict[str, Any]:
    """Scores over all images, and the DSB score of each."""
    metrics = score_pairs(pairs)
    scores = {name: metrics["scores"][name]["value"] for name in SCORES}
    return {**scores, "images": [row["dsb"] for row in sorted(metrics["images"], key=lambda row: row["id"])]}


def score(options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Every look of StarDist and every training of ours, by their time."""
    test = open_selected(options.data, TEST)
    rows: dict[str, list[dict[str, Any]]] = {"stardist": [], "morula": []}
    looks = options.out / "stardist" / "looks.jsonl"
    for line in looks.read_text(encoding="utf-8").splitlines():
        look = json.loads(line)
        found = scored(pairs_of_stardist(looks.with_name(f"{look['steps']}.npz"), test))
        rows["stardist"].append({**look, **found})
    for folder in options.out.glob("morula_*"):
        if (path := folder / "seconds.json").exists():
            seconds = json.loads(path.read_text(encoding="utf-8"))
            steps = int(folder.name.split("_")[1])
            rows["morula"].append({"steps": steps, **seconds, **scored(pairs_of_ours(folder, test))})
    return {name: sorted(found, key=lambda row: row["steps"]) for name, found in rows.items()}


def reached(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The first row at the goal."""
    return next((row for row in rows if row["ap_50"] >= GOAL), None)


def same_time(rows: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
    """Our longest training against StarDist's last look that took no less time, image by image."""
    ours = rows["morula"][-1]
    longer = [row for row in rows["stardist"] if row["cpu_seconds"] >= ours["cpu_seconds"]]
    theirs = longer[0] if longer else rows["stardist"][-1]
    ones = np.ones(len(ours["images"]))
    test = paired_test((np.array(ours["images"]), ones), (np.array(theirs["images"]), ones))
    minutes = {"morula_minutes": ours["cpu_seconds"] / 60, "stardist_minutes": theirs["cpu_seconds"] / 60}
    return {**minutes, "difference": test.difference, "p_value": test.p_value}


def print_table(rows: dict[str, list[dict[str, Any]]], against: dict[str, float]) -> None:
    """Markdown."""
    print("| program | steps | minutes | minutes of processor time | AP@0.5 | AP@0.75 | DSB score |")
    print("|---|---|---|---|---|---|---|")
    for name, found in rows.items():
        for row in found:
            minutes = f"{row['seconds'] / 60:.1f} | {row['cpu_seconds'] / 60:.1f}"
            scores = " | ".join(f"{row[score]:.3f}" for score in SCORES)
            print(f"| {name} | {row['steps']:,} | {minutes} | {scores} |")
    first = {name: reached(found) for name, found in rows.items()}
    for name, row in first.items():
        when = f"{row['cpu_seconds'] / 60:.1f} minutes of processor time" if row else "not reached"
        print(f"{name}: AP@0.5 of {GOAL}: {when}")
    print(
        f"DSB score after {against['morula_minutes']:.0f} minutes, against StarDist's after"
        f" {against['stardist_minutes']:.0f}: {against['difference']:+.3f}, p = {against['p_value']:.4f}"
    )


def main() -> None:
    """Train, or print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("stardist", "morula", "table"))
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--environments", type=Path, default=Path("environments"))
    parser.add_argument("--core", type=int, help="of the training")
    parser.add_argument("--steps", type=int, nargs="+", default=[6000], help="of each training")
    parser.add_argument("--every", type=int, default=500, help="steps between two looks at StarDist")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    if options.what == "stardist":
        train_stardist(options)
    elif options.what == "morula":
        train_ours(options)
    else:
        rows = score(options)
        against = same_time(rows)
        print_table(rows, against)
        if options.json:
            facts = {"date": date.today().isoformat(), **describe(), "threads": 1}
            found = {**facts, "command": " ".join(["python", *sys.argv]), "rows": rows, "same_time": against}
            write_text(options.json, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
