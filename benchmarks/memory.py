"""Peak memory and time of ``morula predict`` on a folder of 512 x 512 images, and on one of 8192 x 8192.

``python benchmarks/memory.py [--model NAME] [--images 24] [--size 8192] [--mirror WHICH] [--out FILE.json]``;
the figure is the peak resident set of the child process, torch and compiled kernels included.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
import tifffile

FOLDER_LIMIT_MIB = 600
LARGE_LIMIT_MIB = 1536


def synthetic_nuclei(size: int, channels: int, seed: int = 0) -> np.ndarray:
    """Bright ellipses of 8 to 16 px radius on dark noise, some touching; ``(y, x)`` or ``(y, x, C)``."""
    rng = np.random.default_rng(seed)
    tile = 1024
    offsets = np.stack(np.meshgrid(np.arange(tile), np.arange(tile), indexing="ij"), -1)
    image = np.empty((size, size), np.uint8)
    for top in range(0, size, tile):
        for left in range(0, size, tile):
            patch = rng.normal(20, 4, (tile, tile))
            for _ in range(600):
                _add_nucleus(patch, offsets, rng)
            crop = patch[: size - top, : size - left]
            image[top : top + tile, left : left + tile] = np.clip(crop, 0, 255)
    return image if channels == 1 else np.repeat(image[..., None], channels, -1)


def _add_nucleus(patch: np.ndarray, offsets: np.ndarray, rng: np.random.Generator) -> None:
    y, x = rng.integers(0, len(patch), 2)
    radii = rng.uniform(8, 16, 2)
    window = (slice(max(0, y - 20), y + 20), slice(max(0, x - 20), x + 20))
    distance = np.linalg.norm((offsets[window] - (y, x)) / radii, axis=-1)
    patch[window] += rng.uniform(60, 180) / (1 + np.exp(12 * (distance - 1)))


def run(folder: Path, images: int, size: int, words: list[str]) -> dict[str, float]:
    """Write the images, run the command on them, say what it took."""
    folder.mkdir()
    for seed in range(images):
        tifffile.imwrite(folder / f"{seed}.tif", synthetic_nuclei(size, 1, seed))
    command = [sys.executable, "-m", "morula", "predict", str(folder), "-o", f"{folder}_out", *words]
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        message = f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}"
        raise RuntimeError(message)
    seconds = time.monotonic() - start
    return {"images": images, "size": size, "seconds": seconds, "peak_mib": usage.ru_maxrss / 1024}


def main() -> None:
    """Measure both, print, and write JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="generalist")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--size", type=int, default=8192)
    parser.add_argument("--mirror")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    words = ["--model", options.model, *(["--mirror", options.mirror] if options.mirror else [])]
    with tempfile.TemporaryDirectory() as temporary:
        found = [
            run(Path(temporary) / "folder", options.images, 512, words),
            run(Path(temporary) / "large", 1, options.size, words),
        ]
    for row, limit in zip(found, (FOLDER_LIMIT_MIB, LARGE_LIMIT_MIB), strict=True):
        row["limit_mib"] = limit
        verdict = "within" if row["peak_mib"] <= limit else "ABOVE"
        what = f"{row['images']} of {row['size']} x {row['size']}"
        print(f"{what}: {row['seconds']:.0f} s, peak {row['peak_mib']:.0f} MiB ({verdict} {limit})")
    if options.out:
        facts = {"date": date.today().isoformat(), "command": " ".join(["python", *sys.argv])}
        options.out.write_text(json.dumps({**facts, "runs": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
