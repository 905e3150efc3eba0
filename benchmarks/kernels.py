"""Speed of the kernels against other libraries, and of every representation's decoder.

    python benchmarks/kernels.py [--size 1024] [--objects 500] [--ndim 2] [--json kernels.json]
    python benchmarks/kernels.py --grid [--largest 4096] [--ndim 2]
    python benchmarks/kernels.py --quick

Ours and the rival take turns, so that a busy machine slows both alike; times are processor time, the ratio is
the median over the rounds of (rival / ours). "asked" is the least ratio of the design notes. "agreement" is
the share of results that are equal to the rival's: definitions of some differ in ties and rounding.

`--grid` goes from 50 to 50,000 objects and tells how time grows. A rival that needs objects x pixels or
objects^2 is left out where that is too much. `--quick` takes under 3 minutes and guards against slow-downs:
exit code 1 when a ratio is below its floor, about half of what was measured when the floors were set.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage
from skimage.measure import label as sk_label
from skimage.measure import regionprops_table
from skimage.morphology import remove_small_objects
from skimage.segmentation import relabel_sequential
from skimage.segmentation import watershed as sk_watershed

import rivals
from machine import describe
from morula.decoding.components import grow
from morula.decoding.watershed import watershed
from morula.evaluation.surface import normalized_surface_distance
from morula.labels.components import connected_components, remove_small
from morula.labels.matching import DSB_THRESHOLDS, match, pairs_of_overlap
from morula.labels.measure import measure
from morula.labels.overlap import overlap_table
from morula.labels.renumber import renumber
from morula.representations import BUILT_IN, read_representation
from morula.targets.distances import centroid_offsets, inner_distance, signed_distance, two_nearest_distances
from morula.targets.stars import star_directions, star_distances

SIZES = {2: (512, 1024, 2048, 4096, 8192), 3: (64, 128, 256, 512)}
OBJECTS = (50, 500, 5_000, 50_000)
LEAST_EXTENT_PX = 8
"""Scenes of the grid with less room per object, along each axis, are left out."""

SECONDS_PER_CASE = 20.0
"""Rounds end early after this time."""


@dataclass(frozen=True)
class Scene:
    """One synthetic image: touching, irregular cells, a flawed prediction of them, and maps."""

    truth: np.ndarray
    predicted: np.ndarray
    relief: np.ndarray
    markers: np.ndarray
    objects: int

    @cached_property
    def mask(self) -> np.ndarray:
        """Foreground."""
        return self.truth > 0

    @cached_property
    def found(self) -> np.ndarray:
        """Predicted foreground."""
        return self.predicted > 0

    @cached_property
    def core(self) -> np.ndarray:
        """Foreground without its outermost pixels."""
        return inner_distance(self.truth, self.spacing) > 2

    @cached_property
    def sparse(self) -> np.ndarray:
        """The truth with gaps between its ids."""
        return self.truth * 3

    @property
    def spacing(self) -> tuple[float, ...]:
        """Pixels of size 1."""
        return (1.0,) * self.truth.ndim

    @property
    def pixels(self) -> np.ndarray:
        """The relief as an image ``(1, *spatial)``, as `measure` takes it."""
        return self.relief[None]

    @property
    def channels(self) -> tuple[str, ...]:
        """One channel."""
        return ("grey",)


@dataclass(frozen=True)
class Case:
    """One kernel, and who is measured beside it."""

    kernel: str
    ours: Callable[[Scene], Any]
    rival: str = ""
    other: Callable[[Scene], Any] | None = None
    agreement: Callable[[Scene, Any, Any], float] | None = None
    asked: float = np.nan
    floor: float = np.nan
    most: Callable[[Scene], bool] = lambda _: True
    """Whether the rival can be waited for on this scene."""


@dataclass(frozen=True)
class Row:
    """One comparison on one scene; NaN where there is none."""

    kernel: str
    rival: str
    size: int
    objects: int
    ours_ms: float
    ratio: float
    asked: float
    floor: float
    agreement: float


def make_scene(size: int, objects: int, ndim: int = 2, seed: int = 0) -> Scene:
    """About `objects` cells on a jittered grid; the prediction is shifted, has cells merged and missing."""
    rng = np.random.default_rng(seed)
    shape, side = (size,) * ndim, int(np.ceil(objects ** (1 / ndim)))
    step = size / side
    grid = np.stack(np.meshgrid(*[np.arange(side)] * ndim, indexing="ij"), -1).reshape(-1, ndim)
    centres = ((grid + 0.5) * step + rng.uniform(-0.25, 0.25, grid.shape) * step)[:objects].clip(0, size - 1)
    seeds = np.zeros(shape, np.int32)
    seeds[tuple(centres.astype(int).T)] = np.arange(1, len(centres) + 1)
    distance, nearest = ndimage.distance_transform_edt(seeds == 0, return_indices=True)
    wobble = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), step / 6)
    reach = step * (0.45 + 0.06 * wobble / wobble.std())
    truth = np.where(distance < reach, seeds[tuple(nearest)], 0).astype(np.int32)
    del distance, nearest, wobble, reach
    missing = rng.random(len(centres) + 1) < 0.05
    predicted = np.where(missing[truth], 0, np.where(truth % 13 == 0, truth + 1, truth))
    predicted = np.roll(predicted, (1, 2), (0, 1)).astype(np.int32)
    depth = inner_distance(truth, (1.0,) * ndim) + 0.2 * rng.standard_normal(shape, np.float32)
    relief = -ndimage.gaussian_filter(depth, 1)
    relief = (np.round((relief - relief.min()) / np.ptp(relief) * 4095) / 4095).astype(np.float32)
    markers = ndimage.maximum_filter(np.where(truth > 0, seeds, 0), 5).astype(np.int32)
    return Scene(truth, predicted, relief, markers, int(np.unique(truth).size - 1))


def equal(_: Scene, one: Any, other: Any) -> float:
    """Share of equal entries."""
    return float((one == other).mean())


def close(_: Scene, one: Any, other: Any, tolerance: float = 1e-4) -> float:
    """Share of numbers that differ by at most `tolerance`."""
    return float(np.isclose(one, other, rtol=0, atol=tolerance).mean())


def _properties(scene: Scene) -> dict[str, np.ndarray]:
    names = ["label", "area", "centroid", "bbox", "axis_major_length", "axis_minor_length", "intensity_mean"]
    # Solidity is another measure in 3D: per plane here, in space there.
    names += ["solidity"] if scene.truth.ndim == 2 else []
    return regionprops_table(scene.truth, scene.relief, tuple(names))


def _same_measures(scene: Scene, rows: list[dict[str, float]], table: dict[str, np.ndarray]) -> float:
    flat = scene.truth.ndim == 2
    # Axes and solidity are defined otherwise there: by pixels' corners, not by their centres.
    pairs = {"area_px" if flat else "volume_px": "area", "mean_grey": "intensity_mean"}
    pairs |= {f"centroid_{axis}": f"centroid-{i}" for i, axis in enumerate("zyx"[3 - scene.truth.ndim :])}
    ours = np.array([[row[name] for row in rows] for name in pairs])
    return close(scene, ours, np.array([table[name] for name in pairs.values()]), 0.01)


def _pq(scene: Scene) -> float:
    table = overlap_table(scene.truth, scene.predicted)
    return 2 * float(pairs_of_overlap(table, 0.5, True)[2].sum()) / (table.n_truth + table.n_predicted)


def few(scene: Scene) -> bool:
    """Few enough for a dense table of objects x objects."""
    return scene.objects <= 5_000


def small(scene: Scene) -> bool:
    """Small enough for one pass over the image per object."""
    return scene.objects * scene.truth.size <= 6e8


def by_sizes(_: Scene, table: Any, counts: np.ndarray) -> float:
    """Whether the pairs share as many pixels; the rival's in the same order, zeros left out."""
    return float(np.array_equal(table.pixels, counts[counts > 0]))


