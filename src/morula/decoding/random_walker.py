"""Random walker between the markers of a cluster."""

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from morula.labels.components import connected_components
from morula.labels.extents import extents
from morula.labels.volume import check_same_shape
from morula.types import Labels, Mask, Scalar

# Above this many pixels a direct solver needs too much time and memory; the iterative one takes over.
_LARGEST_DIRECT = {1: 200_000, 2: 200_000, 3: 5_000}

# Keeps pixels of a cluster joined, however different they are (scikit-image's value).
_LEAST_WEIGHT = 1e-10


def random_walker(probability: Scalar, markers: Labels, mask: Mask, beta: float = 130.0) -> Labels:
    """Every pixel of `mask` goes to the marker that a random walker from it reaches first.

    Grady 2006, "Random walks for image segmentation", https://doi.org/10.1109/TPAMI.2006.233: steps are
    likely between pixels of like probability, ``exp(-beta * difference^2)``. Each cluster (connected piece
    of `mask`, across faces) is solved on its own, and only where it has two markers or more.

    Args:
        probability: Of foreground ``(*spatial)``.
        markers: Seed ids ``(*spatial)``; 0 is free, -1 counts as 0; seeds outside `mask` are dropped.
        mask: Pixels to label ``(*spatial)``.
        beta: How strongly a difference of probability hinders the walker; divided, as in scikit-image, by
            ten standard deviations of the probability in the cluster's bounding box.

    Returns:
        Marker id of every pixel of `mask`, 0 in clusters without a marker ``(*spatial)``.

    Raises:
        ValueError: The shapes differ.
    """
    check_same_shape(probability=probability, markers=markers, mask=mask)
    seeds = np.where(mask, np.maximum(markers, 0), 0).astype(np.int32)
    clusters = connected_components(mask)
    rows = extents(clusters)
    pairs = np.unique(np.stack([clusters[seeds > 0], seeds[seeds > 0]]), axis=1)
    marker_count = np.bincount(pairs[0], minlength=len(rows.ids) + 1)
    only = np.zeros(len(rows.ids) + 1, np.int32)
    only[pairs[0]] = pairs[1]
    only[marker_count != 1] = 0
    labels = only[clusters]
    for cluster in np.flatnonzero(marker_count > 1):
        window = rows.window(int(cluster) - 1)
        inside = clusters[window] == cluster
        solved = _solve(probability[window], seeds[window], inside, beta)
        labels[window][inside] = solved[inside]
    return labels


def _solve(probability: Scalar, seeds: Labels, inside: Mask, beta: float) -> Labels:
    """One cluster: the graph's Laplacian without the seeds, solved for each marker (Grady 2006, Eq. 10)."""
    labels = np.where(inside, seeds, 0).astype(np.int32)
    laplacian = _laplacian(probability, inside, beta)
    flat = labels[inside]
    ids, marker = np.unique(flat[flat > 0], return_inverse=True)
    free, taken = np.flatnonzero(flat == 0), np.flatnonzero(flat > 0)
    if free.size == 0:
        return labels
    known = np.zeros((taken.size, ids.size))
    known[np.arange(taken.size), marker] = 1
    # The walker arrives somewhere: the last marker's probability is what the others leave.
    right = -(laplacian[free][:, taken] @ known[:, :-1])
    arrival = _solve_system(laplacian[free][:, free].tocsc(), right, inside.ndim)
    arrival = np.column_stack([arrival, 1 - arrival.sum(1)])
    flat[free] = ids[arrival.argmax(1)]
    labels[inside] = flat
    return labels


def _laplacian(probability: Scalar, inside: Mask, beta: float) -> sparse.csr_array:
    """Of the cluster's pixels in C order: minus each pair's weight, a pixel's sum of them on the diagonal."""
    number = np.cumsum(inside.ravel()).reshape(inside.shape) - 1
    scale = beta / (10 * max(float(probability.std()), 1e-6))
    firsts, seconds, weights = [], [], []
    for axis in range(number.ndim):
        here = np.moveaxis(number, axis, 0)
        values = np.moveaxis(probability, axis, 0).astype(np.float64)
        within = np.moveaxis(inside, axis, 0)
        both = within[:-1] & within[1:]
        firsts.append(here[:-1][both])
        seconds.append(here[1:][both])
        weights.append(np.exp(-scale * (values[1:] - values[:-1])[both] ** 2) + _LEAST_WEIGHT)
    pairs = np.concatenate(firsts + seconds), np.concatenate(seconds + firsts)
    weight = np.concatenate(weights + weights)
    size = int(np.count_nonzero(inside))
    graph = sparse.csr_array((weight, pairs), shape=(size, size))
    degree = np.bincount(pairs[0], weight, minlength=size)
    return sparse.csr_array(sparse.diags_array(degree) - graph)


def _solve_system(system: sparse.csc_array, right: np.ndarray, ndim: int) -> np.ndarray:
    """Probability ``(pixels, markers)`` to arrive at each marker first."""
    if len(right) <= _LARGEST_DIRECT[ndim]:
        # The system is symmetric and positive: no pivoting needed, and a far sparser factor.
        factor = splu(
            system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0, options={"SymmetricMode": True}
        )
        return factor.solve(right)
    return _conjugate_gradients(sparse.csr_array(system), right)


def _conjugate_gradients(system: sparse.csr_array, right: np.ndarray) -> np.ndarray:
    """All columns at once, preconditioned by the diagonal, to a thousandth of the right side."""
    diagonal = system.diagonal()[:, None]
    solution = np.zeros_like(right)
    residual = right.copy()
    goal = 1e-6 * (right**2).sum(0)
    direction = residual / diagonal
    energy = (residual * direction).sum(0)
    for _ in range(10 * len(right)):
        if ((residual**2).sum(0) <= goal).all():
            break
        image = system @ direction
        # A column that is solved already stays as it is: 0 / 0 would spoil it.
        step = energy / np.maximum((direction * image).sum(0), np.finfo(float).tiny)
        solution += step * direction
        residual -= step * image
        scaled = residual / diagonal
        following = (residual * scaled).sum(0)
        direction = scaled + following / np.maximum(energy, np.finfo(float).tiny) * direction
        energy = following
    return solution
