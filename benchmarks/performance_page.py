"""``docs/performance.md`` and its plots, from the figures that the benchmarks wrote.

    python benchmarks/performance_page.py [--run] [--model NAME] [--environments ENV]

``--run`` measures first, by `commands`, into ``benchmarks/figures``: about ten minutes in which nothing else
may run. Without it the page is made from the figures that lie there; what is missing is named, not guessed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

import kernel_page
from page_parts import facts, table
from speed import network_floor
from stages import ONCE

HERE = Path(__file__).parent
FIGURES = HERE / "figures"
PAGE = HERE.parent / "docs" / "performance.md"
PLOT = PAGE.parent / "images" / "performance.svg"
BEFORE = "3e92260"
"""The commit before prediction was made faster."""

STAGES = ("--model", "nuclei", "--diameter", "trained")
"""What both states of the package can do."""

NAMES = {
    "morula": "Morula, files to files",
    "morula --mirror none": "Morula `--mirror none`, files to files",
    "stardist": "StarDist 2D, network and its decoding, TensorFlow",
    "cellpose": "Cellpose 3 CNN, forward pass alone, torch",
    "instanseg": "InstanSeg, forward pass alone, torch",
}
INTRO = """# Performance

Made by `python benchmarks/performance_page.py` from `benchmarks/figures/*.json`; every table names its
command. Figures of one table come from one run in which all take turns; ratios hold better than the
figures themselves. Accuracy is in [benchmarks](benchmarks.md). `python benchmarks/guard.py`, by hand or at
night, compares with figures of an earlier day by ratios to fixed work, and fails where something is slower.
"""
PREDICTION = """
One image under way is in the network, others are read, decoded, drawn and written beside it by threads of
their own (`--workers`); results keep their order. Scale "estimated" is the default of `predict`
(`--diameter auto`: looks at a window of 512 px at several zooms first), "trained" leaves that out.
"Floor" is the share that the maps reach of the rate that the network's multiply-adds allow at the
measured matrix rate, or its activations at the measured bandwidth, whichever is slower.
"""
INT8 = """
`morula quantize RUN` measures ranges on training images and keeps them if the validation images lose no more
than .005 of AP@0.5 and .01 of AP@0.75; OpenVINO then computes with 8-bit integers where the processor has no
bfloat16 (`--engine openvino-int8` anywhere). Both shipped models are prepared.
"""
PEERS = """
No weights of the peers can be had on the machine: their networks are untrained, of the published
configuration, which takes the same time. StarDist's decoding (its NMS and drawing) is given maps made of
the true objects. Its files and normalisation, and all of Cellpose and InstanSeg but one forward pass over
the whole image, are left out.
"""

LOADERS = """
Beside a GPU every core but one makes batches (`morula.training.batches.loader_threads`). Patches of the union
a second of wall time, by threads, on the two cores here: {rates}. No GPU was at hand: what stands in the way
of keeping one 80 % busy is seen all the same. A patch costs the shipped network 4.7 GMAC, forward and back: a
thousand of them a second are 1 % of the 989 TFLOP/s in bfloat16 that NVIDIA states for an H200, and threads
of one Python interpreter take turns, so that each further one adds less than the first gives.
"""


def commands(options: argparse.Namespace) -> dict[str, list[str]]:
    """What is run for each file of figures."""
    model = ["--model", options.model]
    envs = str(options.environments)
    return {
        "speed": ["speed.py", *model],
        "speed_busy_2": ["speed.py", *model, "--rounds", "1", "--images", "4", "--busy", "1"],
        "speed_busy_1": [
            "speed.py",
            *model,
            "--rounds",
            "1",
            "--images",
            "4",
            "--busy",
            "1",
            "--threads",
            "1",
        ],
        "peers": ["peers.py", *model, "--environments", envs],
        "stages": ["stages.py", *STAGES, "--mirror", "all"],
        "stages_default": ["stages.py", *model],
        "memory": ["memory.py", *model],
        "training_speed": ["training_speed.py"],
        "pipeline": ["pipeline.py", "--environment", f"{envs}/monai"],
    }


def run_all(options: argparse.Namespace) -> None:
    """Measure; what fails is named and left out."""
    FIGURES.mkdir(exist_ok=True)
    for name, words in commands(options).items():
        measure(name, words)
    tree = Path(tempfile.gettempdir()) / "morula-before"
    git = ["git", "-C", str(HERE), "worktree"]
    if not tree.exists():
        subprocess.run([*git, "add", "--detach", str(tree), BEFORE], check=False)
    measure("stages_before", ["stages.py", *STAGES], {"PYTHONPATH": str(tree / "src")})
    subprocess.run([*git, "remove", "--force", str(tree)], check=False)


def measure(name: str, words: Sequence[str], extra: dict[str, str] | None = None) -> None:
    """One benchmark into its file."""
    print(f"-- {' '.join(words)}", file=sys.stderr)
    command = [sys.executable, str(HERE / words[0]), *words[1:], "--out", str(FIGURES / f"{name}.json")]
    done = subprocess.run(command, env={**os.environ, **(extra or {})}, cwd=HERE.parent, check=False)
    if done.returncode:
        print(f"   ended with {done.returncode}", file=sys.stderr)


def speed(found: dict[str, Any]) -> str:
    """Rates of `predict`, and the floor."""
    floor = found["floor"]
    rates = ", ".join(f"{rate:.0f} GMAC/s in {name}" for name, rate in floor["matrix_rate_gmac"].items())
    bandwidth = f"{floor['bandwidth_gigabytes']:.1f} GB/s copied"
    traffic = floor["gigabytes_per_megapixel"]
    work = f"{floor['gmac_per_megapixel']:.1f} GMAC and {traffic:.2f} GB per megapixel and view"
    rows = [
        [
            row["engine"],
            row["mirror"],
            "estimated" if row["diameter"] == "auto" else row["diameter"],
            f"**{row['end_to_end']:.2f}**",
            f"{row['segment']:.2f}",
            f"{row['maps']:.2f}",
            f"{network_floor(found, row):.0%}",
        ]
        for row in found["rates"]
    ]
    head = (
        "engine",
        "`--mirror`",
        "scale",
        "MP/s, files to files",
        "segmentation alone",
        "maps alone",
        "floor",
    )
    size = f"{found['images']} grey images of {found['size']} x {found['size']}, model `{found['model']}`"
    about = f"{size}. The machine: {rates}, {bandwidth}. The network: {work}."
    return f"{facts(found)}{about}\n\n{table(head, rows)}"


def peers(found: dict[str, Any]) -> str:
    """Rates beside other programs."""
    rounds = found["rounds"]
    rows = []
    for kind in rounds[0]:
        packages = found["versions"][kind]
        own = ("morula", "morula --mirror none")
        ratios = [statistics.median(row[name] / row[kind] for row in rounds) for name in own]
        rows.append([
            NAMES.get(kind, kind),
            f"{statistics.median(row[kind] for row in rounds):.2f}",
            *(f"x{ratio:.1f}" for ratio in ratios),
            ", ".join(f"{name} {number}" for name, number in packages.items()),
        ])  # fmt: skip
    head = ("program", "MP/s", "ours is", "ours without mirror images is", "versions")
    return facts(found) + table(head, rows) + PEERS


def stages(found: dict[str, Any]) -> str:
    """Milliseconds per megapixel, now and before."""
    path = FIGURES / "stages_before.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"ms_per_megapixel": {}}
    return _stages(found, before["ms_per_megapixel"])


def stages_default(found: dict[str, Any]) -> str:
    """Milliseconds per megapixel of `predict` as it is without options."""
    return _stages(found, {})


def _stages(found: dict[str, Any], past: dict[str, float]) -> str:
    now = found["ms_per_megapixel"]
    total, former = (sum(v for k, v in x.items() if k not in ONCE) for x in (now, past))
    rows = [
        [
            f"{name}{' (once per call)' if name in ONCE else ''}",
            *([f"{past[name]:.1f}" if name in past else ""] if past else []),
            f"{now[name]:.1f}",
            "" if name in ONCE else f"{now[name] / total:.0%}",
        ]
        for name in now
    ]
    rows.append(
        ["all but what is done once per call", *([f"{former:.0f}"] if past else []), f"{total:.0f}", "100%"]
    )
    decoding = sum(now.get(name, 0) for name in ("decode", "confidence", "number")) / total
    about = "One image after the other. Decoding with confidence and numbering"
    head = ("stage", *([f"before (`{BEFORE}`), ms/MP"] if past else []), "now, ms/MP", "share now")
    return f"{facts(found)}{about}: {decoding:.0%}.\n\n{table(head, rows)}"


def memory(found: dict[str, Any]) -> str:
    """Peaks."""
    rows = [
        [f"{r['images']} of {r['size']} x {r['size']}", f"{r['peak_mib']:.0f} MiB", f"{r['limit_mib']} MiB",
         f"{r['seconds']:.0f} s"]
        for r in found["runs"]
    ]  # fmt: skip
    return facts(found) + table(("images", "peak", "asked for", "time"), rows)


def pipeline(found: dict[str, Any]) -> str:
    """Patches per second, and the idle share."""
    rounds = found["rounds"]
    rows = [
        [name + (" (augmentation only)" if name in found["peers"] else ""),
         f"{statistics.median(row[name] for row in rounds):.0f}"]
        for name in rounds[0]
    ]  # fmt: skip
    text = facts(found) + table(("patches of 256 x 256", "a second and core"), rows)
    step, idle = found["training"]["step_s"], found["training"]["idle"]
    text += f"\nA training step of 8 patches took {step:.2f} s; the network waited {idle:.1%} of the time.\n"
    if "loaders" in found:
        rates = ", ".join(f"{rate:.0f} from {n}" for n, rate in found["loaders"].items())
        text += LOADERS.format(rates=rates)
    return text


def training_speed(found: dict[str, Any]) -> str:
    """Steps a second of both networks."""
    parts = [facts(found)]
    for name, rows in found["networks"].items():
        head = (f"network of `{name}`", "steps a second", "faster than plain")
        cells = [[row["variant"], f"{row['steps_per_second']:.2f}", f"x{row['ratio']:.2f}"] for row in rows]
        parts.append(table(head, cells))
    parts.append(
        "Plain is float32, channels first. A fused optimiser would break the bit-for-bit resumption, and\n"
        "`torch.compile` takes a minute to begin with: neither is used.\n"
    )
    return "\n".join(parts)


def precision(found: dict[str, Any]) -> str:
    """Scores after trainings in float32 and in bfloat16."""
    wide, narrow = found["groups"]["precision"]
    gain = narrow["gain"]
    return (
        f"\n`python benchmarks/ablations.py dsb2018 -o OUT --only precision`: a small network,"
        f" {wide['steps']} steps, seeds {', '.join(map(str, wide['seeds']))}, the same"
        f" {wide['n_images']}\ntest images. DSB score"
        f" {wide['dsb']['mean']:.3f} in float32, {narrow['dsb']['mean']:.3f} in bfloat16:"
        f" {gain['difference']:+.3f} (95 % {gain['low']:+.3f} to {gain['high']:+.3f},"
        f" p {p_value(gain['p_value'])});\nDice {wide['dice']:.3f} and {narrow['dice']:.3f}.\n"
    )


def time_to_accuracy(found: dict[str, Any]) -> str:
    """Both programs' scores by the time they had."""
    rows = [
        [name, f"{row['steps']:,}", f"{row['cpu_seconds'] / 60:.1f}",
         *(f"{row[score]:.3f}" for score in ("ap_50", "ap_75", "dsb"))]
        for name, programs in found["rows"].items() for row in programs
    ]  # fmt: skip
    head = ("program", "steps", "minutes of one core", "AP@0.5", "AP@0.75", "DSB score")
    same = found["same_time"]
    first = {
        name: next((row["cpu_seconds"] / 60 for row in programs if row["ap_50"] >= 0.8), None)
        for name, programs in found["rows"].items()
    }
    reached = ", ".join(f"{name} {f'{m:.0f} minutes' if m else 'never'}" for name, m in first.items())
    return (
        facts(found)
        + table(head, rows)
        + "\n`auto` has its whole call counted (preparing, looks, choosing the decoder, report), StarDist its"
        " training\nsteps alone; both had one core each, trained on one day. DSB score of"
        f" `auto` after {same['morula_minutes']:.0f} minutes against\nStarDist's after"
        f" {same['stardist_minutes']:.0f}: {same['difference']:+.3f} (paired sign-flip test over images,"
        f" p {p_value(same['p_value'])}).\nUntil AP@0.5 is 0.80, among these: {reached} (goal: a third).\n"
    )


