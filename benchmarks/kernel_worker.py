"""Functions of another package at work for `kernels.py`, in an environment of their own.

``python kernel_worker.py PACKAGE``. First a line tells the versions. Each line of standard input is JSON: the
``folder`` of a scene's arrays (``truth.npy``, ...), the ``function`` to call with them, and ``result``: where
to save what it gives; null asks for the time. The answer tells the seconds of processor time of one call.
"""

import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
Functions = dict[str, Callable[[Arrays], Any]]
LEAST_SECONDS = 0.01
THRESHOLDS = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]


def stardist() -> Functions:
    """Numba and C++ of StarDist; `label_overlap` without its check, as `matching` calls it."""
    matching, rays = import_module("stardist.matching"), import_module("stardist.rays3d")
    geometry, measures = import_module("stardist.geometry"), import_module("stardist.utils")

    def ap(s: Arrays) -> list[float]:
        return [each.accuracy for each in matching.matching(s["truth"], s["predicted"], THRESHOLDS)]

    def star_dist(s: Arrays) -> np.ndarray:
        if s["truth"].ndim == 2:
            return geometry.star_dist(s["truth"], len(s["directions"]))
        # The walk along the rays needs no faces between them.
        return geometry.star_dist3D(s["truth"], rays.Rays_Explicit(s["directions"], []))

    return {
        "label_overlap": lambda s: matching.label_overlap(*numbered(s), check=False),
        "matching": ap,
        "panoptic_quality": lambda s: matching.matching(s["truth"], s["predicted"], 0.5).panoptic_quality,
        "relabel_sequential": lambda s: matching.relabel_sequential(s["sparse"])[0],
        "star_dist": star_dist,
        "edt_prob": lambda s: measures.edt_prob(s["truth"]),
    }


def cellpose() -> Functions:
    """Numba of Cellpose, and `fastremap`, which it numbers objects with."""
    metrics, measures = import_module("cellpose.metrics"), import_module("cellpose.utils")
    fastremap = import_module("fastremap")
    return {
        "_label_overlap": lambda s: metrics._label_overlap(*numbered(s)),
        "average_precision": lambda s: metrics.average_precision(*numbered(s), THRESHOLDS)[0],
        "diameters": lambda s: measures.diameters(s["truth"])[1],
        "fastremap.renumber": lambda s: fastremap.renumber(s["sparse"])[0],
    }


def monai() -> Functions:
    """Torch, NumPy and SciPy of MONAI."""
    torch, metrics = import_module("torch"), import_module("monai.metrics")
    quality = import_module("monai.metrics.panoptic_quality")
    offsets = import_module("monai.transforms").ComputeHoVerMaps()

    def nsd(s: Arrays) -> Any:
        pair = [torch.from_numpy(s[name])[None, None] for name in ("found", "mask")]
        return metrics.compute_surface_dice(*pair, class_thresholds=[2.0], include_background=True)

    def pq(s: Arrays) -> Any:
        return quality.compute_panoptic_quality(*(torch.from_numpy(s[n]) for n in ("predicted", "truth")))

    return {
        "compute_surface_dice": nsd,
        "compute_panoptic_quality": pq,
        "ComputeHoVerMaps": lambda s: offsets(s["truth"][None]),
    }


def numbered(arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Truth and prediction without gaps between their ids, which dense tables need."""
    return arrays["truth_numbered"], arrays["predicted_numbered"]


PACKAGES = {"stardist": stardist, "cellpose": cellpose, "monai": monai}


def main() -> None:
    """Start, say so, then answer every line."""
    package = sys.argv[1]
    functions = PACKAGES[package]()
    say({"version": version(package)})
    shown, arrays = "", {}
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["folder"] != shown:
            shown = asked["folder"]
            arrays = {path.stem: np.load(path) for path in Path(shown).glob("*.npy")}
        work = functions[asked["function"]]
        if asked["result"]:
            np.save(asked["result"], np.asarray(work(arrays)))
            say({})
        else:
            say({"seconds": seconds(work, arrays)})


def seconds(work: Callable[[Arrays], Any], arrays: Arrays) -> float:
    """Processor time of one call; short ones are repeated, as `kernels.py` does."""
    start, calls = time.process_time(), 0
    while (taken := time.process_time() - start) < LEAST_SECONDS:
        work(arrays)
        calls += 1
    return taken / calls


def say(what: dict[str, Any]) -> None:
    """One line for `kernel_peers.py`, told apart from what libraries print."""
    print("@" + json.dumps(what), flush=True)


if __name__ == "__main__":
    main()
