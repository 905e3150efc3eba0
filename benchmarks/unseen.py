"""Kinds of images that a network has not met: what painting patches anew (`repaint`) is worth.

    python benchmarks/unseen.py DATA [OTHER ...] -o OUT --seen fluorescence --select fold=2,3 --test fold=1

A small network of `auto` sees one modality of DATA, with each chance of `--repaint` in turn, and is scored on
the test images of that one and of all others, and on OTHER data sets; all images as grey ones. Resumable:
what is trained stays trained. DSB score and F1@0.5, 95 % bootstrap intervals over images.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from morula.cli.options import parse_selection
from morula.data.dataset import Dataset
from morula.data.layouts import open_dataset
from morula.data.sample import Image, Sample
from morula.evaluation.evaluate import score_pairs
from morula.prediction.model import Model
from morula.training.run import Request
from morula.training.train import train

CHANGES = (
    "zoom_to_px=[8.0,72.0] zoom_probability=0.6 intensity=0.5 gamma=0.3 histogram=0.1 uneven=0.2 blur=0.2 "
    "blur_px=[0.5,2.0] low_resolution=0.1 noise=0.25 compression=0.2 invert=0.3 shuffle=0.3 colour=0.4 "
    "per_object=0.15 pseudo_colour=0.2 faint=0.15"
)
"""As `generalist` is trained."""

NETWORK = ("network.features=[16,32,64,128]", "network.blocks=[1,1,1,1]", "halo_px=[32,32]")


def trained(options: argparse.Namespace, chance: float) -> Model:
    """The model that has seen one modality."""
    folder = options.out / f"repaint-{chance}"
    changes = [f"training.augmentation.{change}" for change in (*CHANGES.split(), f"repaint={chance}")]
    steps = f"training.steps={options.steps}", f"training.validate_every={options.steps}"
    select = {column: tuple(sorted(values)) for column, values in parse_selection(options.select).items()}
    request = Request(
        data=str(options.data[0].resolve()),
        overrides=(*changes, *steps, *NETWORK, "training.optimizer.learning_rate=0.002"),
        select={**select, "modality": (options.seen,)},
    )
    train(folder, request)
    return Model.load(folder)


def grey(image: Image) -> Image:
    """The mean of the channels."""
    return replace(image, pixels=image.pixels.astype(np.float32).mean(0, keepdims=True), channels=("grey",))


def groups(options: argparse.Namespace) -> Iterator[tuple[str, Dataset, tuple[Sample, ...]]]:
    """Name, data set and samples of everything to be scored."""
    tested = open_dataset(options.data[0]).select(parse_selection(options.test))
    for modality in sorted({sample.attributes["modality"] for sample in tested.labelled}):
        yield modality, *_first(tested.select({"modality": {modality}}), options.limit)
    for other in options.data[1:]:
        yield other.name, *_first(open_dataset(other), options.limit)


def _first(dataset: Dataset, limit: int) -> tuple[Dataset, tuple[Sample, ...]]:
    """Evenly spaced samples, at most `limit`."""
    step = max(1, len(dataset.labelled) // limit)
    return dataset, tuple(dataset.labelled[::step][:limit])


def main() -> None:
    """Train, score and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--seen", required=True, help="the modality to train on")
    parser.add_argument("--select", action="append", default=[], metavar="COLUMN=VALUE[,VALUE]")
    parser.add_argument("--test", action="append", default=[], metavar="COLUMN=VALUE[,VALUE]")
    parser.add_argument("--repaint", type=float, nargs="+", default=[0.0, 0.3])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--limit", type=int, default=40, help="images of a modality, of another set")
    options = parser.parse_args()
    for chance in options.repaint:
        model = trained(options, chance)
        for name, dataset, samples in groups(options):
            pairs = (
                (s.id, dataset.labels(s), model.segment(grey(dataset.image(s))).labels, {}) for s in samples
            )
            scores = score_pairs(pairs)["scores"]
            told = (
                f"{key} {{value:.3f}} ({{low:.3f}} to {{high:.3f}})".format(**scores[key])
                for key in ("dsb", "f1_50")
            )
            print(f"repaint {chance}, {name} ({len(samples)}): " + ", ".join(told), flush=True)


if __name__ == "__main__":
    main()