def p_value(value: float) -> str:
    """As a reader wants it."""
    return "< .001" if value < 0.001 else f"= {value:.3f}"


def int8(found: dict[str, Any]) -> str:
    """Time and accuracy with int8."""
    rows = [
        [name, f"{row['float']:.0f} ms", f"{row['int8']:.0f} ms", f"x{row['float'] / row['int8']:.2f}"]
        for name, row in found["rows"].items()
    ]
    head = ("this processor", "floating point", "int8", "faster")
    before, after = found["before"], found["after"]
    scores = ", ".join(f"{before[name]:.3f} and {after[name]:.3f}" for name in before)
    about = f"One pass of one thread over 1024 x 1024. AP@0.5 and AP@0.75 without, with int8: {scores}.\n\n"
    return INT8 + facts(found) + about + table(head, rows)


SECTIONS: tuple[tuple[str, str, Callable[[dict[str, Any]], str]], ...] = (
    ("Prediction", "speed", speed),
    ("Prediction beside one busy process, two threads", "speed_busy_2", speed),
    ("Prediction beside one busy process, one thread", "speed_busy_1", speed),
    ("Beside other programs", "peers", peers),
    ("Where the time goes, model `nuclei` at the trained scale, before and now", "stages", stages),
    ("Where the time goes, `predict` without options", "stages_default", stages_default),
    ("Memory", "memory", memory),
    ("int8", "int8", int8),
    ("The training's input", "pipeline", pipeline),
    ("Steps of training", "training_speed", training_speed),
    ("What bfloat16 costs", "ablations_precision", precision),
    (
        "Time to accuracy: StarDist's split, `auto` beside StarDist's own package",
        "time_to_accuracy",
        time_to_accuracy,
    ),
    ("Label kernels beside other libraries, 2D", "kernels_grid", kernel_page.beside),
    ("Label kernels beside other libraries, 3D", "kernels_grid_3d", kernel_page.beside),
    ("Growth of the label kernels, 2D", "kernels_grid", kernel_page.growth),
    ("Growth of the label kernels, 3D", "kernels_grid_3d", kernel_page.growth),
)


