"""Whether anything became slower, by ratios to fixed work done in the same run: under three minutes, by hand.

    python benchmarks/guard.py            # exit code 1 when a ratio is above what is expected, with tolerance
    python benchmarks/guard.py --write    # measure anew and write guard.json: after a change that is meant

A ratio is our seconds over those of the reference beside it (plain NumPy, SciPy or torch on arrays of the
same size), both processor time of one thread, in turns: the median over rounds hardly depends on how busy the
machine is. It does depend on its kind: expectations are kept per processor, and one that has none is measured
and not judged. Kernels against other libraries: ``python benchmarks/kernels.py --quick``.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from scipy import ndimage

from machine import processor
from morula.data.formats import read_labels, write_labels
from morula.data.sample import Image
from morula.evaluation.metrics import match_image
from morula.labels.measure import measure
from morula.planning.plan import Normalization
from morula.prediction.confidence import evidence_sums
from morula.prediction.ensemble import Ensemble, best_precision, ready
from morula.prediction.overlay import draw_overlay
from morula.prediction.tiles import tile_grid
from morula.preprocessing.intensity import normalize
from morula.representations import read_representation
from morula.representations.shrunk_borders import ShrunkBorders
from morula.training.batches import Patches
from pipeline import REPRESENTATIONS, make_samples, plan_for
from scenes import make_scene

EXPECTED = Path(__file__).with_suffix(".json")
TOLERANCE = 1.4
"""Ratios above the expected one times this are a failure; runs on one machine differ by up to a fifth."""

ROUNDS = 7


@dataclass(frozen=True)
class Case:
    """Our work, and a fixed reference that uses the machine in a similar way."""

    name: str
    ours: Callable[[], object]
    reference: Callable[[], object]


def cases(folder: Path) -> list[Case]:
    """All of them, on one scene of 512 x 512 with 125 cells."""
    scene = make_scene(512, 125)
    labels, relief = scene.truth, scene.relief
    grey = (255 * relief).astype(np.uint8)[None]
    image = Image(grey, ("grey",))
    table = dict.fromkeys(range(1, int(labels.max()) + 1), 0.5)
    convolution = torch.nn.Conv2d(24, 24, 3, padding=1).eval()
    features = torch.rand(1, 24, 256, 256)
    samples = make_samples(folder, 2)
    encoders = {name: Patches(plan_for(rep), samples) for name, rep in REPRESENTATIONS.items()}

    def transform() -> object:
        return ndimage.distance_transform_edt(labels > 0)

    def smooth() -> object:
        return ndimage.gaussian_filter(relief, 2)

    def sort() -> object:
        return np.sort(labels, axis=None)

    def convolve() -> object:
        with torch.inference_mode():
            return [convolution(features) for _ in range(4)]

    def encode_png() -> object:
        return cv2.imencode(".png", np.repeat(grey[0, ..., None], 3, -1))

    def write() -> object:
        write_labels(folder / "labels.tif", labels)
        return read_labels(folder / "labels.tif")

    found = [
        Case("normalise", lambda: normalize(grey, Normalization()), smooth),
        Case("match and score", lambda: match_image(labels, scene.predicted), sort),
        Case("measure", lambda: measure(labels, image, None, table), transform),
        Case("confidence", lambda: evidence_sums(labels, relief, relief, (0, 512)), smooth),
        Case("overlay", lambda: draw_overlay(image, labels), encode_png),
        Case("write and read labels", write, sort),
        Case("forward pass, mirrored", network_pass(relief), convolve),
    ]
    found += [decoding(kind["kind"], scene, transform) for kind in list(REPRESENTATIONS.values())[:-1]]
    found.append(regions(scene, transform))
    for name, patches in encoders.items():
        found.append(Case(f"patches, {name}", lambda p=patches: [p.draw(0, i) for i in range(4)], smooth))
    return found


def decoding(kind: str, scene: Any, reference: Callable[[], object]) -> Case:
    """One representation's decoder, on the scene's own maps."""
    representation = read_representation({"kind": kind})
    maps = representation.encode(scene.truth, scene.spacing)
    return Case(f"decode, {kind}", lambda: representation.decode(maps, scene.spacing), reference)


def regions(scene: Any, reference: Callable[[], object]) -> Case:
    """The tree of candidate objects and what a scorer is told of them."""
    borders = ShrunkBorders()
    maps = borders.encode(scene.truth, scene.spacing)
    return Case("nested regions", lambda: borders.regions(maps), reference)


def network_pass(relief: np.ndarray) -> Callable[[], object]:
    """Tiles, mirror images and blending around the network of ``auto``, in torch."""
    plan = plan_for(REPRESENTATIONS["shrunk_borders"])
    heads = plan.representation.heads(2)
    network = ready(plan.network.build(2, 1, heads), 2)
    ensemble = Ensemble((network,), 2, mirror="all", precision=best_precision("cpu"))
    grid = tile_grid(relief.shape, (320, 320), 0.125, plan.network.divisors(2))
    return lambda: list(ensemble.bands(relief[None], grid, heads))


def ratio(case: Case) -> float:
    """Median over rounds of our processor time over the reference's."""
    case.ours()
    case.reference()
    ratios = []
    for _ in range(ROUNDS):
        mine, fixed = seconds(case.ours), seconds(case.reference)
        ratios.append(mine / fixed)
    return statistics.median(ratios)


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one call, of as many calls as take a few hundredths of a second together."""
    calls, start = 0, time.process_time()
    while time.process_time() - start < 0.03:
        work()
        calls += 1
    return (time.process_time() - start) / calls


def main() -> None:
    """Measure; compare, or write what is expected."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="what is measured is expected from now on")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    known = json.loads(EXPECTED.read_text(encoding="utf-8")) if EXPECTED.exists() else {}
    expected = known.get(processor(), {})
    found, slower = {}, []
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(Path(folder)):
            found[case.name] = round(ratio(case), 4)
            usual = expected.get(case.name)
            change = f"{found[case.name] / usual:5.2f} x the expected" if usual else "not known"
            print(f"{case.name:30} {found[case.name]:9.3f}  {change}")
            if usual and found[case.name] > TOLERANCE * usual:
                slower.append(case.name)
    if options.write:
        EXPECTED.write_text(json.dumps({**known, processor(): found}, indent=1) + "\n", encoding="utf-8")
        return
    if slower:
        print(f"slower than expected: {', '.join(slower)}")
    sys.exit(1 if slower else 0)


if __name__ == "__main__":
    main()
