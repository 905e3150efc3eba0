"""What a model finds in composites of stains: in all colours, in the right one, in that which the rule takes.

    python benchmarks/composites.py DATA --select fold=1 --select modality=fluorescence --model NAME

Nuclei of one image in a colour; in the others smooth, grained cytoplasm around them, fibres, or the nuclei of
another image. DSB score of all colours together, of the right one alone, and of the colour that
`morula.prediction.stains` chooses; the images are drawn at random (seed 0).
"""

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from morula.cli.options import parse_selection
from morula.data.dataset import Dataset
from morula.data.layouts import open_dataset
from morula.data.sample import RGB, Image, Sample
from morula.evaluation.metrics import match_image, mean_ap
from morula.prediction.model import Model

KINDS = {
    "nuclei in blue, cytoplasm in green": ("", "cytoplasm", "nuclei"),
    "the same, fibres in red": ("fibres", "cytoplasm", "nuclei"),
    "nuclei in red, cytoplasm in green": ("nuclei", "cytoplasm", ""),
    "nuclei in blue, other nuclei in red": ("others", "", "nuclei"),
}
"""What is shown in red, green and blue."""


def grey(dataset: Dataset, sample: Sample) -> np.ndarray:
    """The first channel, its 1st percentile 0 and its 99.8th 1."""
    pixels = dataset.image(sample).pixels[0].astype(float)
    low, high = np.percentile(pixels, (1, 99.8))
    return np.clip((pixels - low) / max(high - low, 1e-6), 0, 1.2)


def composite(nuclei: np.ndarray, other: np.ndarray, shown: tuple[str, ...], seed: int) -> Image:
    """The picture ``(3, y, x)`` of what is shown in each colour, with a little noise."""
    rng, smooth = np.random.default_rng(seed), ndimage.gaussian_filter
    others = np.zeros_like(nuclei)
    height, width = (min(sizes) for sizes in zip(nuclei.shape, other.shape, strict=True))
    others[:height, :width] = other[:height, :width]
    grain = 0.6 + 0.8 * smooth(rng.random(nuclei.shape), 2)
    streaks = np.abs(smooth(rng.standard_normal(nuclei.shape), (1, 6)))
    planes = {
        "": np.zeros_like(nuclei),
        "nuclei": nuclei,
        "others": others,
        "cytoplasm": smooth((nuclei > 0.3).astype(float), 7) * grain,
        "fibres": streaks * smooth((others > 0.2).astype(float), 9),
    }
    for name in ("cytoplasm", "fibres"):
        planes[name] /= max(planes[name].max(), 1e-6)
    pixels = np.stack([planes[name] for name in shown]) * 200 + rng.random((3, *nuclei.shape)) * 6
    return Image(pixels.clip(0, 255).astype(np.uint8), RGB)


def main() -> None:
    """Read the command line, print a line for each kind."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--select", action="append", default=[], metavar="COLUMN=VALUE[,VALUE]")
    parser.add_argument("--model", required=True)
    parser.add_argument("--limit", type=int, default=10)
    options = parser.parse_args()
    dataset = open_dataset(options.data).select(parse_selection(options.select))
    ruled = Model.load(options.model)
    training = ruled.plan.training
    never = training.augmentation.model_copy(update={"pseudo_colour": 0.0})
    training = training.model_copy(update={"augmentation": never})
    whole = replace(ruled, plan=ruled.plan.model_copy(update={"training": training}))
    order = np.random.default_rng(0).permutation(len(dataset.labelled))[: options.limit]
    samples = [dataset.labelled[index] for index in order]
    pictures = [grey(dataset, sample) for sample in samples]
    for kind, shown in KINDS.items():
        rows, colours = [], Counter[str]()
        right = RGB[shown.index("nuclei")]
        for k, sample in enumerate(samples):
            image = composite(pictures[k], pictures[(k + 1) % len(pictures)], shown, k)
            found = ruled.segment(image)
            colours[found.channel or "all"] += 1
            answers = [whole.segment(image).labels, whole.segment(image.only(right)).labels, found.labels]
            rows.append([mean_ap(match_image(dataset.labels(sample), labels)) for labels in answers])
        together, alone, rule = np.mean(rows, 0)
        print(f"{kind}: together {together:.3f}, {right} alone {alone:.3f}, rule {rule:.3f}; {dict(colours)}")


if __name__ == "__main__":
    main()