def draw(found: dict[str, Any]) -> None:
    """Rates beside other programs as bars."""
    rounds = found["rounds"]
    kinds = list(rounds[0])[::-1]
    rates = [statistics.median(row[kind] for row in rounds) for kind in kinds]
    figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
    bars = axes.barh(kinds, rates, color=["#2a7f9e" if k.startswith("morula") else "#9a9a9a" for k in kinds])
    axes.bar_label(bars, [f"{rate:.2f}" for rate in rates], padding=3)
    axes.set_xlabel("megapixels a second, 1024 x 1024 grey")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PLOT, metadata={"Date": None})
    plt.close(figure)


def page() -> str:
    """The whole text."""
    parts = [INTRO]
    for title, name, write in SECTIONS:
        path = FIGURES / f"{name}.json"
        parts.append(f"\n## {title}\n" + (PREDICTION if name == "speed" else ""))
        if not path.exists():
            parts.append(f"\nNot measured yet: `benchmarks/figures/{name}.json` is missing.\n")
            continue
        found = json.loads(path.read_text(encoding="utf-8"))
        parts.append(write(found))
        if name == "peers":
            draw(found)
            parts.append(f"\n![Megapixels a second beside other programs](images/{PLOT.name})\n")
    return "".join(parts)


def main() -> None:
    """Measure when asked, then write the page."""
    # The same figures give the same files.
    plt.rcParams["svg.hashsalt"] = "morula"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", action="store_true")
    parser.add_argument("--model", default="generalist")
    parser.add_argument("--environments", type=Path, default=Path("environments"))
    options = parser.parse_args()
    if options.run:
        run_all(options)
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
