"""What others do, written out by their published definitions, for `kernels.py` to compare with."""

import numpy as np
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from skimage.measure import label as sk_label
from skimage.segmentation import relabel_sequential

from morula.labels.matching import DSB_THRESHOLDS


def overlap_by_unique(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Pixels per pair of ids, by sorting."""
    keys = truth.astype(np.int64).ravel() << 32 | predicted.ravel()
    return np.unique(keys, return_counts=True)[1]


def ap_by_dense_table(truth: np.ndarray, predicted: np.ndarray) -> list[float]:
    """AP as StarDist defines it: a table of objects x objects, one assignment for each of ten thresholds."""
    truth, predicted = relabel_sequential(truth)[0], relabel_sequential(predicted)[0]
    width = int(predicted.max()) + 1
    keys = truth.astype(np.int64).ravel() * width + predicted.ravel()
    overlap = np.bincount(keys, minlength=(int(truth.max()) + 1) * width).reshape(-1, width)
    union = overlap.sum(0, keepdims=True) + overlap.sum(1, keepdims=True) - overlap
    scores = np.divide(overlap, union, where=union > 0, out=np.zeros(union.shape))[1:, 1:]
    n_true, n_predicted = scores.shape
    accuracies = []
    for threshold in DSB_THRESHOLDS:
        costs = -(scores >= threshold).astype(float) - scores / (2 * min(scores.shape))
        tp = int((scores[linear_sum_assignment(costs)] >= threshold).sum())
        accuracies.append(tp / (n_true + n_predicted - tp))
    return accuracies


def pq_by_dictionaries(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Panoptic quality as panopticapi counts it: sizes and intersections in dictionaries."""
    sizes = [
        dict(zip(*(a.tolist() for a in np.unique(x, return_counts=True)), strict=True))
        for x in (truth, predicted)
    ]
    keys, counts = np.unique(truth.astype(np.int64) * 2**32 + predicted, return_counts=True)
    shared = dict(zip(keys.tolist(), counts.tolist(), strict=True))
    tp, total = 0, 0.0
    for key, pixels in shared.items():
        true, found = divmod(key, 2**32)
        if true == 0 or found == 0:
            continue
        # Neither background nor what lies on it is part of a pair's union.
        iou = pixels / (sizes[0][true] + sizes[1][found] - pixels)
        if iou > 0.5:
            tp, total = tp + 1, total + iou
    return total / (0.5 * sum(len(s) - (0 in s) for s in sizes))


def nsd_by_transform(truth: np.ndarray, predicted: np.ndarray, tolerance: float) -> float:
    """Normalised surface distance over border pixels as MONAI has it: one distance transform per surface."""
    borders = [m & ~ndimage.binary_erosion(m) for m in (truth, predicted)]
    distances = [ndimage.distance_transform_edt(~border) for border in borders]
    near = (distances[1][borders[0]] <= tolerance).sum() + (distances[0][borders[1]] <= tolerance).sum()
    return float(near / (borders[0].sum() + borders[1].sum()))


def two_nearest_by_cell(labels: np.ndarray) -> np.ndarray:
    """One distance transform per cell: the nearest and the second-nearest."""
    first = np.full(labels.shape, np.inf)
    second = first.copy()
    for i in np.unique(labels[labels > 0]):
        distance = ndimage.distance_transform_edt(labels != i)
        second = np.minimum(second, np.maximum(first, distance))
        first = np.minimum(first, distance)
    return np.stack([first, second])


def signed_by_cell(labels: np.ndarray) -> np.ndarray:
    """Inside and outside distances per crop, normalised as `signed_distance` does."""
    outside = ndimage.distance_transform_edt(labels == 0) - 0.5
    signed = -np.minimum(outside / 8.0, 1)
    for i, window in enumerate(ndimage.find_objects(labels), 1):
        if window is None:
            continue
        wide = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in window)
        inside = labels[wide] == i
        depth = ndimage.distance_transform_edt(inside) - 0.5
        signed[wide][inside] = depth[inside] / max(depth.max(), 0.5)
    return signed


def offsets_by_cell(labels: np.ndarray) -> np.ndarray:
    """HoVer maps, crop by crop, as the published code has it: from the pixel nearest to the centroid."""
    offsets = np.zeros((labels.ndim, *labels.shape), np.float32)
    for i, window in enumerate(ndimage.find_objects(labels), 1):
        if window is None:
            continue
        inside = labels[window] == i
        centre = ndimage.center_of_mass(inside)
        for axis, grid in enumerate(np.indices(inside.shape)):
            shifted = (grid - int(centre[axis] + 0.5)).astype(np.float32)
            shifted[~inside] = 0
            for side in (-1, 1):
                half = shifted * side > 0
                if half.any():
                    shifted[half] /= np.abs(shifted[half]).max()
            offsets[axis][window][inside] = shifted[inside]
    return offsets


def grow_by_transform(core: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Components, and every pixel of the mask to the nearest of them."""
    labels = sk_label(core, connectivity=1)
    nearest = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    return np.where(mask, labels[tuple(nearest)], 0)