def within_32(_: Scene, found: Any, exact: np.ndarray) -> float:
    """Share of equal distances; those above 32 count as infinite."""
    return close(_, np.stack(found), np.where(exact > 32 * (1 + 1e-6), np.inf, exact))


CASES = (
    Case("overlap table", lambda s: overlap_table(s.truth, s.predicted), "np.unique",
         lambda s: rivals.overlap_by_unique(s.truth, s.predicted), by_sizes, 4, 1.7),
    Case("overlap table", lambda s: overlap_table(s.truth, s.predicted), "stardist",
         lambda s: rivals.overlap_by_stardist(s.truth, s.predicted), by_sizes, 6, 6, most=few),
    Case("AP at 10 thresholds", lambda s: [m.ap for m in match(s.truth, s.predicted, DSB_THRESHOLDS)],
         "stardist", lambda s: rivals.ap_by_stardist(s.truth, s.predicted), close, 8, 5, most=few),
    Case("panoptic quality", _pq, "panopticapi",
         lambda s: rivals.pq_by_dictionaries(s.truth, s.predicted), close, floor=2),
    Case("NSD, 2 px", lambda s: normalized_surface_distance(s.mask, s.found, s.spacing, 2.0), "MONAI",
         lambda s: rivals.nsd_by_transform(s.mask, s.found, 2.0), close, floor=2.5),
    Case("watershed", lambda s: watershed(s.relief, s.markers, s.mask), "scikit-image",
         lambda s: sk_watershed(s.relief, s.markers, mask=s.mask), equal, 4, 3.3),
    Case("two nearest distances", lambda s: two_nearest_distances(s.truth, 32), "EDT per cell",
         lambda s: rivals.two_nearest_by_cell(s.truth), within_32, 7, 20, most=small),
    Case("inner distance", lambda s: inner_distance(s.truth, s.spacing)),
    Case("signed distance", lambda s: signed_distance(s.truth, s.spacing), "scipy crops",
         lambda s: rivals.signed_by_cell(s.truth), close, floor=1.8),
    Case("HoVer maps", lambda s: centroid_offsets(s.truth), "crop loop",
         lambda s: rivals.offsets_by_cell(s.truth), partial(close, tolerance=0.1), 6, 4),
    Case("star distances, 32 rays",
         lambda s: star_distances(s.truth, star_directions(s.truth.ndim, 32), s.spacing)),
    Case("renumber", lambda s: renumber(s.sparse), "scikit-image",
         lambda s: relabel_sequential(s.sparse)[0],
         lambda s, one, other: equal(s, one, renumber(other)), 19, 3.5),
    Case("measure", lambda s: measure(s.truth, s), "regionprops_table", _properties, _same_measures, 22, 15),
    Case("components of a mask", lambda s: connected_components(s.mask), "scikit-image",
         lambda s: sk_label(s.mask, connectivity=1), equal, 2.7, 1.6),
    Case("components of labels", lambda s: connected_components(s.truth), "scikit-image",
         lambda s: sk_label(s.truth, connectivity=1), equal, 4, 2.5),
    Case("remove small", lambda s: remove_small(s.truth, 50), "scikit-image",
         lambda s: remove_small_objects(s.truth, max_size=49), equal, 1.8, 1.4),
    Case("components and growth", lambda s: grow(connected_components(s.core), s.mask),
         "scikit-image, EDT", lambda s: rivals.grow_by_transform(s.core, s.mask), equal, floor=2),
)  # fmt: skip


