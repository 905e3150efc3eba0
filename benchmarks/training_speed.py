"""Steps a second of training: the plain way, and with each thing that is meant to make it faster.

    python benchmarks/training_speed.py [--rounds 5] [--steps 4] [--threads 2] [--out FILE.json]

Plain is float32, channels first, an optimiser that takes tensor after tensor. One network is that of the
recipe ``auto`` on grey images of 256 px, the other that of ``nnunet-weightmap``. Batches are made
beforehand: the input has figures of its own (`pipeline.py`). The variants take turns; medians over rounds,
ratios within them.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from machine import describe
from morula.data.files import write_text
from morula.planning.plan import Plan
from morula.planning.planner import read_recipe
from morula.training import loop
from morula.training.batches import Batch, Patches
from pipeline import UNION, make_samples, plan_for


@dataclass(frozen=True)
class Variant:
    """One way to train."""

    name: str
    precision: str = "float32"
    channels_last: bool = False
    fused: bool = False
    compiled: bool = False


VARIANTS = (
    Variant("plain"),
    Variant("channels last", channels_last=True),
    Variant("bfloat16", "bfloat16"),
    Variant("bfloat16, channels last (as Morula trains)", "bfloat16", True),
    Variant("... and a fused optimiser", "bfloat16", True, fused=True),
    Variant("... and torch.compile", "bfloat16", True, compiled=True),
)


def plans() -> dict[str, Plan]:
    """Of both networks, for patches of 256 x 256."""
    auto = plan_for(UNION)
    recipe = read_recipe("nnunet-weightmap")
    network = {**recipe["network"], "features": (32, 64, 128, 256, 480, 480, 480)}
    # Without the weight map, which is made when images are prepared.
    representation = recipe["representation"] | {"weight_map": False}
    given = {"network": network, "representation": representation}
    training = auto.training.model_dump() | {"batch_size": 2, "optimizer": recipe["training"]["optimizer"]}
    system_a = Plan.model_validate(auto.model_dump() | given | {"training": training})
    return {"auto": auto, "nnunet-weightmap": system_a}


def stepper(plan: Plan, variant: Variant, batches: list[Batch], folder: Path) -> Callable[[], None]:
    """A function that trains on every batch once."""
    changed = plan.training.model_copy(update={"precision": variant.precision})
    layout = torch.channels_last if variant.channels_last else torch.contiguous_format
    with mock.patch.object(loop, "_memory_format", return_value=layout):
        trainer = loop.Trainer(plan.model_copy(update={"training": changed}), folder, "cpu", None)
    if variant.fused:
        for group in trainer.optimizer.param_groups:
            group["fused"], group["foreach"] = True, False
    if variant.compiled:
        # Its state keeps the names that the average has.
        trainer.network.compile()

    def run() -> None:
        with mock.patch.object(loop, "_memory_format", return_value=layout):
            for batch in batches:
                trainer.step(batch)

    return run


def measure(options: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """Seconds a step of every network and variant in every round."""
    found: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        samples = make_samples(folder)
        for name, plan in plans().items():
            patches = Patches(plan, samples)
            batches = [patches.batch(step) for step in range(options.steps)]
            steppers = {v.name: stepper(plan, v, batches, folder) for v in VARIANTS}
            for run in steppers.values():
                run()
            times: dict[str, list[float]] = {variant: [] for variant in steppers}
            for _ in range(options.rounds):
                for variant, run in steppers.items():
                    start = time.perf_counter()
                    run()
                    times[variant].append((time.perf_counter() - start) / options.steps)
            found[name] = times
            print(name, file=sys.stderr)
    return found


def summarise(times: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Steps a second, and how much faster than plain."""
    plain = times[VARIANTS[0].name]
    return [
        {
            "variant": name,
            "steps_per_second": 1 / statistics.median(seconds),
            "ratio": statistics.median(p / s for p, s in zip(plain, seconds, strict=True)),
        }
        for name, seconds in times.items()
    ]


def main() -> None:
    """Measure, print, and write JSON when asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="in a round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    networks = {name: summarise(times) for name, times in measure(options).items()}
    for name, rows in networks.items():
        print(f"\n| {name} | steps/s | faster |\n|---|---|---|")
        for row in rows:
            print(f"| {row['variant']} | {row['steps_per_second']:.2f} | x{row['ratio']:.2f} |")
    if options.out:
        facts = {"date": date.today().isoformat(), **describe(), "threads": options.threads}
        command = " ".join(["python", *sys.argv])
        write_text(
            options.out, json.dumps({**facts, "command": command, "networks": networks}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
