"""The label kernels' sections of `performance_page.py`, from the figures of ``kernels.py --grid``."""

import statistics
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from kernels import SIZES
from page_parts import facts, table

IMAGES = Path(__file__).parents[1] / "docs" / "images"
USUAL = {2: 1024, 3: 128}
"""Size of the scene whose milliseconds are shown."""

OBJECTS = 500
"""Objects of that scene, and of those in the plot."""

GOALS = {"AP at 10 thresholds": 5, "measure": 5, "HoVer maps": 5, "watershed": 3}
"""Least ratio to the best rival that was aimed at."""

COLUMNS = 4
BESIDE = """
Each call of ours and of the rival in turns, processor time of one thread; ratios over scenes of 50 to 50,000
objects. A rival that needs a table of objects x objects or passes over the image per object is left out of
scenes that are too large for it. Agreement is the least share of results that are equal, definitions of ties,
half pixels and scales accounted for (`benchmarks/kernel_peers.py`). Functions of StarDist and Cellpose that
take no gaps between ids are given ids without gaps.
"""

Rows = list[dict[str, Any]]


def dimensions(rows: Rows) -> int:
    """2 or 3: volumes begin with smaller sides."""
    return 2 if min(row["size"] for row in rows) >= min(SIZES[2]) else 3


def beside(found: dict[str, Any]) -> str:
    """Every kernel beside every rival, and beside the best of them."""
    if not found.get("peers"):
        return "\nNot measured yet: `benchmarks/kernels.py --grid` needs `--environments` for this.\n"
    rows = found["kernels"]
    names = ", ".join(f"{name} {number}" for name, number in found["peers"].items())
    best = f"The quickest of the rivals that were not left out, scene by scene:\n\n{_best(rows)}"
    return f"{BESIDE}{facts(found)}{names}.\n\n{_rivals(rows)}\n{best}"


def _rivals(rows: Rows) -> str:
    size = USUAL[dimensions(rows)]
    lines = []
    kernels = list(dict.fromkeys(row["kernel"] for row in rows))
    pairs = dict.fromkeys((row["kernel"], row["rival"]) for row in rows if row["rival"])
    for kernel, rival in sorted(pairs, key=lambda pair: kernels.index(pair[0])):
        mine = [row for row in rows if (row["kernel"], row["rival"]) == (kernel, rival)]
        measured = [row for row in mine if row["ratio"] is not None]
        usual = [row["ours_ms"] for row in mine if (row["size"], row["objects"]) == (size, OBJECTS)]
        lines.append([
            kernel, rival, f"{len(measured)} of {len(mine)}", *_spread([row["ratio"] for row in measured]),
            f"x{mine[0]['asked']:g}" if mine[0]["asked"] else "",
            f"{usual[0]:.2f}" if usual else "",
            f"{min(row['agreement'] for row in measured):.5f}" if measured else "",
        ])  # fmt: skip
    ours = f"ours, ms, {size}^{dimensions(rows)}, {OBJECTS} objects"
    head = ("kernel", "rival", "scenes", "least", "median", "largest", "asked", ours, "agreement")
    return table(head, lines)


def _best(rows: Rows) -> str:
    lines = []
    for kernel, goal in GOALS.items():
        scenes: dict[tuple[int, int], float] = {}
        for row in rows:
            if row["kernel"] == kernel and row["ratio"] is not None:
                scene = row["size"], row["objects"]
                scenes[scene] = min(row["ratio"], scenes.get(scene, np.inf))
        reached = sum(ratio >= goal for ratio in scenes.values())
        lines.append(
            [kernel, *_spread(list(scenes.values())), f"x{goal}", f"{reached} of {len(scenes)} scenes"]
        )
    return table(("kernel", "least", "median", "largest", "goal", "reached in"), lines)


def _spread(ratios: list[float]) -> list[str]:
    if not ratios:
        return ["left out", "", ""]
    return [f"x{value:.1f}" for value in (min(ratios), statistics.median(ratios), max(ratios))]


def growth(found: dict[str, Any]) -> str:
    """Exponents of the kernels, and the plot."""
    rows = [[name, f"{a:.2f}", f"{b:.2f}"] for name, (a, b) in found["growth"].items()]
    text = "\nTime as pixels^a x objects^b, least squares of the logarithms over the grid.\n"
    head = ("kernel", "a: pixels", "b: objects")
    plot = IMAGES / f"kernels_{dimensions(found['kernels'])}d.svg"
    draw(found["kernels"], plot)
    about = f"Our time against pixels, {OBJECTS} objects; each line's slope beside its name"
    return text + "\n" + table(head, rows) + f"\n![{about}](images/{plot.name})\n\n{about}.\n"


def draw(rows: Rows, path: Path) -> None:
    """Our milliseconds against pixels, one panel per kernel, on logarithmic axes."""
    kernels, ndim = list(dict.fromkeys(row["kernel"] for row in rows)), dimensions(rows)
    lines = -(-len(kernels) // COLUMNS)
    size = (2.4 * COLUMNS, 1.7 * lines + 0.4)
    figure, panels = plt.subplots(
        lines, COLUMNS, sharex=True, sharey=True, figsize=size, layout="constrained"
    )
    for panel in panels.flat[len(kernels) :]:
        panel.set_visible(False)
    for panel, kernel in zip(panels.flat, kernels, strict=False):
        sizes, times = _times([row for row in rows if row["kernel"] == kernel])
        pixels = sizes.astype(float) ** ndim
        slope, start = np.polyfit(np.log(pixels), np.log(times), 1)
        panel.loglog(pixels, np.exp(start) * pixels**slope, color="#9a9a9a", linewidth=1)
        panel.loglog(pixels, times, "o", color="#2a7f9e", markersize=4)
        panel.set_title(f"{kernel}: {slope:.2f}", fontsize=9)
        panel.minorticks_off()
        panel.tick_params(labelsize=7)
        panel.set_xticks(pixels, [f"{size}$^{ndim}$" for size in sizes])
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(color="#e6e6e6", linewidth=0.5)
    figure.supxlabel("pixels", fontsize=9)
    figure.supylabel("milliseconds", fontsize=9)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _times(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Sizes and milliseconds; a kernel that was measured beside several rivals counts by its median."""
    sizes = sorted({row["size"] for row in rows})
    times = [
        statistics.median(row["ours_ms"] for row in rows if (row["size"], row["objects"]) == (size, OBJECTS))
        for size in sizes
    ]
    return np.array(sizes), np.array(times)
