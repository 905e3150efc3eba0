"""Speed of the kernels against other libraries, and of every representation's decoder.

    python benchmarks/kernels.py [--size 1024] [--objects 500] [--rounds 7] [--json kernels.json]

Ours and the alternative take turns, so that a busy machine slows both alike; the ratio is the median over the
rounds of (alternative / ours). "own" is the least ratio that the design notes give for this pair; blank where
they give none. StarDist's matching is written out here as its package defines it (dense overlap matrix, one
assignment per threshold); its own package counts the overlap in compiled code.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from skimage.measure import label as sk_label
from skimage.measure import regionprops_table
from skimage.morphology import remove_small_objects
from skimage.segmentation import relabel_sequential
from skimage.segmentation import watershed as sk_watershed

from morula.decoding.components import grow
from morula.decoding.watershed import watershed
from morula.labels.components import connected_components, remove_small
from morula.labels.matching import DSB_THRESHOLDS, match
from morula.labels.measure import measure
from morula.labels.overlap import overlap_table
from morula.labels.renumber import renumber
from morula.representations import BUILT_IN, read_representation
from morula.targets.distances import centroid_offsets, inner_distance, signed_distance, two_nearest_distances

Work = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One comparison."""

    kernel: str
    alternative: str
    ours_ms: float
    ratio: float
    own: float
    agreement: float


@dataclass(frozen=True)
class Scene:
    """One synthetic image: touching, irregular cells, a flawed prediction of them, and maps."""

    truth: np.ndarray
    predicted: np.ndarray
    relief: np.ndarray
    markers: np.ndarray


def make_scene(size: int, objects: int, seed: int = 0) -> Scene:
    """About `objects` cells on a jittered grid; the prediction is shifted, has cells merged and missing."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(objects**0.5))
    step = size / side
    centres = (np.stack(np.meshgrid(*[np.arange(side)] * 2, indexing="ij"), -1).reshape(-1, 2) + 0.5) * step
    centres = (centres + rng.uniform(-0.25, 0.25, centres.shape) * step)[:objects].clip(0, size - 1)
    seeds = np.zeros((size, size), np.int32)
    seeds[tuple(centres.astype(int).T)] = np.arange(1, len(centres) + 1)
    distance, nearest = ndimage.distance_transform_edt(seeds == 0, return_indices=True)
    wobble = ndimage.gaussian_filter(rng.normal(size=(size, size)), step / 6)
    reach = step * (0.45 + 0.06 * wobble / wobble.std())
    truth = np.where(distance < reach, seeds[tuple(nearest)], 0).astype(np.int32)
    missing = rng.random(len(centres) + 1) < 0.05
    predicted = np.where(missing[truth], 0, np.where(truth % 13 == 0, truth + 1, truth))
    predicted = np.roll(predicted, (1, 2), (0, 1)).astype(np.int32)
    depth = inner_distance(truth, (1.0, 1.0)) + rng.normal(0, 0.2, truth.shape)
    relief = -ndimage.gaussian_filter(depth, 1).astype(np.float32)
    relief = (np.round((relief - relief.min()) / np.ptp(relief) * 4095) / 4095).astype(np.float32)
    markers = ndimage.maximum_filter(np.where(truth > 0, seeds, 0), 5).astype(np.int32)
    return Scene(truth, predicted, relief, markers)


def compare(ours: Work, other: Work, rounds: int) -> tuple[float, float]:
    """Median milliseconds of `ours`, and median ratio of the alternative's time to ours, in turns."""
    ours(), other()
    mine, ratios = [], []
    for _ in range(rounds):
        mine.append(seconds(ours))
        ratios.append(seconds(other) / mine[-1])
    return statistics.median(mine) * 1e3, statistics.median(ratios)


