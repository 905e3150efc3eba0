"""Accuracy of a model on images that it has not seen, beside Otsu + distance watershed.

    python benchmarks/accuracy.py DATA --select stardist_split=test --model RUN [--json accuracy.json]

AP pools TP, FP and FN over images; the DSB score is the mean over images of the mean AP over IoU .50 to .95;
a pair matches at IoU >= t. Intervals: 95 %, bootstrap over images. For the model also how far its confidence
can be trusted: the expected calibration error over objects, and the rank correlation over images between
reliability (beside it: mean confidence) and F1.
"""

import argparse
import json
import platform
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed

from morula.cli.options import parse_selection
from morula.data.dataset import Dataset
from morula.data.layouts import open_dataset
from morula.data.sample import Image
from morula.evaluation.evaluate import score_pairs
from morula.labels.components import connected_components
from morula.prediction.calibration import expected_calibration_error, hits
from morula.prediction.model import Model
from morula.prediction.reliability import rank_correlation
from morula.types import Labels

SCORES = ("ap_50", "ap_75", "ap_90", "dsb", "f1_50", "pq")


def otsu_watershed(image: Image) -> Labels:
    """The classic baseline: Otsu's threshold, distance map, watershed from its maxima."""
    grey = image.pixels.astype(np.float32).mean(0)
    level = threshold_otsu(grey)
    bright = grey > level
    # Nuclei cover less than half of an image, whichever side of the threshold they are on.
    mask = bright if bright.mean() < 0.5 else ~bright
    distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), 1.0)
    peaks = (distance == ndimage.maximum_filter(distance, 9)) & mask
    return watershed(-distance, connected_components(peaks), mask=mask).astype(np.int32)


Pairs: TypeAlias = Iterator[tuple[str, Labels, Labels, dict[str, str]]]


def baseline(dataset: Dataset) -> Pairs:
    """Id, truth, classic prediction and columns of every labelled sample."""
    for sample in dataset.labelled:
        found = otsu_watershed(dataset.image(sample))
        yield sample.id, dataset.labels(sample), found, dict(sample.attributes)


Judged: TypeAlias = dict[str, tuple[list[tuple[float, bool]], float]]
"""By image: confidence and hit of every object, and the reliability of the image."""


def predictions(dataset: Dataset, model: Model, judged: Judged) -> Pairs:
    """Id, truth, the model's prediction and columns; how far it says it can be trusted goes into `judged`."""
    for sample in dataset.labelled:
        found, truth = model.segment(dataset.image(sample)), dataset.labels(sample)
        judged[sample.id] = hits(truth, found.labels, found.confidence), found.reliability or 0.0
        yield sample.id, truth, found.labels, dict(sample.attributes)


def trust(judged: Judged, metrics: dict[str, Any]) -> dict[str, Any]:
    """Calibration error over objects, and over images with objects Spearman's correlation with F1."""
    every = [item for objects, _ in judged.values() for item in objects]
    error, bins = expected_calibration_error(np.array([c for c, _ in every]), np.array([h for _, h in every]))
    f1 = {row["id"]: row["f1_50"] for row in metrics["images"]}
    named = {name: found for name, found in judged.items() if found[0]}
    reliability = [(value, f1[name]) for name, (_, value) in named.items()]
    means = [(float(np.mean([c for c, _ in objects])), f1[name]) for name, (objects, _) in named.items()]
    ranks = {"spearman": rank_correlation(reliability), "spearman_of_confidence": rank_correlation(means)}
    return {"ece": error, "bins": bins, **ranks, "n_objects": len(every)}


def row(name: str, scores: dict[str, Any], keys: tuple[str, ...] = SCORES) -> str:
    """One line of the table."""
    return f"{name:<34}" + "".join(f"{scores[key]['value']:>9.3f}" for key in keys if key in scores)


def main() -> None:
    """Score and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--select", action="append", default=[], metavar="COLUMN=VALUE[,VALUE]")
    parser.add_argument("--model", default="generalist")
    parser.add_argument("--mirror", help="none, opposite or all; as the model's plan says unless given")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    dataset = open_dataset(options.data).select(parse_selection(options.select))
    facts = {"date": date.today().isoformat(), "machine": platform.processor() or platform.machine()}
    print(f"{len(dataset.labelled)} images of {options.data.name} ({', '.join(options.select) or 'all'})")
    print(f"{'':<34}" + "".join(f"{key:>9}" for key in SCORES))
    judged: Judged = {}
    model = Model.load(options.model)
    model = model.mirroring(options.mirror) if options.mirror else model
    found = predictions(dataset, model, judged)
    for name, pairs in ((options.model, found), ("Otsu + watershed", baseline(dataset))):
        start = time.perf_counter()
        metrics = score_pairs(pairs)
        seconds = time.perf_counter() - start
        print(row(Path(name).name, metrics["scores"]), f"  {seconds:.0f} s")
        for column, strata in metrics["strata"].items():
            for stratum in strata if column == "modality" else ():
                print(row(f"  {stratum['value']} ({stratum['n_images']})", stratum))
        facts[Path(name).name] = {**metrics, "seconds": seconds}
    trusted = trust(judged, facts[Path(options.model).name])
    facts["confidence"] = trusted
    print(f"confidence: calibration error {trusted['ece']:.3f} over {trusted['n_objects']} objects, ", end="")
    print(f"rank correlation of reliability with F1 over images {trusted['spearman']:.2f} ", end="")
    print(f"(of mean confidence {trusted['spearman_of_confidence']:.2f})")
    if options.json:
        options.json.write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
