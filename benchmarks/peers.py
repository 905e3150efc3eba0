"""Megapixels a second of ``morula predict``, files to files, beside StarDist, Cellpose and InstanSeg.

    python benchmarks/peers.py [--rounds 5] [--images 8] [--size 1024] [--model NAME] [--out FILE.json]

Each peer lives in an environment of its own, ``ENVIRONMENTS/NAME`` (``--environments``), made by::

    python -m venv ENV/stardist  && ENV/stardist/bin/pip install stardist tensorflow-cpu
    python -m venv ENV/cellpose  && ENV/cellpose/bin/pip install "cellpose<4"
    python -m venv ENV/instanseg && ENV/instanseg/bin/pip install instanseg-torch

and runs in a process of its own (`peer_worker.py`, which says what each does). In every round they take
turns, one runs while the others wait; the median over rounds counts. Peers get the easier task: StarDist's
normalisation and files, and all but the network's forward pass of Cellpose and InstanSeg, are left out.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from machine import describe
from scenes import make_scene

PEERS = ("stardist", "cellpose", "instanseg")


def start(kind: str, python: Path, folder: Path, options: argparse.Namespace) -> subprocess.Popen[str]:
    """A worker that has run once already."""
    threads = str(options.threads)
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": threads,
        "NUMBA_NUM_THREADS": threads,
        # Threads that have nothing to do must not keep a core busy while another program is timed.
        "OMP_WAIT_POLICY": "passive",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
        "MODEL": options.model,
    }
    own = folder / kind
    own.mkdir()
    for name in ("images.npy", "labels.npy"):
        (own / name).symlink_to(folder / name)
    return subprocess.Popen(
        [str(python), str(Path(__file__).with_name("peer_worker.py")), kind, str(own)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=environment,
    )  # fmt: skip


def answer(worker: subprocess.Popen[str]) -> dict[str, Any]:
    """The next line that a worker has for us."""
    for line in worker.stdout or ():
        if line.startswith("@"):
            return json.loads(line[1:])
    message = f"{worker.args} ended with {worker.wait()}"
    raise RuntimeError(message)


def turn(worker: subprocess.Popen[str], size: int) -> float:
    """Megapixels a second of one run."""
    print(file=worker.stdin, flush=True)
    found = answer(worker)
    time.sleep(0.3)
    return found["images"] * size**2 / 1e6 / found["seconds"]


def make_images(folder: Path, count: int, size: int) -> None:
    """Grey images of bright, partly touching, irregular cells on noise, and their objects."""
    images, labels = [], []
    for seed in range(count):
        scene = make_scene(size, 500 * size**2 // 1024**2, seed=seed)
        noise = np.random.default_rng(seed).normal(20, 4, scene.truth.shape)
        depth = 1 - scene.relief
        images.append(np.clip(noise + (scene.truth > 0) * (60 + 120 * depth), 0, 255).astype(np.uint8))
        labels.append(scene.truth)
    np.save(folder / "images.npy", np.stack(images))
    np.save(folder / "labels.npy", np.stack(labels))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All rates, round by round."""
    pythons = {name: options.environments / name / "bin" / "python" for name in options.peers}
    kinds = {"morula": Path(sys.executable), "morula --mirror none": Path(sys.executable), **pythons}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_images(folder, options.images, options.size)
        workers = {kind: start(kind, python, folder, options) for kind, python in kinds.items()}
        try:
            versions = {kind: answer(worker)["versions"] for kind, worker in workers.items()}
            rounds = []
            for _ in range(options.rounds):
                rounds.append({kind: turn(worker, options.size) for kind, worker in workers.items()})
                print(", ".join(f"{kind} {rate:.2f}" for kind, rate in rounds[-1].items()), file=sys.stderr)
        finally:
            for worker in workers.values():
                worker.kill()
    return {
        "date": date.today().isoformat(),
        **describe(),
        "command": " ".join(["python", *sys.argv]),
        "model": options.model, "size": options.size, "images": options.images, "threads": options.threads,
        "versions": versions,
        "rounds": rounds,
    }  # fmt: skip


def show(found: dict[str, Any]) -> None:
    """Medians and ratios."""
    rounds = found["rounds"]
    print(f"{'program':20} {'MP/s':>6} {'ours is':>8} {'mirror none':>12}")
    for kind in rounds[0]:
        rate = statistics.median(row[kind] for row in rounds)
        ratios = [statistics.median(r[own] / r[kind] for r in rounds) for own in list(rounds[0])[:2]]
        print(f"{kind:20} {rate:6.2f} {ratios[0]:7.1f}x {ratios[1]:11.1f}x")


def main() -> None:
    """Measure, print, and write JSON when asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="generalist")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peers", nargs="*", default=list(PEERS))
    parser.add_argument("--environments", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = measure(options)
    show(found)
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
