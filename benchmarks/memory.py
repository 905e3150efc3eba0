"""Peak memory and time of ``morula predict`` on one synthetic 8-bit image of 8192 x 8192 pixels.

``python benchmarks/memory.py [--model nuclei] [--size 8192]``; the figure is the peak resident set of the
child process, torch and compiled kernels included.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

from morula.prediction.shipped import find_folder, read_plan

LIMIT_GIB = 3.0


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


def main() -> None:
    """Write the image, run the command, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nuclei")
    parser.add_argument("--size", type=int, default=8192)
    parser.add_argument("--keep", type=Path, help="folder for image and results; a temporary one otherwise")
    options = parser.parse_args()
    channels = len(read_plan(find_folder(options.model)).channels)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        image = folder / "image.tif"
        tifffile.imwrite(image, synthetic_nuclei(options.size, channels))
        command = [sys.executable, "-m", "morula", "predict", str(image), "-o", str(folder / "out")]
        start = time.monotonic()
        subprocess.run([*command, "--model", options.model], check=True)
        seconds = time.monotonic() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    verdict = "within" if peak <= LIMIT_GIB else "ABOVE"
    shape = f"{options.size} x {options.size} x {channels}"
    print(f"{shape}: {seconds:.0f} s, peak {peak:.2f} GiB ({verdict} {LIMIT_GIB:g} GiB)")


if __name__ == "__main__":
    main()