def seconds(work: Work) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def overlap_by_unique(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Pixels per pair of ids, by sorting."""
    keys = truth.astype(np.int64).ravel() << 32 | predicted.ravel()
    return np.unique(keys, return_counts=True)[1]


def overlap_by_stardist(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """StarDist's dense table, counted with numpy."""
    truth, predicted = relabel_sequential(truth)[0], relabel_sequential(predicted)[0]
    width = int(predicted.max()) + 1
    keys = truth.astype(np.int64).ravel() * width + predicted.ravel()
    return np.bincount(keys, minlength=(int(truth.max()) + 1) * width).reshape(-1, width)


def ap_by_stardist(truth: np.ndarray, predicted: np.ndarray) -> list[float]:
    """`accuracy` of stardist.matching.matching at ten thresholds."""
    overlap = overlap_by_stardist(truth, predicted)
    union = overlap.sum(0, keepdims=True) + overlap.sum(1, keepdims=True) - overlap
    scores = np.divide(overlap, union, where=union > 0, out=np.zeros(union.shape))[1:, 1:]
    n_true, n_predicted = scores.shape
    accuracies = []
    for threshold in DSB_THRESHOLDS:
        costs = -(scores >= threshold).astype(float) - scores / (2 * min(scores.shape))
        tp = int((scores[linear_sum_assignment(costs)] >= threshold).sum())
        accuracies.append(tp / (n_true + n_predicted - tp))
    return accuracies


def two_nearest_by_cell(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One distance transform per cell."""
    first = np.full(labels.shape, np.inf)
    second = first.copy()
    for i in range(1, labels.max() + 1):
        distance = ndimage.distance_transform_edt(labels != i)
        second = np.minimum(second, np.maximum(first, distance))
        first = np.minimum(first, distance)
    return first, second


def signed_by_cell(labels: np.ndarray) -> np.ndarray:
    """Inside and outside distances per crop, normalised as `signed_distance` does."""
    outside = ndimage.distance_transform_edt(labels == 0) - 0.5
    signed = -np.minimum(outside / 8.0, 1)
    for i, window in enumerate(ndimage.find_objects(labels), 1):
        crop = np.pad(labels[window] == i, 1)
        depth = ndimage.distance_transform_edt(crop)[1:-1, 1:-1]
        depth = np.where(depth > 0, depth - 0.5, 0)
        inside = labels[window] == i
        signed[window][inside] = (depth / max(depth.max(), 0.5))[inside]
    return signed


def offsets_by_cell(labels: np.ndarray) -> np.ndarray:
    """HoVer maps, crop by crop, as the published code has it."""
    offsets = np.zeros((2, *labels.shape), np.float32)
    for i, window in enumerate(ndimage.find_objects(labels), 1):
        inside = labels[window] == i
        centre = ndimage.center_of_mass(inside)
        for axis, grid in enumerate(np.indices(inside.shape)):
            shifted = (grid - int(centre[axis] + 0.5)).astype(np.float32)
            shifted[~inside] = 0
            for side in (-1, 1):
                half = shifted * side > 0
                if half.any():
                    shifted[half] /= np.abs(shifted[half]).max()
            offsets[axis][window][inside] = shifted[inside]
    return offsets


def grow_by_scipy(core: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Components, and every pixel of the mask to the nearest of them."""
    labels = sk_label(core, connectivity=1)
    nearest = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    return np.where(mask, labels[tuple(nearest)], 0)


def agree(one: np.ndarray, other: np.ndarray) -> float:
    """Share of equal pixels."""
    return float((one == other).mean())


def kernel_rows(scene: Scene, rounds: int) -> list[Row]:
    """Every kernel against its alternative."""
    truth, predicted, mask = scene.truth, scene.predicted, scene.truth > 0
    sparse = truth * 3
    core = inner_distance(truth, (1.0, 1.0)) > 2
    properties = ("label", "area", "centroid", "bbox", "axis_major_length", "axis_minor_length", "solidity")
    channel = scene.relief
    flooded = watershed(scene.relief, scene.markers, mask)
    by_skimage = sk_watershed(scene.relief, scene.markers, mask=mask)
    ap = [m.ap for m in match(truth, predicted, DSB_THRESHOLDS)]
    same_ap = float(np.isclose(ap, ap_by_stardist(truth, predicted)).all())
    image = Picture(channel[None], ("grey",))

    def row(kernel: str, rival: str, own: float, ours: Work, other: Work, agreement: float = np.nan) -> Row:
        print(f"  {kernel} ...", file=sys.stderr)
        few = rounds if rival != "EDT per cell" else min(rounds, 2)
        ms, ratio = compare(ours, other, few)
        return Row(kernel, rival, ms, ratio, own, agreement)

    return [
        row("overlap table", "np.unique", 4, lambda: overlap_table(truth, predicted),
            lambda: overlap_by_unique(truth, predicted)),
        row("overlap table", "stardist", 6, lambda: overlap_table(truth, predicted),
            lambda: overlap_by_stardist(truth, predicted)),
        row("AP at 10 thresholds", "stardist", 8, lambda: match(truth, predicted, DSB_THRESHOLDS),
            lambda: ap_by_stardist(truth, predicted), same_ap),
        row("watershed", "scikit-image", 4, lambda: watershed(scene.relief, scene.markers, mask),
            lambda: sk_watershed(scene.relief, scene.markers, mask=mask), agree(flooded, by_skimage)),
        row("two nearest distances", "EDT per cell", 50 if truth.max() > 250 else 7,
            lambda: two_nearest_distances(truth, 32), lambda: two_nearest_by_cell(truth)),
        row("signed distance", "scipy crops", np.nan, lambda: signed_distance(truth, (1.0, 1.0)),
            lambda: signed_by_cell(truth)),
        row("HoVer maps", "crop loop", 6, lambda: centroid_offsets(truth), lambda: offsets_by_cell(truth),
            float(np.isclose(centroid_offsets(truth), offsets_by_cell(truth), atol=0.1).mean())),
        row("renumber", "scikit-image", 19, lambda: renumber(sparse), lambda: relabel_sequential(sparse)),
        row("measure", "regionprops_table", 22, lambda: measure(truth, image),
            lambda: regionprops_table(truth, channel, (*properties, "intensity_mean"))),
        row("components of a mask", "scikit-image", 2.7, lambda: connected_components(mask),
            lambda: sk_label(mask, connectivity=1)),
        row("components of labels", "scikit-image", 4, lambda: connected_components(truth),
            lambda: sk_label(truth, connectivity=1)),
        row("remove small", "scikit-image", 1.8, lambda: remove_small(truth, 50),
            lambda: remove_small_objects(truth, max_size=49)),
        row("components and growth", "scikit-image, EDT", np.nan,
            lambda: grow(connected_components(core), mask), lambda: grow_by_scipy(core, mask),
            agree(grow(connected_components(core), mask) > 0, mask)),
    ]  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """Pixels and channel names, as `measure` takes them."""

    pixels: np.ndarray
    channels: tuple[str, ...]


def decoder_rows(scene: Scene, rounds: int) -> list[dict[str, float | str]]:
    """Milliseconds per decoder on the scene's own maps with smooth noise, and AP@0.5 of what comes out."""
    rng = np.random.default_rng(1)
    spacing = (1.0,) * scene.truth.ndim
    rows: list[dict[str, float | str]] = []
    for kind in BUILT_IN:
        if kind == "union":
            continue
        representation = read_representation({"kind": kind})
        heads = {head.name for head in representation.heads(scene.truth.ndim)}
        maps = {}
        for name, values in representation.encode(scene.truth, spacing).items():
            if name in heads:
                noise = ndimage.gaussian_filter(rng.normal(size=values.shape), (0, 1, 1))
                maps[name] = (values + 0.05 * noise / noise.std()).astype(np.float32)
        decoded = representation.decode(maps, spacing)
        taken = [seconds(lambda r=representation, m=maps: r.decode(m, spacing)) for _ in range(rounds)]
        result = match(scene.truth, decoded)[0]
        rows.append({"representation": kind, "ms": statistics.median(taken) * 1e3, "ap": result.ap})
    return rows


def print_tables(rows: list[Row], decoders: list[dict[str, float | str]], size: int, objects: int) -> None:
    """The figures as two markdown tables."""
    print(f"\n{size} x {size} pixels, {objects} objects, one thread\n")
    print("| kernel | alternative | ours, ms | alternative / ours | own | agreement |")
    print("|---|---|--:|--:|--:|--:|")
    for r in rows:
        own = "" if np.isnan(r.own) else f"x{r.own:g}"
        agreement = "" if np.isnan(r.agreement) else f"{r.agreement:.5f}"
        print(f"| {r.kernel} | {r.alternative} | {r.ours_ms:.2f} | x{r.ratio:.1f} | {own} | {agreement} |")
    print("\n| decoder | ms | AP@0.5 |\n|---|--:|--:|")
    for d in decoders:
        print(f"| {d['representation']} | {d['ms']:.1f} | {d['ap']:.3f} |")


def main() -> None:
    """Runs everything; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=1024, help="pixels per side")
    parser.add_argument("--objects", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    scene = make_scene(options.size, options.objects)
    objects = int(np.unique(scene.truth).size - 1)
    rows, decoders = kernel_rows(scene, options.rounds), decoder_rows(scene, options.rounds)
    print_tables(rows, decoders, options.size, objects)
    if options.json:
        figures = {
            "machine": platform.processor() or platform.machine(),
            "python": platform.python_version(),
            "size": options.size,
            "objects": objects,
            "kernels": [{k: None if v != v else v for k, v in asdict(row).items()} for row in rows],
            "decoders": decoders,
        }
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
