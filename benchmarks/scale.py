"""Does a model find the same objects when an image comes at another magnification?

    python benchmarks/scale.py DATA --model M --select fold=1 [--limit N] [--json scale.json]

Every image is cut to its middle `--field` and resampled by 0.25, 0.5, 1, 2 and 4, with its labels; those
whose median object is then below 6 px across are left out. F1 at IoU 0.5 pools TP, FP and FN over images:

- `auto`: the scale is estimated from the image, as `predict` does;
- `trained`: images are taken as they are, at the scale of the training images;
- `original`: `auto` on the same images before they were resampled. The goal is `auto` within 0.05 of it.
"""

import argparse
import json
import time
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from morula.cli.options import parse_selection
from morula.data.dataset import Dataset
from morula.data.layouts import open_dataset
from morula.data.sample import Image
from morula.labels.matching import Matching, match, pool
from morula.labels.measure import diameters
from morula.labels.resample import resample_labels
from morula.prediction.model import Model
from morula.preprocessing.geometry import resample
from morula.types import Labels

FACTORS = (1.0, 0.25, 0.5, 2.0, 4.0)
"""The original comes first: the others are compared with it."""

SMALLEST_PX = 6.0
"""Median diameter below which nothing is asked of a model."""


def cut_middle(image: Image, labels: Labels, field: int) -> tuple[Image, Labels]:
    """The middle square of at most `field` pixels a side."""
    starts = [max(0, (n - field) // 2) for n in labels.shape]
    middle = tuple(slice(start, start + field) for start in starts)
    return replace(image, pixels=image.pixels[(slice(None), *middle)]), labels[middle].copy()


def at_factor(image: Image, labels: Labels, factor: float) -> tuple[Image, Labels]:
    """Both resampled by `factor`."""
    shape = tuple(max(1, round(n * factor)) for n in labels.shape)
    return replace(image, pixels=resample(image.pixels, shape)), resample_labels(labels, shape)


def median_diameter(labels: Labels) -> float:
    """0 without objects."""
    found = diameters(np.maximum(labels, 0))
    return float(np.median(found)) if len(found) else 0.0


def measure_image(model: Model, image: Image, labels: Labels) -> list[dict[str, Any]]:
    """One row per factor that leaves objects large enough."""
    rows = []
    for factor in FACTORS:
        seen, truth = at_factor(image, labels, factor)
        diameter = median_diameter(truth)
        if diameter < SMALLEST_PX:
            continue
        row: dict[str, Any] = {"factor": factor, "diameter_px": round(diameter, 1)}
        for way in ("auto", "trained"):
            start = time.perf_counter()
            found = model.segment(seen, diameter_px=way)
            row[f"{way}_seconds"] = round(time.perf_counter() - start, 3)
            row[way] = match(truth, found.labels)[0]
            if way == "auto":
                row["zoom"] = round(found.zoom, 4)
        row["original"] = rows[0]["auto"] if rows else row["auto"]
        rows.append(row)
    return rows


def pooled(rows: list[dict[str, Any]], key: str) -> Matching:
    """Counts over images."""
    return pool([(row[key],) for row in rows])[0]


def summarize(rows: list[dict[str, Any]], factor: float) -> dict[str, Any]:
    """F1 of all images at one factor."""
    own = [row for row in rows if row["factor"] == factor]
    result: dict[str, Any] = {"factor": factor, "n_images": len(own)}
    if not own:
        return result
    result |= {key: round(pooled(own, key).f1, 4) for key in ("auto", "trained", "original")}
    result["zooms"] = dict(sorted(Counter(row["zoom"] for row in own).items()))
    result |= {key: round(sum(row[key] for row in own), 1) for key in ("auto_seconds", "trained_seconds")}
    return result


def measure_dataset(model: Model, dataset: Dataset, limit: int, field: int) -> list[dict[str, Any]]:
    """All rows of at most `limit` images, taken evenly."""
    samples = dataset.labelled
    step = max(1, len(samples) // limit) if limit else 1
    rows: list[dict[str, Any]] = []
    for sample in samples[::step][: limit or None]:
        image, labels = cut_middle(dataset.image(sample), dataset.labels(sample), field)
        for row in measure_image(model, image, labels):
            rows.append({"id": sample.id, "modality": sample.attributes.get("modality", ""), **row})
        print(".", end="", flush=True)
    print()
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--select", action="append", default=[], metavar="COLUMN=VALUE[,VALUE]")
    parser.add_argument("--model", default="generalist")
    parser.add_argument("--limit", type=int, default=0, help="images at most; 0: all")
    parser.add_argument("--field", type=int, default=512, help="side of the middle that is used, in pixels")
    parser.add_argument("--mirror", help="as of predict")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    dataset = open_dataset(options.data).select(parse_selection(options.select))
    model = Model.load(options.model, engine=options.engine)
    model = model.mirroring(options.mirror) if options.mirror else model
    rows = measure_dataset(model, dataset, options.limit, options.field)
    table = [summarize(rows, factor) for factor in sorted(FACTORS)]
    print(f"{options.data.name}, {options.model}: F1 at IoU 0.5")
    print("factor images     auto  trained original  zooms chosen")
    for line in table:
        scores = [f"{line.get(key, float('nan')):>8.3f}" for key in ("auto", "trained", "original")]
        zooms = "  ".join(f"{zoom:g}: {count}" for zoom, count in line.get("zooms", {}).items())
        print(f"{line['factor']:>6g} {line['n_images']:>6}", *scores, f" {zooms}")
    if options.json:
        plain = [{k: v.__dict__ if isinstance(v, Matching) else v for k, v in row.items()} for row in rows]
        facts = {"date": date.today().isoformat(), "model": str(options.model), "select": options.select}
        options.json.write_text(json.dumps({**facts, "factors": table, "images": plain}, indent=1))


if __name__ == "__main__":
    main()
