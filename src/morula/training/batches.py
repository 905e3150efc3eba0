"""Batches: which patch comes at which step, cut, changed, encoded and stacked.

Every patch is drawn from ``(seed, step, index)`` alone, so a run that is killed and continued sees the
same patches as one that is not.
"""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from morula.planning.machine import usable_cores
from morula.planning.plan import Augmentation, Plan
from morula.preprocessing.prepare import Prepared
from morula.training.augment import change_intensity, cut, draw_view
from morula.training.paste import make_conglomerates, paste_objects
from morula.training.repaint import repaint
from morula.types import Labels, Map, Maps, Tensors

_VOXELS_PER_CLASS = 512
"""Voxels of each class of an image around which patches may be cut."""

_TRIES = 50
"""Further images that are drawn until one shows a class."""


@dataclass(frozen=True)
class Batch:
    """What one step trains on."""

    image: Tensor
    """Float32 ``(batch, C, *patch)``."""

    targets: Tensors
    """As the representation encodes them, float32 ``(batch, channel, *patch / stride)`` per name."""

    annotated: Tensor
    """Float32 ``(batch, 1, *patch)``: 0 where the labels say nothing."""


class Patches:
    """Random training patches of prepared images, balanced over modalities and object presence."""

    def __init__(self, plan: Plan, samples: Sequence[Prepared]) -> None:
        self.plan = plan
        modalities = sorted({sample.modality for sample in samples})
        self._by_modality = [[s for s in samples if s.modality == name] for name in modalities]
        # The square root lies between "as in the data" and "all modalities alike": rare ones are seen
        # often enough, and the few images of a tiny one are not learnt by heart.
        weights = np.sqrt([len(group) for group in self._by_modality])
        self._weights = weights / weights.sum()
        self._arrays: dict[str, tuple[tuple[np.ndarray, ...], Labels, np.ndarray]] = {}
        self._map_names = tuple(samples[0].maps) if samples else ()
        coarse = max(head.stride for head in plan.representation.heads(plan.ndim))
        # System E: at least this many patches of a batch hold a class for sure.
        self._n_sure = math.ceil(plan.training.object_share * plan.training.batch_size - 1e-9)
        self._halo = tuple(-(-halo // coarse) * coarse for halo in plan.halo_px)

    def draw(self, step: int, index: int) -> tuple[Map, Maps, Labels]:
        """Image ``(C, *patch)``, targets and labels of patch `index` of step `step`."""
        augmentation = self._augmentation(step)
        rng = np.random.default_rng((self.plan.training.seed, step, index))
        pixels, labels = self._view(rng, augmentation, index)
        if rng.random() < augmentation.copy_paste:
            pixels, labels = paste_objects(pixels, labels, self._view(rng, augmentation, index), rng)
        if rng.random() < augmentation.conglomerates:
            pixels, labels = make_conglomerates(pixels, labels, self._view(rng, augmentation, index), rng)
        n_channels = len(self.plan.channels)
        image = pixels[:n_channels]
        # No draw where it is off: what comes after it stays the same for a seed.
        if augmentation.repaint and rng.random() < augmentation.repaint:
            image = repaint(image, labels, rng)
        image = change_intensity(image, labels, augmentation, rng)
        targets = self.plan.representation.encode(labels, self.plan.working_spacing)
        targets |= zip(self._map_names, pixels[n_channels:, None], strict=True)
        maps = {key: self._trim(value) for key, value in targets.items()}
        return self._trim(image), maps, self._trim(labels[None])[0]

    def _augmentation(self, step: int) -> Augmentation:
        training = self.plan.training
        calm = step >= training.steps * (1 - training.calm_share)
        return training.augmentation.calmed(training.calm_factor) if calm else training.augmentation

    def _view(self, rng: np.random.Generator, augmentation: Augmentation, index: int) -> tuple[Map, Labels]:
        """A changed piece of an image, the maps of the whole image as further channels, and its labels."""
        sure = self.plan.task == "semantic" and index < self._n_sure
        sample = self._any_sample(rng)
        for _ in range(_TRIES if sure else 0):
            if len(self._load(sample)[2]):
                break
            sample = self._any_sample(rng)
        sources, labels, objects = self._load(sample)
        semantic = self.plan.task == "semantic"
        centre = self._voxel(labels, objects, rng, sure) if semantic else self._centre(labels, objects, rng)
        view = draw_view(centre, augmentation, rng, sample.diameter_px)
        shape = tuple(p + 2 * h for p, h in zip(self.plan.training.patch_size, self._halo, strict=True))
        return cut(sources, labels, view, shape)

    def _any_sample(self, rng: np.random.Generator) -> Prepared:
        group = self._by_modality[rng.choice(len(self._weights), p=self._weights)]
        return group[rng.integers(len(group))]

    def _load(self, sample: Prepared) -> tuple[tuple[np.ndarray, ...], Labels, np.ndarray]:
        """Image and maps, and labels, mapped from disk, and the centres of objects (voxels of classes)."""
        if sample.labels is None:
            msg = f"{sample.id} has no labels; only labelled samples can be trained on"
            raise ValueError(msg)
        if sample.id not in self._arrays:
            labels = np.load(sample.labels, mmap_mode="r")
            files = (sample.image, *sample.maps.values())
            sources = tuple(np.load(path, mmap_mode="r") for path in files)
            places = _class_voxels if self.plan.task == "semantic" else _centroids
            self._arrays[sample.id] = (sources, labels, places(labels))
        return self._arrays[sample.id]

    def _voxel(
        self, labels: Labels, objects: np.ndarray, rng: np.random.Generator, sure: bool
    ) -> tuple[float, ...]:
        """A voxel of a random class, when the patch must show one; else any place."""
        if sure and len(objects):
            return tuple(float(c) for c in objects[rng.integers(len(objects))])
        return tuple(float(c) for c in rng.uniform(0, np.array(labels.shape) - 1))

    def _centre(self, labels: Labels, objects: np.ndarray, rng: np.random.Generator) -> tuple[float, ...]:
        if len(objects) and rng.random() < self.plan.training.object_share:
            # Anywhere in the patch, not always in its middle.
            reach = np.array(self.plan.training.patch_size) / 4
            centre = objects[rng.integers(len(objects))] + rng.uniform(-reach, reach)
        else:
            centre = rng.uniform(0, np.array(labels.shape) - 1)
        return tuple(float(c) for c in np.clip(centre, 0, np.array(labels.shape) - 1))

    def _trim(self, array: np.ndarray) -> np.ndarray:
        """Take the halo off ``(C, *grid)``; the grid's stride follows from its size."""
        slices = [slice(None)]
        for size, patch, halo in zip(array.shape[1:], self.plan.training.patch_size, self._halo, strict=True):
            margin = halo // round((patch + 2 * halo) / size)
            slices.append(slice(margin, size - margin))
        return array[tuple(slices)]

    def batch(self, step: int) -> Batch:
        """All patches of one step."""
        drawn = [self.draw(step, index) for index in range(self.plan.training.batch_size)]
        images, targets, labels = zip(*drawn, strict=True)
        return Batch(
            image=torch.from_numpy(np.stack(images)),
            targets={key: torch.from_numpy(np.stack([t[key] for t in targets])) for key in targets[0]},
            annotated=torch.from_numpy((np.stack(labels) != -1).astype(np.float32))[:, None],
        )


def _centroids(labels: Labels) -> np.ndarray:
    """Centre of mass of every object, float64 ``(n, ndim)``, in pixels."""
    positions = np.nonzero(labels > 0)
    ids = labels[positions]
    counts = np.bincount(ids)
    present = counts > 0
    sums = [np.bincount(ids, weights=axis)[present] for axis in positions]
    return np.stack(sums, axis=1) / counts[present, None]


def _class_voxels(labels: Labels) -> np.ndarray:
    """As many voxels of every class, evenly over it, float64 ``(n, ndim)``, in pixels."""
    flat = labels.ravel()
    inside = np.flatnonzero(flat > 0)
    inside = inside[np.argsort(flat[inside], kind="stable")]
    _, starts, counts = np.unique(flat[inside], return_index=True, return_counts=True)
    steps = (np.arange(_VOXELS_PER_CLASS) + 0.5) / _VOXELS_PER_CLASS
    rows = (starts[:, None] + (counts[:, None] * steps).astype(np.int64)).ravel()
    return np.stack(np.unravel_index(inside[rows], labels.shape), 1).astype(np.float64)


def loader_threads(device: str) -> int:
    """How many threads make batches: one beside a network on the CPU, all other cores beside a GPU."""
    return 1 if torch.device(device).type == "cpu" else max(1, usable_cores() - 1)


def stream(patches: Patches, start: int, stop: int, ahead: int = 4, *, loaders: int = 1) -> Iterator[Batch]:
    """The batches of steps `start` to `stop` in order, made by other threads while the network trains.

    Args:
        patches: What they are made of.
        start: First step.
        stop: Step after the last.
        ahead: Batches that may wait, beside those that further loaders are at.
        loaders: Threads that make them: the same batches however many there are.
    """
    ahead += loaders - 1
    with ThreadPoolExecutor(loaders) as pool:
        waiting: list[Future[Batch]] = []
        try:
            for step in range(start, stop):
                last = min(step + ahead, stop)
                waiting += [pool.submit(patches.batch, s) for s in range(step + len(waiting), last)]
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()
