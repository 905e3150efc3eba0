"""One program of `peers.py`, in its own environment: runs once for every line on standard input.

``python peer_worker.py KIND FOLDER``: FOLDER holds ``images.npy`` ``(n, y, x)`` uint8 and ``labels.npy``, the
objects in them. After each run a line of JSON tells the seconds and the images done. Weights of the peers are
untrained (none can be downloaded here): their networks take as long with any weights.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

Work = Callable[[], int]
"""Does some images, and says how many."""

PACKAGES = {"stardist": ("stardist", "tensorflow-cpu"), "cellpose": ("cellpose", "torch")}
PACKAGES["instanseg"] = ("instanseg-torch", "torch")
THREADS = int(os.environ["OMP_NUM_THREADS"])


def stardist(folder: Path) -> Work:
    """Network of ``2D_versatile_fluo``, then its own decoding of maps made from the true objects."""
    import tensorflow as tf
    from csbdeep.utils import normalize
    from stardist.geometry import star_dist
    from stardist.models import Config2D, StarDist2D
    from stardist.utils import edt_prob

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = StarDist2D(Config2D(grid=(2, 2), n_channel_in=1, n_rays=32), basedir=None)
    model.thresholds = {"prob": 0.479071, "nms": 0.3}
    image = normalize(np.load(folder / "images.npy")[0].astype(np.float32), 1, 99.8)
    labels = np.load(folder / "labels.npy")[0]
    probability = np.ascontiguousarray(edt_prob(labels)[::2, ::2])
    rays = star_dist(labels, 32, grid=(2, 2))

    def work() -> int:
        # No candidate passes with these weights; NMS and drawing get what a good network would say.
        model.predict_sparse(image, prob_thresh=1.1)
        found, _ = model._instances_from_prediction(image.shape, probability, rays)
        if found.max() < 0.9 * labels.max():
            message = f"StarDist drew {found.max()} of {labels.max()} objects"
            raise RuntimeError(message)
        return 1

    return work


def cellpose(folder: Path) -> Work:
    """Forward pass of the CNN (``cyto3`` has this one) over the whole image at once, two channels."""
    import torch
    from cellpose.resnet_torch import CPnet

    return forward(CPnet([2, 32, 64, 128, 256], 3, 3), torch.rand(1, 2, *shape_in(folder)))


def instanseg(folder: Path) -> Work:
    """Forward pass of the network (that of ``fluorescence_nuclei_and_cells``), three channels."""
    import torch
    from instanseg.utils.models.InstanSeg_UNet import InstanSeg_UNet

    network = InstanSeg_UNet(3, [2, 2, 1, 2, 2, 1], [256, 128, 64, 32])
    return forward(network, torch.rand(1, 3, *shape_in(folder)))


def shape_in(folder: Path) -> tuple[int, ...]:
    """Spatial shape of the images."""
    return np.load(folder / "images.npy", mmap_mode="r").shape[1:]


def forward(network: Any, image: Any) -> Work:
    """A plain forward pass of a torch network in float32, as these packages do it on a CPU."""
    import torch

    torch.set_num_threads(THREADS)
    network.eval()

    def work() -> int:
        with torch.inference_mode():
            network(image)
        return 1

    return work


def ours(folder: Path, *, mirror: str | None) -> Work:
    """Files in, label files, tables and overlays out, the model's start included."""
    import tempfile

    import tifffile

    from morula.prediction.predict import predict

    for number, image in enumerate(np.load(folder / "images.npy")):
        tifffile.imwrite(folder / f"{number}.tif", image)
    files = sorted(folder.glob("*.tif"))

    def work() -> int:
        with tempfile.TemporaryDirectory() as out:
            predict(files, Path(out), model=os.environ["MODEL"], mirror=mirror)
        return len(files)

    return work


def main() -> None:
    """Start, say so, then run on every line."""
    kind, folder = sys.argv[1], Path(sys.argv[2])
    if kind.startswith("morula"):
        work, packages = (
            ours(folder, mirror=None if kind == "morula" else "none"),
            ("morula", "openvino", "torch"),
        )
    else:
        work, packages = globals()[kind](folder), PACKAGES[kind]
    work()
    say({"versions": {name: version(name) for name in packages}})
    for _ in sys.stdin:
        start = time.perf_counter()
        images = work()
        say({"seconds": time.perf_counter() - start, "images": images})


def say(what: dict[str, Any]) -> None:
    """One line for `peers.py`, told apart from what libraries print."""
    print("@" + json.dumps(what), flush=True)


if __name__ == "__main__":
    main()
