"""How much a model's answer changes with changes of an image that show the same: F1 at IoU 0.5 of the two.

    python benchmarks/invariance.py DATA --select fold=1 --model NAME [--limit N] [--json invariance.json]

No truth is used: the prediction on every changed copy is matched with that on the image itself. Images on
which neither finds an object are passed over. The goal is a mean of .95.
"""

import argparse
import json
import zlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from morula.cli.options import parse_selection
from morula.data.layouts import open_dataset
from morula.data.sample import RGB, Image
from morula.labels.matching import match
from morula.labels.resample import resample_labels
from morula.prediction.model import Model
from morula.preprocessing.geometry import resample
from morula.types import Labels

Change = Callable[[np.ndarray], np.ndarray | None]


def _planes(pixels: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    return np.stack([change(plane) for plane in pixels])


def _noisy(pixels: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(zlib.crc32(pixels.tobytes()))
    spread = np.percentile(pixels, 99.8) - np.percentile(pixels, 1)
    return np.clip(pixels + rng.normal(0, 0.03 * spread, pixels.shape), 0, 255).round().astype(np.uint8)


def _compressed(plane: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", plane, [cv2.IMWRITE_JPEG_QUALITY, 80])[1], cv2.IMREAD_GRAYSCALE)


def _turned(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.rot90(pixels, axes=(1, 2)))


def _with_scale_bar(pixels: np.ndarray) -> np.ndarray:
    """A bar of the farther end of the range, a fifth of the width long, near the lower right corner."""
    height, width = pixels.shape[1:]
    changed = pixels.copy()
    bar = (slice(int(0.94 * height), int(0.955 * height) + 1), slice(int(0.75 * width), int(0.95 * width)))
    changed[:, *bar] = 255 if np.median(pixels) < 128 else 0
    return changed


def _in_blue(pixels: np.ndarray) -> np.ndarray | None:
    """A dark grey image as a stain shown in blue, with traces of noise in red and green; None for others."""
    if len(pixels) > 1 or np.median(pixels) >= 128:
        return None
    rng = np.random.default_rng(zlib.crc32(pixels.tobytes()))
    return np.concatenate([rng.integers(0, 4, (2, *pixels.shape[1:]), np.uint8), pixels])


def _among_stains(pixels: np.ndarray) -> np.ndarray | None:
    """A dark grey image in the blue of a composite, cytoplasm in green around it, fibres in red; or None."""
    if len(pixels) > 1 or np.median(pixels) >= 128:
        return None
    rng = np.random.default_rng(zlib.crc32(pixels.tobytes()))
    low, high = np.percentile(pixels, (1, 99.8))
    inside = (pixels[0] > low + 0.3 * (high - low)).astype(np.float32)
    grain = cv2.GaussianBlur(rng.random(inside.shape, np.float32), (0, 0), 2)
    fibres = np.abs(cv2.GaussianBlur(rng.standard_normal(inside.shape, np.float32), (0, 0), 6, sigmaY=1))
    green = cv2.GaussianBlur(inside, (0, 0), 7) * (0.6 + 0.8 * grain)
    red = cv2.GaussianBlur(inside, (0, 0), 12) * fibres
    others = [(220 * plane / max(plane.max(), 1e-6)).astype(np.uint8) for plane in (red, green)]
    return np.stack([*others, pixels[0]])


CHANGES: dict[str, Change] = {
    "inverted": lambda pixels: 255 - pixels,
    "dimmed to a half": lambda pixels: (pixels // 2).astype(np.uint8),
    "raised by a fifth": lambda pixels: (51 + pixels * 0.8).round().astype(np.uint8),
    "16 bit, 200 times": lambda pixels: pixels.astype(np.uint16) * np.uint16(200),
    "gamma 0.8": lambda pixels: (255 * (pixels / 255) ** 0.8).round().astype(np.uint8),
    "noise of 3 %": _noisy,
    "blur of 0.7 px": lambda pixels: _planes(pixels, lambda p: cv2.GaussianBlur(p, (0, 0), 0.7)),
    "JPEG, quality 80": lambda pixels: _planes(pixels, _compressed),
    "turned by 90 degrees": _turned,
    "beside a scale bar": _with_scale_bar,
    "shown in blue": _in_blue,
    "in a composite": _among_stains,
    "enlarged by 1.25": lambda pixels: resample(pixels, [round(1.25 * n) for n in pixels.shape[1:]]),
}
"""Name to a change of 8-bit pixels ``(C, y, x)``; what cannot be changed so gives None."""


def agreement(model: Model, image: Image, reference: Labels, change: Change) -> float | None:
    """F1 at IoU 0.5 between `reference` and what `model` finds in the changed image.

    None where there are no objects, and for images that cannot be changed so.
    """
    pixels = change(image.pixels)
    if pixels is None:
        return None
    channels = image.channels if len(pixels) == len(image.channels) else RGB
    found = model.segment(replace(image, pixels=pixels, channels=channels)).labels
    if change is _turned:
        found = np.ascontiguousarray(np.rot90(found, -1))
    if found.shape != reference.shape:
        found = resample_labels(found, reference.shape)
    counts = match(reference, found, (0.5,))[0]
    total = 2 * counts.tp + counts.fp + counts.fn
    return 2 * counts.tp / total if total else None


def invariance(model: Model, images: Iterable[Image]) -> dict[str, list[float]]:
    """F1 of every image that shows an object, by change; without those that no image can undergo."""
    scores: dict[str, list[float]] = {name: [] for name in CHANGES}
    for image in images:
        reference = model.segment(image).labels
        for name, change in CHANGES.items():
            f1 = agreement(model, image, reference, change)
            if f1 is not None:
                scores[name].append(f1)
    return {name: values for name, values in scores.items() if values}


def main() -> None:
    """Read the command line, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--select", action="append", default=[], metavar="COLUMN=VALUE,...")
    parser.add_argument("--model", required=True)
    parser.add_argument("--limit", type=int, help="every n-th image, so that about this many are left")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    dataset = open_dataset(options.data).select(parse_selection(options.select))
    samples = [s for s in dataset.samples if dataset.image(s).pixels.dtype == np.uint8]
    samples = samples[:: max(1, len(samples) // (options.limit or len(samples)))]
    scores = invariance(Model.load(options.model), (dataset.image(sample) for sample in samples))
    means = {name: float(np.mean(values)) for name, values in scores.items()}
    print(f"{options.model} on {len(samples)} images of {options.data.name}: F1@0.5 against the image itself")
    for name, mean in means.items():
        print(f"{name:>24}  {mean:.3f}")
    print(f"{'mean':>24}  {np.mean(list(means.values())):.3f}")
    if options.json:
        options.json.write_text(json.dumps({"images": len(samples), "f1": means}, indent=1) + "\n")


if __name__ == "__main__":
    main()
