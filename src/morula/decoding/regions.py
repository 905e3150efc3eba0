"""Nested regions: every way in which touching objects may be split or merged, and the choice among them.

As a threshold on the marker map rises, regions shrink, part and vanish. Each region that parts is one
candidate object, its parts are others: a tree (the component tree, Jones 1999,
https://doi.org/10.1006/cviu.1999.0777). Every leaf grows over the foreground by watershed into a fragment; a
node of the tree is the union of its leaves' fragments. One threshold for a whole image cuts the tree at one
height; here each object is cut where it is best (as by Arteta et al. 2012,
https://doi.org/10.1007/978-3-642-33415-3_43).
"""

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Float32, Float64, Int32
from numba import njit

from morula.decoding.watershed import rimmed, watershed, without_rim
from morula.labels.components import root_of
from morula.labels.volume import as_volume, check_indexable
from morula.types import Labels, Scalar

LEVELS = (0.0, 0.2, 0.4, 0.55, 0.7, 0.8, 0.9, 0.95)
"""Thresholds on the marker map, which lies between -1 and 1; below all of them is the foreground."""

LEAST_PX = 6
"""Smallest region of a leaf, in pixels."""


@dataclass(frozen=True)
class Regions:
    """A tree of candidate objects. Nodes are numbered from 1; parents have higher numbers than children."""

    fragments: Labels
    """The leaf that each pixel belongs to, ``(*spatial)``; 0 is background."""

    parents: Int32[np.ndarray, " nodes_and_none"]
    """Parent of every node; 0 for the root of a tree, and for number 0, which is no node."""

    born: Int32[np.ndarray, " nodes_and_none"]
    """Number of thresholds that are exceeded where a node parts from its siblings; 0: of the foreground."""

    gone: Int32[np.ndarray, " nodes_and_none"]
    """The same where it parts into its children, or is about to vanish."""

    @property
    def leaves(self) -> Int32[np.ndarray, " _"]:
        """The nodes without children."""
        is_leaf = np.ones(len(self.parents), bool)
        is_leaf[self.parents] = False
        is_leaf[0] = False
        return np.flatnonzero(is_leaf).astype(np.int32)

    def gather(self, values: Float64[np.ndarray, "nodes_and_none _"]) -> Float64[np.ndarray, "nodes _"]:
        """Sums over every node's descendants, itself included."""
        return _gather(self.parents, values)

    def choose(
        self, quality: Float32[np.ndarray, " nodes_and_none"], least: float
    ) -> tuple[Labels, Float32[np.ndarray, " objects"]]:
        """The objects of which no two overlap whose sum of (quality - `least`) is highest.

        Args:
            quality: Of every node, between 0 and 1; that of number 0 does not matter.
            least: Objects with no more are left out.

        Returns:
            Ids 1 to n ``(*spatial)``, in the order of the nodes, and the quality of each.
        """
        owner = _choose(self.parents, quality.astype(np.float64) - least)
        nodes = np.unique(owner[owner > 0])
        new = np.zeros(len(owner), np.int32)
        new[nodes] = np.arange(1, len(nodes) + 1)
        return new[owner][self.fragments], quality[nodes]


def nested_regions(inside: Scalar, markers: Scalar, elevation: Scalar, threshold: float) -> Regions:
    """The tree of all regions that exceed some of `LEVELS`.

    Args:
        inside: Foreground probability ``(*spatial)``.
        markers: High in the middle of objects, low between touching ones, -1 to 1.
        elevation: What is flooded from the leaves' regions, lowest first.
        threshold: Foreground is where `inside` exceeds it.

    Raises:
        ValueError: There are too many pixels for one piece.

    Examples:
        >>> row = np.array([[.9, .9, .9, .3, .9, .9]], np.float32).repeat(3, 0)
        >>> regions = nested_regions(np.ones_like(row), row, 1 - row, 0.5)
        >>> regions.fragments[0], regions.parents
        (array([1, 1, 1, 1, 2, 2], dtype=int32), array([0, 3, 3, 0], dtype=int32))
    """
    check_indexable(inside.shape)
    mask = inside > np.float32(threshold)
    seeds, tree = _seeds_and_tree(as_volume(mask), as_volume(markers))
    return Regions(watershed(elevation, without_rim(seeds).reshape(mask.shape), mask), *tree)


