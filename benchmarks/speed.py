"""Speed of ``morula predict``, files in and label files out, with every engine that is installed.

``python benchmarks/speed.py [--images 4] [--size 1024] [--rounds 3] [--out FILE.json]``; run it with nothing
else running. The engines take turns, the median over rounds counts. The floor is what the network's
multiply-adds would take at the matrix rate measured here, in float32 and bfloat16.
"""

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path
from typing import Any, get_args

import numpy as np
import tifffile
import torch

from memory import synthetic_nuclei
from morula.data.formats import read_image
from morula.errors import InputError
from morula.networks.count import cost
from morula.prediction.confidence import needed_heads
from morula.prediction.engines import Engine, choose_engine
from morula.prediction.model import Model
from morula.prediction.predict import predict


def engines() -> list[str]:
    """The engines that are installed."""
    found = []
    for name in get_args(Engine)[1:]:
        try:
            found.append(choose_engine(name, "cpu"))
        except InputError:
            continue
    return found


def matrix_rate(dtype: torch.dtype, n: int = 2048) -> float:
    """Multiply-adds per second, in units of 1e9, of one square matrix product; the best of five."""
    a, b = torch.randn(n, n, dtype=dtype), torch.randn(n, n, dtype=dtype)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - start)
    return n**3 / min(seconds) / 1e9


def end_to_end(images: list[Path], engine: str, model: str) -> float:
    """Seconds of one call of ``predict``, the model's start included."""
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        predict(images, Path(out), model=model, engine=engine)
        return time.perf_counter() - start


def shares(images: list[Path], engine: str, model: str) -> dict[str, float]:
    """Seconds of maps alone and of the whole segmentation, with a model that is loaded already."""
    loaded = Model.load(model, engine=engine)
    inputs = [read_image(path) for path in images]
    heads = needed_heads(loaded.plan.representation, loaded.plan.ndim)
    loaded.segment(inputs[0])
    start = time.perf_counter()
    for image in inputs:
        loaded.segment(image)
    whole = time.perf_counter() - start
    pixels = [
        np.repeat(image.pixels / np.float32(255), 3, 0)[: len(loaded.plan.channels)] for image in inputs
    ]
    start = time.perf_counter()
    for array in pixels:
        loaded.maps_of(array, heads=heads)
    return {"segment_s": whole, "maps_s": time.perf_counter() - start}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    with tempfile.TemporaryDirectory() as folder:
        images = []
        for number in range(options.images):
            images.append(Path(folder) / f"image_{number}.tif")
            tifffile.imwrite(images[-1], synthetic_nuclei(options.size, 1, seed=number))
        names = engines()
        for name in names:
            end_to_end(images[:1], name, options.model)
        rounds = [{n: end_to_end(images, n, options.model) for n in names} for _ in range(options.rounds)]
        parts = {name: shares(images, name, options.model) for name in names}
    megapixels = options.images * options.size**2 / 1e6
    model = Model.load(options.model)
    views = 2**model.plan.ndim if model.plan.inference.mirror else 1
    plan = model.plan
    one = cost(plan.network, len(plan.channels), plan.representation.heads(plan.ndim), (1024, 1024))
    return {
        "machine": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "megapixels": megapixels,
        "mirror_images": views,
        "gmac_per_megapixel": one.multiply_adds / 1e9 / (1024**2 / 1e6),
        "parameters": one.parameters,
        "matrix_rate_gmac": {k: matrix_rate(getattr(torch, k)) for k in ("float32", "bfloat16")},
        "engines": {
            n: {"end_to_end_s": float(np.median([row[n] for row in rounds])), **parts[n]} for n in names
        },
    }


def show(found: dict[str, Any]) -> None:
    """The figures as a table."""
    work = found["gmac_per_megapixel"] * found["mirror_images"]
    print(f"{found['threads']} threads; {found['parameters']:,} parameters; {work:.0f} GMAC per megapixel,")
    print(f"{found['mirror_images']} mirror images included; matrix rates {found['matrix_rate_gmac']} GMAC/s")
    print(
        f"{'engine':12} {'MP/s, files to files':>21} {'MP/s, segment':>14} {'network share':>14} {'floor':>6}"
    )
    floor = work / max(found["matrix_rate_gmac"].values())
    for name, row in found["engines"].items():
        rate = found["megapixels"] / row["end_to_end_s"]
        alone = found["megapixels"] / row["segment_s"]
        part = row["maps_s"] / row["segment_s"]
        reached = floor * found["megapixels"] / row["maps_s"]
        print(f"{name:12} {rate:21.2f} {alone:14.2f} {part:14.0%} {reached:6.0%}")


def main() -> None:
    """Measure, print, and write JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nuclei")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = measure(options)
    show(found)
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
