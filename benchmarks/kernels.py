"""Speed of the kernels against other libraries, and of every representation's decoder.

    python benchmarks/kernels.py [--size 1024] [--objects 500] [--ndim 2] [--json kernels.json]
    python benchmarks/kernels.py --grid [--sizes 512 1024] [--ndim 2] [--json kernels.json [--add]]
    python benchmarks/kernels.py --quick

Ours and the rival take turns, so that a busy machine slows both alike; times are processor time, the ratio is
the median over the rounds of (rival / ours). "asked" is the least ratio of the design notes. "agreement" is
the share of results that are equal to the rival's: definitions of some differ in ties and rounding.

`--environments ENV` adds StarDist, Cellpose and MONAI themselves, from ``ENV/stardist`` and so on (`peers.py`
and `pipeline.py` tell how to make them); without it, definitions written out here stand for some of them.

`--grid` goes from 50 to 50,000 objects and tells how time grows. A rival that needs objects x pixels or
objects^2 is left out where that is too much. `--quick` takes under 3 minutes and guards against slow-downs:
exit code 1 when a ratio is below its floor, about half of what was measured when the floors were set.
"""

import argparse
import json
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import numpy as np
from scipy import ndimage

from kernel_cases import CASES, Case
from kernel_peers import Peers, Remote
from machine import describe
from morula.labels.matching import match
from morula.representations import BUILT_IN, read_representation
from scenes import Scene, make_scene

SIZES = {2: (512, 1024, 2048, 4096, 8192), 3: (64, 128, 256, 512)}
OBJECTS = (50, 500, 5_000, 50_000)
LEAST_EXTENT_PX = 8
"""Scenes of the grid with less room per object, along each axis, are left out."""

LEAST_SECONDS = 0.01
"""A call is repeated until this time has passed: the clock is too coarse for a fraction of a millisecond."""

SECONDS_PER_CASE = 20.0
"""Rounds end early after this time."""


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

    @property
    def place(self) -> tuple[str, str, int, int]:
        """What is compared on what: measured again, it takes the former's place."""
        return self.kernel, self.rival, self.size, self.objects


def run_case(case: Case, scene: Scene, rounds: int) -> Row:
    """Both in turns, once before the clock runs."""
    print(f"  {case.kernel}, {case.rival or 'alone'} ...", file=sys.stderr)
    begin, result = time.monotonic(), case.ours(scene)
    mine, ratios, agreement = [], [], np.nan
    other = case.other if case.other is not None and case.most(scene) else None
    if other is not None and case.agreement is not None:
        agreement = case.agreement(scene, result, other(scene))
    # What is compared must not lie in memory while the clock runs.
    del result
    while len(mine) < rounds and (not mine or time.monotonic() - begin < SECONDS_PER_CASE):
        mine.append(seconds(case.ours, scene))
        if other is not None:
            theirs = other.seconds(scene) if isinstance(other, Remote) else seconds(other, scene)
            ratios.append(theirs / mine[-1])
    ratio = statistics.median(ratios) if ratios else np.nan
    ours_ms = statistics.median(mine) * 1e3
    size = scene.truth.shape[0]
    return Row(
        case.kernel, case.rival, size, scene.objects, ours_ms, ratio, case.asked, case.floor, agreement
    )


def seconds(work: Callable[..., object], *arguments: object) -> float:
    """Processor time of one call: waiting for a busy machine does not count. Short ones are repeated."""
    start, calls = time.process_time(), 0
    while (taken := time.process_time() - start) < LEAST_SECONDS:
        work(*arguments)
        calls += 1
    return taken / calls


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
    """Exponents of pixels and of objects in each kernel's time, by least squares of the logarithms.

    None from fewer than three scenes.
    """
    exponents = {}
    if len({(row.size, row.objects) for row in rows}) < 3:
        return exponents
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
            f"x{r.ratio:.1f}" if not np.isnan(r.ratio) else "left out: too large" if r.rival else "",
            "" if np.isnan(r.asked) else f"x{r.asked:g}",
        ]
        print("|", " | ".join([*cells, "" if np.isnan(r.agreement) else f"{r.agreement:.5f}"]), "|")


def scenes_of(options: argparse.Namespace) -> list[tuple[int, int]]:
    """Sizes and numbers of objects, crowded to sparse."""
    if options.quick:
        return [(512, 125)]
    if not options.grid:
        return [(options.size, options.objects)]
    return [
        (size, objects)
        for size in options.sizes or SIZES[options.ndim]
        for objects in OBJECTS
        if size / objects ** (1 / options.ndim) >= LEAST_EXTENT_PX
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
    parser.add_argument("--sizes", type=int, nargs="+", help="of the grid; all unless given (8192: 8 GB)")
    parser.add_argument("--kernels", nargs="+", metavar="NAME", help="all unless given")
    parser.add_argument("--quick", action="store_true", help="a small scene; exit code 1 below a floor")
    parser.add_argument("--environments", type=Path, help="folder with the environments of other packages")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--add", action="store_true", help="to the figures that lie there already")
    return parser.parse_args()


def main() -> None:
    """Runs everything; see the module's docstring."""
    options = read_options()
    rows, command = read_json(options.json) if options.add else ([], "")
    decoders: list[dict[str, float | str]] = []
    with Peers(options.environments) as peers:
        cases = [case for case in CASES if case.stands_for not in peers.versions] + peers.cases()
        cases = [case for case in cases if not options.kernels or case.kernel in options.kernels]
        for size, objects in scenes_of(options):
            print(f"{size}, {objects} objects", file=sys.stderr)
            scene = make_scene(size, objects, options.ndim)
            for row in (run_case(case, scene, options.rounds) for case in cases):
                rows = [former for former in rows if former.place != row.place] + [row]
            if not options.grid and not options.quick:
                decoders = decoder_rows(scene, options.rounds)
            if options.json:
                # After each scene: the last ones take longest.
                write_json(options.json, rows, decoders, peers.versions, command)
    print_rows(rows)
    if decoders:
        print("\n| decoder | ms | AP@0.5 |\n|---|--:|--:|")
        for d in decoders:
            print(f"| {d['representation']} | {d['ms']:.1f} | {d['ap']:.3f} |")
    if exponents := growth(rows):
        print("\n| kernel | time grows with pixels^ | with objects^ |\n|---|--:|--:|")
        for kernel, (by_pixels, by_objects) in exponents.items():
            print(f"| {kernel} | {by_pixels:.2f} | {by_objects:.2f} |")
    slow = [row for row in rows if options.quick and row.ratio < row.floor]
    for row in slow:
        print(f"slower than it was: {row.kernel}, x{row.ratio:.1f} {row.rival}, floor x{row.floor:g}")
    sys.exit(1 if slow else 0)


def read_json(path: Path) -> tuple[list[Row], str]:
    """The comparisons of a file of figures, and the command that made it."""
    figures = json.loads(path.read_text(encoding="utf-8"))
    rows = [Row(**{k: np.nan if v is None else v for k, v in row.items()}) for row in figures["kernels"]]
    return rows, figures["command"]


def write_json(
    path: Path,
    rows: list[Row],
    decoders: list[dict[str, float | str]],
    peers: dict[str, str],
    before: str,
) -> None:
    """The figures with machine, date and versions, and the commands: that of `before`, and this one."""
    figures = {
        "date": date.today().isoformat(),
        **describe(),
        "peers": peers,
        "command": "\n".join(filter(None, [before, shlex.join(["python", *sys.argv])])),
        "kernels": [{k: None if v != v else v for k, v in asdict(row).items()} for row in rows],
        "decoders": decoders,
        "growth": growth(rows),
    }
    path.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
