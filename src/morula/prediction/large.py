"""Decoding in blocks: labels of any image in bounded memory, seamless.

Maps arrive in bands (`morula.prediction.tiles.stitch`). A block is a slab of rows over the full width of the
image; neighbours overlap by two margins, and each row's labels come from the block in which it lies at least
one margin from the block's edge. What decoding finds in a row depends on its surroundings no further than a
margin, so that both blocks agree where they meet; ids that overlap there are one object (union-find). An
image that fits is one block.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from morula.labels.overlap import overlap_table
from morula.labels.renumber import compact
from morula.prediction.confidence import Sums, doubt_sums, evidence, evidence_sums, quality_sums, score
from morula.prediction.scorer import Scorer
from morula.prediction.segmentation import Segmentation
from morula.representations import Head, Representation, decode_to_shape
from morula.types import Labels, Maps, Spacing

WHOLE = 1 << 23
"""Pixels up to which an image is decoded in one block."""

BLOCK = 1 << 22
"""Pixels in a block of a larger image, margins not counted."""

_SEAM = 2
"""Rows on either side of a cut in which ids are compared."""


@dataclass(frozen=True)
class Block:
    """Rows of one block along the first spatial axis."""

    start: int
    """First row that is decoded."""

    stop: int
    """Row after the last that is decoded."""

    first: int
    """First row whose labels come from this block."""

    last: int
    """Row after the last whose labels come from this block."""


def cut_blocks(
    shape: tuple[int, ...], margin: int, step: int, whole: int = WHOLE, block: int = BLOCK
) -> tuple[Block, ...]:
    """Blocks for an image of spatial `shape`.

    Args:
        shape: Spatial shape in working pixels.
        margin: Rows that decoding needs around a row, in working pixels.
        step: Blocks start at multiples of it (the coarsest map's stride).
        whole: Pixels up to which there is one block.
        block: Pixels in a block otherwise; wide images get more, for a block is three margins high at least.
    """
    rows = shape[0]
    margin = max(-(-margin // step) * step, _SEAM)
    height = max(block // max(1, int(np.prod(shape[1:]))), 3 * margin)
    count = 1 if int(np.prod(shape)) <= whole else max(1, round(rows / height))
    cuts = [i * rows // count // step * step for i in range(count)] + [rows]
    return tuple(Block(max(0, a - margin), min(rows, b + margin), a, b) for a, b in pairwise(cuts))


def decode_blocks(
    bands: Iterator[tuple[int, Maps]],
    blocks: tuple[Block, ...],
    shape: tuple[int, ...],
    representation: Representation,
    spacing: Spacing,
    scorer: Scorer | None = None,
) -> Segmentation:
    """Instances, their scores and what is left in doubt, from bands of maps.

    Args:
        bands: ``(first row, maps)`` in order, as `morula.prediction.tiles.stitch` yields them.
        blocks: From `cut_blocks`.
        shape: Spatial shape in working pixels.
        representation: Decodes each block.
        spacing: Pixel size on the working grid.
        scorer: Chooses the objects in place of the representation's own decoder, and says how good they are.
    """
    strides = {head.name: head.stride for head in representation.heads(len(shape))}
    window = Window(_ahead(bands) if len(blocks) > 1 else bands, strides)
    seams = _Seams(shape)
    doubt = np.zeros(3)
    for block, after in zip(blocks, (*blocks[1:], None), strict=True):
        maps = window.take(block.start, block.stop, block.stop if after is None else after.start)
        rows = (block.first - block.start, block.last - block.start)
        size = (block.stop - block.start, *shape[1:])
        foreground, border = evidence(maps, representation, size)
        if scorer is None:
            labels = decode_to_shape(representation, maps, spacing, size)
            sums = evidence_sums(labels, foreground, border, rows)
        else:
            labels, quality = scorer.decode(maps, representation)
            sums = quality_sums(labels, quality, rows)
        del maps
        seams.add(block, labels, sums)
        doubt += doubt_sums(labels, foreground, border, rows)
    unexplained, undecided = (doubt[1:] / doubt[0] if doubt[0] > 0 else np.zeros(2)).tolist()
    return replace(seams.finish(), unexplained=unexplained, undecided=undecided)


def _ahead(bands: Iterator[tuple[int, Maps]]) -> Iterator[tuple[int, Maps]]:
    """The same, each made while the one before it is used."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, bands, None)
        while (band := coming.result()) is not None:
            coming = pool.submit(next, bands, None)
            yield band


def coarsest(heads: tuple[Head, ...]) -> int:
    """The grid step that all maps share: the least common multiple of their strides."""
    return int(np.lcm.reduce([head.stride for head in heads]))


class Window:
    """The bands that the present block needs."""

    def __init__(self, bands: Iterator[tuple[int, Maps]], strides: dict[str, int]):
        self._bands = bands
        self._strides = strides
        self._held: list[tuple[int, Maps]] = []
        self._end = 0

    def take(self, start: int, stop: int, keep: int | None = None) -> Maps:
        """Rows `start` to `stop` of every map; rows before `keep`, or else `start`, are forgotten."""
        while self._end < stop:
            row, maps = next(self._bands)
            self._held.append((row, maps))
            name = next(iter(maps))
            self._end = row + maps[name].shape[1] * self._strides[name]
        self._held = [held for held in self._held if self._stop_of(held) > start]
        maps = {name: self._rows(name, start, stop) for name in self._held[0][1]}
        self._held = [held for held in self._held if keep is None or self._stop_of(held) > keep]
        return maps

    def _stop_of(self, held: tuple[int, Maps]) -> int:
        name, values = next(iter(held[1].items()))
        return held[0] + values.shape[1] * self._strides[name]

    def _rows(self, name: str, start: int, stop: int) -> np.ndarray:
        stride = self._strides[name]
        pieces = []
        for row, maps in self._held:
            first = max(0, (start - row) // stride)
            pieces.append(maps[name][:, first : -(-(stop - row) // stride)])
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, 1)


class _Seams:
    """Labels of the whole image, written block by block, with the ids that turned out to be one object."""

    def __init__(self, shape: tuple[int, ...]):
        self._labels = np.zeros(shape, np.int32)
        self._tail = np.zeros((0, *shape[1:]), np.int32)
        self._parents = [0]
        self._sums: list[tuple[np.ndarray, Sums]] = []

    def add(self, block: Block, labels: Labels, sums: Sums) -> None:
        ids = self._global_ids(block, labels)
        self._sums.append((ids, sums))
        if block.last - block.first == len(self._labels):
            # All of the image, under the ids it has: nothing to copy.
            self._labels = labels
            return
        named = ids[labels]
        self._labels[block.first : block.last] = named[block.first - block.start : block.last - block.start]
        seam = block.last - block.start
        self._tail = named[max(0, seam - _SEAM) : seam + _SEAM].copy()

    def _global_ids(self, block: Block, labels: Labels) -> np.ndarray:
        """For each id of the block the id in the whole image, int32 ``(ids + 1,)``."""
        ids = np.zeros(int(labels.max(initial=0)) + 1, np.int32)
        seam = block.first - block.start
        known, found = self._tail, labels[max(0, seam - _SEAM) : seam + _SEAM]
        if len(known) and known.shape == found.shape:
            self._join(known, found, ids)
        fresh = np.flatnonzero(ids == 0)[1:]
        ids[fresh] = np.arange(len(self._parents), len(self._parents) + len(fresh))
        self._parents.extend(range(len(self._parents), len(self._parents) + len(fresh)))
        return ids

    def _join(self, known: Labels, found: Labels, ids: np.ndarray) -> None:
        table = overlap_table(known, np.ascontiguousarray(found))
        same = 2 * table.pixels > np.minimum(table.truth_sizes, table.predicted_sizes)
        same &= table.is_object_pair
        for old, new in zip(table.truth_ids[same].tolist(), table.predicted_ids[same].tolist(), strict=True):
            root = self._root(old)
            if ids[new]:
                other = self._root(int(ids[new]))
                self._parents[max(root, other)] = min(root, other)
                root = min(root, other)
            ids[new] = root

    def _root(self, id_: int) -> int:
        while self._parents[id_] != id_:
            id_ = self._parents[id_]
        return id_

    def finish(self) -> Segmentation:
        roots = np.array([self._root(i) for i in range(len(self._parents))], np.int32)
        total = np.zeros((len(roots), 4))
        for ids, sums in self._sums:
            np.add.at(total, roots[ids], sums)
        if (roots != np.arange(len(roots))).any():
            for rows in self._labels if self._labels.ndim == 3 else np.array_split(self._labels, 64):
                rows[...] = roots[rows]
        labels, former = compact(self._labels, in_place=True)
        scores = score(total)[former]
        return Segmentation(labels, {i: float(scores[i]) for i in range(1, len(former))})
