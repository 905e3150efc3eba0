"""Speed of ``morula predict``, files to files, with every engine, and how far it is from the floor.

``python benchmarks/speed.py [--model NAME] [--images 8] [--size 1024] [--rounds 3] [--threads 2] [--busy 0]
[--out FILE.json]``; run it with nothing else running. The cases take turns, the median over rounds counts.
The floor is what the network's multiply-adds would take at the matrix rate measured here, and what its
activations, each written and read once in two bytes, would take at the bandwidth measured here. ``--busy N``
starts N processes beside that do nothing but compute.
"""

import argparse
import json
import math
import multiprocessing
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch

from machine import bandwidth, describe, matrix_rate
from memory import synthetic_nuclei
from morula.data.formats import read_image
from morula.errors import InputError
from morula.networks.blocks import CONV
from morula.networks.count import cost
from morula.prediction.confidence import needed_heads
from morula.prediction.engines import choose_engine
from morula.prediction.mirror import mirrorings
from morula.prediction.model import Model
from morula.prediction.predict import predict

CASES = (
    ("openvino", "opposite", "auto"),
    ("openvino", "opposite", "trained"),
    ("openvino", "all", "auto"),
    ("openvino", "none", "auto"),
    ("openvino", "none", "trained"),
    ("torch", "opposite", "auto"),
    ("torch", "none", "auto"),
    ("onnxruntime", "none", "auto"),
)
"""Engine, ``--mirror``, ``--diameter``."""


def installed(engine: str) -> bool:
    """Whether an engine can be used."""
    try:
        choose_engine(engine, "cpu")
    except InputError:
        return False
    return True


def end_to_end(images: list[Path], model: str, engine: str, mirror: str, diameter: str) -> float:
    """Seconds of one call of ``predict``, the model's start included."""
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        predict(
            images, Path(out), model=model, engine=engine, mirror=mirror,
            diameter=diameter,  # pyright: ignore[reportArgumentType]
        )  # fmt: skip
        return time.perf_counter() - start


def alone(image: Path, model: str, engine: str, mirror: str, diameter: str) -> dict[str, float]:
    """Seconds of one image's segmentation, and of its maps, with a model that is loaded; best of 3."""
    loaded = Model.load(model, engine=engine).mirroring(mirror)
    read = read_image(image)
    heads = needed_heads(loaded.plan.representation, loaded.plan.ndim)
    grey = read.pixels / np.float32(255)
    pixels = np.repeat(grey, 3, 0)[: len(loaded.plan.channels)]
    loaded.segment(read, diameter_px=diameter)  # pyright: ignore[reportArgumentType]
    seconds = {"segment_s": [], "maps_s": []}
    for _ in range(3):
        start = time.perf_counter()
        loaded.segment(read, diameter_px=diameter)  # pyright: ignore[reportArgumentType]
        middle = time.perf_counter()
        loaded.maps_of(pixels, heads=heads)
        seconds["segment_s"].append(middle - start)
        seconds["maps_s"].append(time.perf_counter() - middle)
    return {name: min(values) for name, values in seconds.items()}


def traffic(model: Model) -> float:
    """Gigabytes per megapixel that the convolutions read and write, two bytes a number."""
    plan, total = model.plan, 0

    def add(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        total += 2 * (inputs[0].numel() + output.numel())

    with torch.device("meta"), torch.no_grad():
        heads = plan.representation.heads(plan.ndim)
        network = plan.network.build(plan.ndim, len(plan.channels), heads).train()
        for module in network.modules():
            if isinstance(module, tuple(CONV.values())):
                module.register_forward_hook(add)
        network(torch.empty(1, len(plan.channels), *(1024,) * plan.ndim))
    return total / 1e9 / (math.prod((1024,) * plan.ndim) / 1e6)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    torch.set_num_threads(options.threads)
    model = Model.load(options.model)
    plan = model.plan
    one = cost(plan.network, len(plan.channels), plan.representation.heads(plan.ndim), (1024, 1024))
    floor = {
        "gmac_per_megapixel": one.multiply_adds / 1e9 / (1024**2 / 1e6),
        "gigabytes_per_megapixel": traffic(model),
        "matrix_rate_gmac": {k: matrix_rate(getattr(torch, k)) for k in ("float32", "bfloat16")},
        "bandwidth_gigabytes": bandwidth(),
    }
    cases = [case for case in CASES if installed(case[0])]
    with tempfile.TemporaryDirectory() as folder:
        images = []
        for number in range(options.images):
            images.append(Path(folder) / f"image_{number}.tif")
            tifffile.imwrite(images[-1], synthetic_nuclei(options.size, 1, seed=number))
        for case in cases:
            end_to_end(images[:1], options.model, *case)
        rounds = [[end_to_end(images, options.model, *case) for case in cases] for _ in range(options.rounds)]
        parts = [alone(images[0], options.model, *case) for case in cases]
    each = options.size**2 / 1e6
    rows = [
        {
            "engine": engine, "mirror": mirror, "diameter": diameter,
            "views": len(mirrorings(plan.ndim, mirror)),
            "end_to_end": options.images * each / float(np.median([r[i] for r in rounds])),
            "segment": each / parts[i]["segment_s"],
            "maps": each / parts[i]["maps_s"],
        }
        for i, (engine, mirror, diameter) in enumerate(cases)
    ]  # fmt: skip
    return {
        "date": date.today().isoformat(),
        **describe(),
        "command": " ".join(["python", *sys.argv]),
        "model": options.model, "images": options.images, "size": options.size,
        "threads": options.threads, "busy": options.busy, "parameters": one.parameters,
        "floor": floor,
        "rates": rows,
    }  # fmt: skip


def network_floor(found: dict[str, Any], row: dict[str, Any]) -> float:
    """Share of the floor's rate that the maps of one case are made at."""
    floor = found["floor"]
    rate = floor["matrix_rate_gmac"]["float32" if row["engine"] == "onnxruntime" else "bfloat16"]
    seconds = row["views"] * max(
        floor["gmac_per_megapixel"] / rate, floor["gigabytes_per_megapixel"] / floor["bandwidth_gigabytes"]
    )
    return row["maps"] * seconds


def show(found: dict[str, Any]) -> None:
    """The figures as a table."""
    print(f"{found['threads']} threads; {found['parameters']:,} parameters; {found['floor']}")
    print(f"{'case':28} {'MP/s, files to files':>21} {'segment':>8} {'maps':>6} {'of the floor':>13}")
    for row in found["rates"]:
        name = f"{row['engine']}, mirror {row['mirror']}, {row['diameter']}"
        rates = f"{row['end_to_end']:21.2f} {row['segment']:8.2f} {row['maps']:6.2f}"
        print(f"{name:28} {rates} {network_floor(found, row):13.0%}")


def spin() -> None:
    """Keep one core busy."""
    while True:
        pass


def main() -> None:
    """Measure, print, and write JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="generalist")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--busy", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    beside = [multiprocessing.Process(target=spin, daemon=True) for _ in range(options.busy)]
    for process in beside:
        process.start()
    found = measure(options)
    for process in beside:
        process.kill()
    show(found)
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
