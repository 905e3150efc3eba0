"""Classes on the image's own grid, against the plain way with all probabilities at once."""

import tracemalloc

import numpy as np
import pytest
from scipy import ndimage

from morula.prediction.classes import best_class, decode_classes
from morula.preprocessing.geometry import along_axis, interpolation_matrix
from morula.representations.class_distance import ClassDistance


def probabilities(n: int, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(0)
    fields = np.stack([ndimage.gaussian_filter(rng.normal(size=shape), 2) for _ in range(n)])
    weights = np.exp(30 * fields)
    return (weights / weights.sum(0)).astype(np.float32)


def bands(maps: np.ndarray, rows: int):
    for start in range(0, maps.shape[1], rows):
        yield start, {"classes": maps[:, start : start + rows]}


def plainly(maps: np.ndarray, shape: tuple[int, ...], across: int | None) -> np.ndarray:
    for axis, size in enumerate(shape):
        order = 0 if axis == across else 1
        maps = along_axis(interpolation_matrix(maps.shape[axis + 1], size, order), maps, axis + 1)
    return maps.argmax(0)


@pytest.mark.parametrize(
    ("working", "shape", "across"),
    [
        ((12, 20, 18), (12, 20, 18), None),
        ((12, 20, 18), (30, 33, 29), None),
        ((12, 20, 18), (7, 33, 29), 0),
        ((12, 20, 18), (36, 11, 18), 2),
        ((24, 20), (50, 31), None),
    ],
)
@pytest.mark.parametrize("slab", [1, 1000, 1 << 22])
def test_slabs_give_what_all_classes_at_once_give(
    working: tuple[int, ...],
    shape: tuple[int, ...],
    across: int | None,
    slab: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("morula.prediction.classes.SLAB", slab)
    maps = probabilities(4, working)
    representation = ClassDistance(ids=(3, 7, 1))
    found = decode_classes(bands(maps, 5), working, shape, representation, across)
    expected = np.array([0, 3, 7, 1])[plainly(maps, shape, across)]
    # Where two classes are equally probable to the last digit, rounding decides.
    assert (found.labels == expected).mean() > 0.999
    assert set(found.confidence) == set(np.unique(expected).tolist()) - {0}
    assert all(0.25 < value <= 1 for value in found.confidence.values())


def test_memory_does_not_grow_with_the_number_of_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("morula.prediction.classes.SLAB", 1 << 15)
    shape = (64, 64, 64)
    voxels = int(np.prod(shape))
    peaks = []
    for n in (4, 16):
        maps = probabilities(n, (16, 16, 16))
        representation = ClassDistance(ids=tuple(range(1, n)))
        decode_classes(bands(maps, 4), maps.shape[1:], shape, representation, None)
        tracemalloc.start()
        decode_classes(bands(maps, 4), maps.shape[1:], shape, representation, None)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Labels are 4 bytes a voxel; a stack of 16 classes would be 64.
    assert max(peaks) < 12 * voxels
    assert peaks[1] < peaks[0] + 1.5 * voxels


def test_only_the_largest_piece_of_listed_classes_stays() -> None:
    maps = np.zeros((2, 1, 6), np.float32)
    maps[1, 0] = [0.9, 0.9, 0, 0.8, 0, 0]
    maps[0] = 0.5
    found = decode_classes(bands(maps, 1), (1, 6), (1, 6), ClassDistance(ids=(4,), keep_largest=(4,)), None)
    assert found.labels.tolist() == [[4, 4, 0, 0, 0, 0]]
    kept = decode_classes(bands(maps, 1), (1, 6), (1, 6), ClassDistance(ids=(4,)), None)
    assert kept.labels.tolist() == [[4, 4, 0, 4, 0, 0]]


def test_maps_are_not_overwritten() -> None:
    maps = probabilities(3, (4, 5))
    before = maps.copy()
    maps.setflags(write=False)
    channels, best = best_class(maps, [None, None])
    np.testing.assert_array_equal(channels, before.argmax(0))
    np.testing.assert_array_equal(best, before.max(0))