def _seeds_and_tree(
    mask: np.ndarray, markers: np.ndarray
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Leaf of every pixel that a leaf begins with, with a rim; parents, born and gone of the nodes."""
    level = np.zeros(rimmed(mask.shape), np.uint8)
    _find_levels(mask, markers, np.array(LEVELS, np.float32), level)
    order = np.empty(np.count_nonzero(mask), np.int32)
    begin = _sort_by_level(level.reshape(-1), len(LEVELS) + 1, order)
    seeds, forest = np.zeros(level.shape, np.int32), np.empty((5, level.size), np.int32)
    return seeds, _grow_tree(level.shape, order, begin, forest, seeds.reshape(-1))


@njit(cache=True, nogil=True)
@no_type_check
def _gather(parents, values):
    total = values.copy()
    for node in range(1, parents.size):
        if parents[node] > 0:
            total[parents[node]] += total[node]
    return total


@njit(cache=True, nogil=True)
@no_type_check
def _choose(parents, gain):
    """For every node the node that stands for it in the best choice; 0 where nothing does."""
    count = parents.size
    below, split = np.zeros(count), np.zeros(count, np.bool_)
    for node in range(1, count):
        own = max(gain[node], 0.0)
        split[node] = below[node] > own
        if parents[node] > 0:
            below[parents[node]] += max(own, below[node])
    owner = np.zeros(count, np.int32)
    for node in range(count - 1, 0, -1):
        if owner[parents[node]] > 0:
            owner[node] = owner[parents[node]]
        elif not split[node] and gain[node] > 0:
            owner[node] = node
    return owner


@njit(cache=True, nogil=True)
@no_type_check
def _find_levels(mask, markers, heights, level):
    """1 in `mask` and one more for each height that the marker exceeds, into `level` with a rim."""
    depth, height, width = mask.shape
    rim = (level.shape[0] - depth) // 2
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                if mask[z, y, x]:
                    here = 1
                    while here <= heights.size and markers[z, y, x] > heights[here - 1]:
                        here += 1
                    level[z + rim, y + 1, x + 1] = here


@njit(cache=True, nogil=True)
@no_type_check
def _grow_tree(shape, order, begin, forest, seeds):
    """Pixels join from the highest level down; regions that meet become children of a new node.

    `order` and `begin` are from `_sort_by_level`, `forest` is room for five numbers per pixel of `shape`,
    `seeds` gets the leaf of every pixel that a leaf begins with.
    """
    steps = np.array([-shape[1] * shape[2], shape[1] * shape[2], -shape[2], shape[2], -1, 1])
    if shape[0] == 1:
        steps = steps[2:].copy()
    most = order.size // LEAST_PX * 2 + 2
    # The pixels of a region are a chain from its root on, so that two regions are joined at once.
    roots, size, following, last, owner = forest
    roots[:], owner[:] = -1, 0
    parents, born, gone = np.zeros(most, np.int32), np.zeros(most, np.int32), np.zeros(most, np.int32)
    # Of each node a pixel; the nodes that have no parent yet, and their places among these.
    pixel_of, slot, n_nodes = np.zeros(most, np.int32), np.zeros(most, np.int32), 0
    tops, n_tops = np.zeros(most, np.int32), 0
    for now in range(begin.size - 2, 0, -1):
        arriving = order[begin[now] : begin[now + 1]]
        for pixel in arriving:
            _arrive(pixel, steps, roots, size, following, last)
        before, n_tops, n_before = tops[:n_tops].copy(), 0, n_nodes
        for node in before:
            root = root_of(roots, pixel_of[node])
            other = owner[root]
            if other == 0:
                owner[root], slot[node], tops[n_tops] = node, n_tops, node
                n_tops += 1
                continue
            if other <= n_before:
                # The first that it meets here: both become children of a new node, in that one's place.
                n_nodes += 1
                parents[other], born[other], gone[n_nodes] = n_nodes, now, now - 1
                pixel_of[n_nodes], owner[root], slot[n_nodes] = pixel_of[other], n_nodes, slot[other]
                tops[slot[other]] = n_nodes
            parents[node], born[node] = owner[root], now
        for pixel in arriving:
            root = root_of(roots, pixel)
            if owner[root] == 0 and size[root] >= LEAST_PX:
                n_nodes += 1
                owner[root], pixel_of[n_nodes], gone[n_nodes] = n_nodes, root, now - 1
                slot[n_nodes], tops[n_tops] = n_tops, n_nodes
                n_tops += 1
                _mark(seeds, following, root, n_nodes)
        for node in tops[:n_tops]:
            owner[root_of(roots, pixel_of[node])] = 0
    stop = n_nodes + 1
    return parents[:stop].copy(), born[:stop].copy(), gone[:stop].copy()


@njit(cache=True, nogil=True)
@no_type_check
def _sort_by_level(level, highest, order):
    """Puts the pixels above level 0 into `order`, the lowest first; returns where each level begins."""
    count = np.zeros(highest + 1, np.int64)
    for here in level:
        count[here] += 1
    count[0] = 0
    begin = np.zeros(highest + 2, np.int64)
    begin[1:] = np.cumsum(count)
    end = begin.copy()
    for pixel in range(level.size):
        here = level[pixel]
        if here > 0:
            order[end[here]] = pixel
            end[here] += 1
    return begin


@njit(cache=True, nogil=True)
@no_type_check
def _arrive(pixel, steps, roots, size, following, last):
    """A pixel joins the regions that it touches."""
    roots[pixel], size[pixel], last[pixel], following[pixel] = pixel, 1, pixel, -1
    for step in steps:
        if roots[pixel + step] < 0:
            continue
        a, b = root_of(roots, pixel), root_of(roots, pixel + step)
        if a == b:
            continue
        if size[a] < size[b]:
            a, b = b, a
        roots[b] = a
        size[a] += size[b]
        following[last[a]] = b
        last[a] = last[b]


@njit(cache=True, nogil=True)
@no_type_check
def _mark(seeds, following, root, node):
    """Every pixel of a region becomes a seed of its node."""
    pixel = root
    while pixel >= 0:
        seeds[pixel] = node
        pixel = following[pixel]
