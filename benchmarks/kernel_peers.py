"""What `kernels.py` compares with other packages' own functions, each package in an environment of its own.

`kernel_worker.py` runs there, with one thread; a scene goes to it as files. Labels without gaps are made
beforehand for functions that take no others: that time is not counted against them.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np

from kernel_cases import (
    RAYS,
    Case,
    ap,
    by_renumbering,
    by_sizes,
    close,
    equal,
    few,
    nsd,
    offsets,
    overlap,
    panoptic_quality,
    renumbered,
    small,
    stars,
)
from morula.labels.measure import diameters
from morula.targets.distances import inner_distance, largest_per_label, sequential
from morula.targets.stars import star_directions
from peers import answer
from scenes import Scene

PACKAGES = ("stardist", "cellpose", "monai")


class Peers:
    """The workers of the environments that are there, and the scene that lies on disk for them."""

    def __init__(self, environments: Path | None) -> None:
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self.temporary.name)
        self.scene: Scene | None = None
        self.written = 0
        self.workers: dict[str, subprocess.Popen[str]] = {}
        for package in PACKAGES if environments else ():
            python = Path(environments or "", package, "bin", "python")
            if python.exists():
                self.workers[package] = start(python, package)
            else:
                print(f"{package} is left out: there is no {python}", file=sys.stderr)
        self.versions = {package: answer(worker)["version"] for package, worker in self.workers.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers.values():
            worker.kill()
        self.temporary.cleanup()

    def cases(self) -> list[Case]:
        """Comparisons with the packages that are there."""
        return [
            replace(case, rival=f"{package} {function}", other=Remote(self, package, function))
            for package, function, case in CASES
            if package in self.workers
        ]

    def ask(self, package: str, function: str, scene: Scene, result: Path | None = None) -> dict[str, float]:
        """What came out goes into the file `result`; without one, ``seconds`` of one call are answered."""
        if scene is not self.scene:
            shutil.rmtree(self._shown, ignore_errors=True)
            self.scene, self.written = scene, self.written + 1
            self._shown.mkdir()
            write(scene, self._shown)
        worker = self.workers[package]
        request = {"folder": str(self._shown), "function": function, "result": result and str(result)}
        print(json.dumps(request), file=worker.stdin, flush=True)
        return answer(worker)

    @property
    def _shown(self) -> Path:
        return self.folder / str(self.written)


@dataclass(frozen=True)
class Remote:
    """A function of another package, called in its own environment."""

    peers: Peers
    package: str
    function: str

    def __call__(self, scene: Scene) -> np.ndarray:
        """What the function gives."""
        result = self.peers.folder / "result.npy"
        # An earlier result may still be read.
        result.unlink(missing_ok=True)
        self.peers.ask(self.package, self.function, scene, result)
        # Not read as a whole: distances along rays are larger than everything else together.
        return np.load(result, mmap_mode="r")

    def seconds(self, scene: Scene) -> float:
        """Processor time of one call, nothing saved."""
        return self.peers.ask(self.package, self.function, scene)["seconds"]


def start(python: Path, package: str) -> subprocess.Popen[str]:
    """A worker with one thread, as our kernels have."""
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "NUMBA")}
    environment = {**os.environ, **threads, "CUDA_VISIBLE_DEVICES": ""}
    script = Path(__file__).with_name("kernel_worker.py")
    return subprocess.Popen(
        [str(python), str(script), package],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


def write(scene: Scene, folder: Path) -> None:
    """The arrays that functions are called with."""
    truth, predicted = scene.numbered
    arrays = {
        "truth": scene.truth,
        "predicted": scene.predicted,
        "truth_numbered": truth,
        "predicted_numbered": predicted,
        "mask": scene.mask,
        "found": scene.found,
        "sparse": scene.sparse,
        "directions": star_directions(scene.truth.ndim, RAYS),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def within_step(scene: Scene, ours: np.ndarray, theirs: np.ndarray) -> float:
    """Share of distances in objects that differ by no more than a pixel's diagonal, our longest step.

    StarDist walks along a ray in steps of 1 px, we from one row, column or plane to the next: between two
    looks the edge may lie anywhere. In 3D it measures to the centre of the first voxel outside (squares of
    its distances are whole numbers), in 2D to half a step before, as we do in both.
    """
    ndim = scene.truth.ndim
    half = 0.5 / np.abs(star_directions(ndim, RAYS)).max(1) * (ndim == 3)
    near = 0
    # Row by row (plane by plane): all rays of a large image at once would fill the memory.
    for row, inside in enumerate(scene.mask):
        gaps = ours[:, row][:, inside].T + half - theirs[row][inside]
        near += int((np.abs(gaps) <= np.sqrt(ndim) + 1e-4).sum())
    return near / (RAYS * int(scene.mask.sum()))


def first_two_axes(_: Scene, ours: np.ndarray, theirs: np.ndarray) -> float:
    """Share of equal offsets; MONAI has the columns' first, and none for the third axis of a volume."""
    return close(_, ours[1::-1], theirs)


