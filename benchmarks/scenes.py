"""Synthetic label images for benchmarks: touching, irregular cells and a flawed prediction of them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage
from skimage.segmentation import relabel_sequential

from morula.targets.distances import inner_distance


@dataclass(frozen=True)
class Scene:
    """One synthetic image: touching, irregular cells, a flawed prediction of them, and maps."""

    truth: np.ndarray
    predicted: np.ndarray
    relief: np.ndarray
    markers: np.ndarray
    objects: int

    @cached_property
    def mask(self) -> np.ndarray:
        """Foreground."""
        return self.truth > 0

    @cached_property
    def found(self) -> np.ndarray:
        """Predicted foreground."""
        return self.predicted > 0

    @cached_property
    def core(self) -> np.ndarray:
        """Foreground without its outermost pixels."""
        return inner_distance(self.truth, self.spacing) > 2

    @cached_property
    def sparse(self) -> np.ndarray:
        """The truth with gaps between its ids."""
        return self.truth * 3

    @cached_property
    def numbered(self) -> tuple[np.ndarray, np.ndarray]:
        """Truth and prediction with ids 1 to n in the same order, for functions that take no gaps."""
        return relabel_sequential(self.truth)[0], relabel_sequential(self.predicted)[0]

    @property
    def spacing(self) -> tuple[float, ...]:
        """Pixels of size 1."""
        return (1.0,) * self.truth.ndim

    @property
    def pixels(self) -> np.ndarray:
        """The relief as an image ``(1, *spatial)``, as `measure` takes it."""
        return self.relief[None]

    @property
    def channels(self) -> tuple[str, ...]:
        """One channel."""
        return ("grey",)


def make_scene(size: int, objects: int, ndim: int = 2, seed: int = 0) -> Scene:
    """About `objects` cells on a jittered grid; the prediction is shifted, has cells merged and missing."""
    rng = np.random.default_rng(seed)
    shape, side = (size,) * ndim, int(np.ceil(objects ** (1 / ndim)))
    step = size / side
    grid = np.stack(np.meshgrid(*[np.arange(side)] * ndim, indexing="ij"), -1).reshape(-1, ndim)
    centres = ((grid + 0.5) * step + rng.uniform(-0.25, 0.25, grid.shape) * step)[:objects].clip(0, size - 1)
    seeds = np.zeros(shape, np.int32)
    seeds[tuple(centres.astype(int).T)] = np.arange(1, len(centres) + 1)
    distance, nearest = ndimage.distance_transform_edt(seeds == 0, return_indices=True)
    wobble = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), step / 6)
    reach = step * (0.45 + 0.06 * wobble / wobble.std())
    truth = np.where(distance < reach, seeds[tuple(nearest)], 0).astype(np.int32)
    del distance, nearest, wobble, reach
    missing = rng.random(len(centres) + 1) < 0.05
    predicted = np.where(missing[truth], 0, np.where(truth % 13 == 0, truth + 1, truth))
    predicted = np.roll(predicted, (1, 2), (0, 1)).astype(np.int32)
    depth = inner_distance(truth, (1.0,) * ndim) + 0.2 * rng.standard_normal(shape, np.float32)
    relief = -ndimage.gaussian_filter(depth, 1)
    relief = (np.round((relief - relief.min()) / np.ptp(relief) * 4095) / 4095).astype(np.float32)
    markers = ndimage.maximum_filter(np.where(truth > 0, seeds, 0), 5).astype(np.int32)
    return Scene(truth, predicted, relief, markers, int(np.unique(truth).size - 1))
