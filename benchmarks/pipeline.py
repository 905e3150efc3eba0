"""Patches a second and core of the training's input, per representation, and how long the network waits.

    python benchmarks/pipeline.py [--rounds 5] [--steps 20] [--threads 2] [--out FILE.json]

Patches of 256 x 256: cut with halo, flipped, turned, zoomed, bent, changed in intensity, encoded. Beside them
the augmentation alone of MONAI, albumentations and plain torch (`pipeline_worker.py`; one environment holds
all three: ``pip install monai albumentations torch``). All take turns; seconds are processor time of one
thread. Then how many patches of the union come out a second of wall time when one thread makes them and when
more do, as beside a GPU. Then a training of the network of ``auto`` runs some steps, with the one thread that
makes batches: the idle share is the time in which the next batch was not there yet.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from machine import describe
from morula.planning.machine import usable_cores
from morula.planning.plan import Inference, Plan, Scaling, Training
from morula.preprocessing.prepare import Prepared
from morula.training.batches import Patches, stream
from morula.training.loop import Trainer
from peers import answer
from scenes import make_scene

PATCHES = 16
SIDE = 512
UNION = {
    "kind": "union",
    "decoder": "borders",
    "parts": {
        "distance": {"kind": "signed_distance"},
        "borders": {"kind": "shrunk_borders"},
        "offsets": {"kind": "hover"},
    },
}
"""That of the recipe ``auto``."""

REPRESENTATIONS: dict[str, dict[str, Any]] = {
    name: {"kind": name}
    for name in (
        "foreground",
        "interior_boundary",
        "shrunk_borders",
        "signed_distance",
        "hover",
        "star_convex",
    )
} | {"union of three": UNION}
NETWORK = {"kind": "residual_unet", "features": (24, 48, 96, 192, 256), "blocks": (1,) * 5, "stem": 2}


def plan_for(representation: dict[str, Any]) -> Plan:
    """That of a grey data set with objects of 24 px."""
    return Plan(
        ndim=2,
        channels=("grey",),
        halo_px=(32, 32),
        scaling=Scaling(diameter_px=24.0),
        representation=representation,  # pyright: ignore[reportArgumentType]
        network=NETWORK,  # pyright: ignore[reportArgumentType]
        training=Training(patch_size=(256, 256), batch_size=8, steps=10_000, precision="bfloat16"),
        inference=Inference(tile_size=(512, 512)),
    )


def make_samples(folder: Path, count: int = 8) -> list[Prepared]:
    """Prepared images of 512 x 512 with about 125 cells; the same as arrays for the other libraries."""
    samples, images, labels = [], [], []
    for seed in range(count):
        scene = make_scene(SIDE, 125, seed=seed)
        image = (1 - scene.relief).astype(np.float32)
        paths = folder / f"{seed}_image.npy", folder / f"{seed}_labels.npy"
        np.save(paths[0], image[None].astype(np.float16))
        np.save(paths[1], scene.truth)
        samples.append(Prepared(str(seed), *paths, {}, "grey", 24.0))
        images.append(image)
        labels.append(scene.truth)
    np.save(folder / "images.npy", np.stack(images))
    np.save(folder / "labels.npy", np.stack(labels))
    return samples


def own_rate(patches: Patches, step: int) -> float:
    """Patches a second of processor time."""
    start = time.process_time()
    for index in range(PATCHES):
        patches.draw(step, index)
    return PATCHES / (time.process_time() - start)


def peer_rate(worker: subprocess.Popen[str]) -> float:
    """The same of another library."""
    print(file=worker.stdin, flush=True)
    found = answer(worker)
    return found["patches"] / found["seconds"]


def loader_rate(plan: Plan, samples: list[Prepared], loaders: int, steps: int) -> float:
    """Patches a second that come out of a stream which nobody keeps waiting."""
    begin, patches = 0.0, 0
    for batch in stream(Patches(plan, samples), 0, steps, loaders=loaders):
        # The first batch reads the files.
        begin = begin or time.perf_counter()
        patches += len(batch.image)
    return (patches - plan.training.batch_size) / (time.perf_counter() - begin)


def idle_share(plan: Plan, samples: list[Prepared], steps: int) -> dict[str, float]:
    """Seconds of a training step, and the share of them spent waiting for the batch.

    The first fifth of the steps is left out.
    """
    first = steps // 5
    waited, begin = 0.0, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(plan, Path(folder), "cpu", None)
        batches = stream(Patches(plan, samples), 0, steps)
        for step in range(steps):
            if step == first:
                waited, begin = 0.0, time.perf_counter()
            start = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - start
            trainer.step(batch)
    elapsed = time.perf_counter() - begin
    return {"step_s": elapsed / (steps - first), "idle": waited / elapsed}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Rates round by round, and the idle share."""
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        samples = make_samples(folder)
        drawers = {name: Patches(plan_for(table), samples) for name, table in REPRESENTATIONS.items()}
        script = str(Path(__file__).with_name("pipeline_worker.py"))
        workers = {
            name: subprocess.Popen(
                [str(options.environment / "bin" / "python"), script, name, str(folder)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )
            for name in options.peers
        }  # fmt: skip
        try:
            for patches in drawers.values():
                own_rate(patches, 0)
            for worker in workers.values():
                answer(worker)
            rounds = [
                {name: own_rate(patches, step) for name, patches in drawers.items()}
                | {name: peer_rate(worker) for name, worker in workers.items()}
                for step in range(1, options.rounds + 1)
            ]
        finally:
            for worker in workers.values():
                worker.kill()
        plan = plan_for(UNION)
        loaders = {n: loader_rate(plan, samples, n, options.steps) for n in range(1, usable_cores() + 1)}
        idle = idle_share(plan, samples, options.steps)
    facts = {"date": date.today().isoformat(), **describe(), "command": " ".join(["python", *sys.argv])}
    return {
        **facts,
        "threads": options.threads,
        "peers": list(workers),
        "rounds": rounds,
        "loaders": loaders,
        "training": idle,
    }


def main() -> None:
    """Measure, print, and write JSON when asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="of the loaders and of the training")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peers", nargs="*", default=["monai", "albumentations", "torch"])
    parser.add_argument("--environment", type=Path, default=Path("environments/monai"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = measure(options)
    for name in found["rounds"][0]:
        rate = statistics.median(row[name] for row in found["rounds"])
        print(f"{name:20} {rate:8.0f} patches/s/core")
    print(", ".join(f"{rate:.0f} patches/s from {n} loaders" for n, rate in found["loaders"].items()))
    print(f"training: {found['training']['step_s']:.2f} s a step, idle {found['training']['idle']:.1%}")
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