def run_case(case: Case, scene: Scene, rounds: int) -> Row:
    """Both in turns, once before the clock runs."""
    print(f"  {case.kernel}, {case.rival or 'alone'} ...", file=sys.stderr)
    begin, result = time.monotonic(), case.ours(scene)
    mine, ratios, agreement = [], [], np.nan
    other = case.other if case.other is not None and case.most(scene) else None
    if other is not None and case.agreement is not None:
        agreement = case.agreement(scene, result, other(scene))
    while len(mine) < rounds and (not mine or time.monotonic() - begin < SECONDS_PER_CASE):
        mine.append(seconds(case.ours, scene))
        if other is not None:
            ratios.append(seconds(other, scene) / mine[-1])
    ratio = statistics.median(ratios) if ratios else np.nan
    ours_ms = statistics.median(mine) * 1e3
    size = scene.truth.shape[0]
    return Row(
        case.kernel, case.rival, size, scene.objects, ours_ms, ratio, case.asked, case.floor, agreement
    )


def seconds(work: Callable[..., object], *arguments: object) -> float:
    """Processor time of one call: waiting for a busy machine does not count."""
    start = time.process_time()
    work(*arguments)
    return time.process_time() - start


def decoder_rows(scene: Scene, rounds: int) -> list[dict[str, float | str]]:
    """Milliseconds per decoder on the scene's own maps with smooth noise, and AP@0.5 of what comes out."""
    rng = np.random.default_rng(1)
    rows: list[dict[str, float | str]] = []
    for kind in BUILT_IN:
        if kind == "union":
            continue
        representation = read_representation({"kind": kind})
        heads = {head.name for head in representation.heads(scene.truth.ndim)}
        maps = {}
        for name, values in representation.encode(scene.truth, scene.spacing).items():
            if name in heads:
                noise = ndimage.gaussian_filter(rng.normal(size=values.shape), (0, *scene.spacing))
                maps[name] = (values + 0.05 * noise / noise.std()).astype(np.float32)
        decoded = representation.decode(maps, scene.spacing)
        taken = [seconds(representation.decode, maps, scene.spacing) for _ in range(rounds)]
        ap = match(scene.truth, decoded)[0].ap
        rows.append({"representation": kind, "ms": statistics.median(taken) * 1e3, "ap": ap})
    return rows