def by_area(scene: Scene, ours: np.ndarray, theirs: np.ndarray) -> float:
    """Share of equal sizes: Cellpose's diameter is the square root of the pixels, ours that of a ball."""
    ndim = scene.truth.ndim
    unit_ball = {2: np.pi, 3: 4 / 3 * np.pi}[ndim]
    return close(scene, unit_ball * (ours / 2) ** ndim, theirs**2, 0.01)


def relative_depth(scene: Scene) -> np.ndarray:
    """Distance to the edge, 1 at each object's deepest pixel: the probability that StarDist learns."""
    ids = sequential(scene.truth)
    depth = inner_distance(ids, scene.spacing)
    deepest = np.maximum(largest_per_label(ids, depth), np.finfo(np.float32).tiny)
    return depth / deepest[ids]


def quick_walks(scene: Scene) -> bool:
    """Rays short enough: StarDist looks at every pixel on the way from every other."""
    length = (scene.truth.size / scene.objects) ** (1 / scene.truth.ndim)
    return scene.truth.size * length <= 4e8


def one_pass_per_object(scene: Scene) -> bool:
    """Few enough for two looks over the image per object."""
    return scene.objects * scene.truth.size <= 3e9


CASES = (
    ("stardist", "label_overlap", Case("overlap table", overlap, agreement=by_sizes, asked=6, most=few)),
    ("cellpose", "_label_overlap", Case("overlap table", overlap, agreement=by_sizes, asked=5, most=few)),
    ("stardist", "matching", Case("AP at 10 thresholds", ap, agreement=close, asked=8, most=few)),
    ("cellpose", "average_precision", Case("AP at 10 thresholds", ap, agreement=close, asked=5, most=few)),
    # StarDist counts pairs of an IoU of just 0.5, MONAI and we do not.
    ("stardist", "panoptic_quality",
     Case("panoptic quality", partial(panoptic_quality, strict=False), agreement=close, most=few)),
    # MONAI keeps a mask of the whole image for every object: 5 GB at the limit.
    ("monai", "compute_panoptic_quality",
     Case("panoptic quality", panoptic_quality, agreement=close, most=small)),
    ("monai", "compute_surface_dice", Case("NSD, 2 px", nsd, agreement=close)),
    ("stardist", "edt_prob", Case("relative depth", relative_depth, agreement=close)),
    ("monai", "ComputeHoVerMaps",
     Case("HoVer maps", offsets, agreement=first_two_axes, asked=5, most=one_pass_per_object)),
    ("stardist", "star_dist",
     Case("star distances, 32 rays", stars, agreement=within_step, most=quick_walks)),
    ("stardist", "relabel_sequential", Case("renumber", renumbered, agreement=by_renumbering)),
    ("cellpose", "fastremap.renumber", Case("renumber", renumbered, agreement=equal)),
    ("cellpose", "diameters", Case("diameters", lambda s: diameters(s.truth), agreement=by_area)),
)  # fmt: skip