def growth(rows: list[Row]) -> dict[str, tuple[float, float]]:
    """Exponents of pixels and of objects in each kernel's time, by least squares of the logarithms."""
    exponents = {}
    for kernel in dict.fromkeys(row.kernel for row in rows):
        mine = [row for row in rows if row.kernel == kernel]
        ndim = 2 if min(row.size for row in rows) >= min(SIZES[2]) else 3
        pixels = [ndim * np.log(row.size) for row in mine]
        terms = np.stack([pixels, np.log([row.objects for row in mine]), np.ones(len(mine))], 1)
        fit = np.linalg.lstsq(terms, np.log([row.ours_ms for row in mine]), rcond=None)[0]
        exponents[kernel] = (float(fit[0]), float(fit[1]))
    return exponents


def print_rows(rows: list[Row]) -> None:
    """The comparisons as a markdown table."""
    print("\n| pixels | objects | kernel | rival | ours, ms | rival / ours | asked | agreement |")
    print("|--:|--:|---|---|--:|--:|--:|--:|")
    for r in rows:
        cells = [f"{r.size}", f"{r.objects}", r.kernel, r.rival, f"{r.ours_ms:.2f}"]
        cells += [
            "" if np.isnan(r.ratio) else f"x{r.ratio:.1f}",
            "" if np.isnan(r.asked) else f"x{r.asked:g}",
        ]
        print("|", " | ".join([*cells, "" if np.isnan(r.agreement) else f"{r.agreement:.5f}"]), "|")


def grid_scenes(ndim: int, largest: int) -> list[tuple[int, int]]:
    """Sizes and numbers of objects, crowded to sparse."""
    return [
        (size, objects)
        for size in SIZES[ndim]
        for objects in OBJECTS
        if size <= largest and size / objects ** (1 / ndim) >= LEAST_EXTENT_PX
    ]


def read_options() -> argparse.Namespace:
    """The command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=1024, help="pixels per side")
    parser.add_argument("--objects", type=int, default=500)
    parser.add_argument("--ndim", type=int, default=2, choices=(2, 3))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--grid", action="store_true", help="many sizes and numbers of objects")
    parser.add_argument("--largest", type=int, default=4096, help="largest size of the grid; 8192 takes 8 GB")
    parser.add_argument("--quick", action="store_true", help="a small scene; exit code 1 below a floor")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    return parser.parse_args()


def main() -> None:
    """Runs everything; see the module's docstring."""
    options = read_options()
    scenes = [(512, 125)] if options.quick else [(options.size, options.objects)]
    if options.grid:
        scenes = grid_scenes(options.ndim, options.largest)
    rows: list[Row] = []
    decoders: list[dict[str, float | str]] = []
    for size, objects in scenes:
        print(f"{size}, {objects} objects", file=sys.stderr)
        scene = make_scene(size, objects, options.ndim)
        rows += [run_case(case, scene, options.rounds) for case in CASES]
        if not options.grid and not options.quick:
            decoders = decoder_rows(scene, options.rounds)
    print_rows(rows)
    if decoders:
        print("\n| decoder | ms | AP@0.5 |\n|---|--:|--:|")
        for d in decoders:
            print(f"| {d['representation']} | {d['ms']:.1f} | {d['ap']:.3f} |")
    exponents = growth(rows) if len(scenes) > 2 else {}
    if exponents:
        print("\n| kernel | time grows with pixels^ | with objects^ |\n|---|--:|--:|")
        for kernel, (by_pixels, by_objects) in exponents.items():
            print(f"| {kernel} | {by_pixels:.2f} | {by_objects:.2f} |")
    if options.json:
        write_json(options.json, rows, decoders, exponents)
    slow = [row for row in rows if options.quick and row.ratio < row.floor]
    for row in slow:
        print(f"slower than it was: {row.kernel}, x{row.ratio:.1f} {row.rival}, floor x{row.floor:g}")
    sys.exit(1 if slow else 0)


def write_json(
    path: Path,
    rows: list[Row],
    decoders: list[dict[str, float | str]],
    exponents: dict[str, tuple[float, float]],
) -> None:
    """The figures with machine, date and versions."""
    figures = {
        "date": date.today().isoformat(),
        **describe(),
        "command": " ".join(["python", *sys.argv]),
        "kernels": [{k: None if v != v else v for k, v in asdict(row).items()} for row in rows],
        "decoders": decoders,
        "growth": exponents,
    }
    path.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
