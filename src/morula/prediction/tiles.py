"""Tiles: how an image of any size goes through a network of limited field, and comes back seamless.

Tiles lie on a regular grid, their starts multiples of the network's divisor so that every pixel meets the
same phase of the pooling in each tile. Neighbours are blended with Gaussian weights (deviation an eighth of
the tile, Isensee et al. 2021, https://doi.org/10.1038/s41592-020-01008-z). Weights and grid are separable, so
they are normalised per axis, before anything is added up: the weighted tiles then sum to the image and no
array of weight sums is needed.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from morula.types import Map, Maps

_BAND_PX = 128
"""Rows that are handed on at a time."""

Index: TypeAlias = tuple[int, ...]
"""Place of a tile in the grid, one number per spatial axis."""


@dataclass(frozen=True)
class TileGrid:
    """Where the tiles of one image lie, in working pixels; tiles may reach beyond the image's far edges."""

    shape: tuple[int, ...]
    """Spatial shape of the image."""

    tile: tuple[int, ...]
    """Spatial shape of every tile, multiples of the divisor."""

    starts: tuple[tuple[int, ...], ...]
    """First pixel of each tile, per axis."""

    @property
    def count(self) -> int:
        """Number of tiles."""
        return int(np.prod([len(starts) for starts in self.starts]))

    def indices(self) -> Iterator[Index]:
        """Every tile, the first axis outermost."""
        return itertools.product(*[range(len(starts)) for starts in self.starts])

    def corner(self, index: Index) -> tuple[int, ...]:
        """First pixel of the tile at `index`."""
        return tuple(starts[i] for starts, i in zip(self.starts, index, strict=True))


def tile_grid(
    shape: tuple[int, ...], tile_size: tuple[int, ...], overlap: float, divisors: tuple[int, ...]
) -> TileGrid:
    """The grid of tiles for an image of spatial `shape`.

    Tiles are shrunk as far as their number allows: an image a little larger than a tile gets two tiles
    of a little more than half its size, not two whole ones.

    Args:
        shape: Spatial shape of the image in working pixels.
        tile_size: Largest tile, per axis.
        overlap: Share of a tile that it has in common with its neighbour, 0 to below 1.
        divisors: Per axis; every tile is a multiple of it, and at least twice it (one pixel at the bottom of
            a network has no statistics to normalise with).
    """
    axes = [_tile_axis(n, t, overlap, step) for n, t, step in zip(shape, tile_size, divisors, strict=True)]
    return TileGrid(shape, tuple(tile for tile, _ in axes), tuple(starts for _, starts in axes))


def _tile_axis(length: int, tile: int, overlap: float, divisor: int) -> tuple[int, tuple[int, ...]]:
    padded = _round_up(max(length, 2 * divisor), divisor)
    tile = max(_round_up(tile, divisor), 2 * divisor)
    if padded <= tile:
        return padded, (0,)
    shared = min(_round_up(int(overlap * tile), divisor), tile - divisor)
    count = 1 + -(-(padded - tile) // (tile - shared))
    tile = _round_up(-(-(padded + (count - 1) * shared) // count), divisor)
    last = padded - tile
    return tile, tuple(i * last // (count - 1) // divisor * divisor for i in range(count))


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step


def cut(pixels: np.ndarray, grid: TileGrid, index: Index) -> np.ndarray:
    """The tile at `index` of ``(C, *spatial)`` pixels, mirrored where it reaches beyond the image."""
    corner = grid.corner(index)
    inside = tuple(slice(a, a + n) for a, n in zip(corner, grid.tile, strict=True))
    crop = pixels[(slice(None), *inside)]
    missing = [(0, n - have) for n, have in zip(grid.tile, crop.shape[1:], strict=True)]
    return np.pad(crop, [(0, 0), *missing], mode="reflect") if any(m for _, m in missing) else crop


def blend_weights(grid: TileGrid, axis: int, stride: int) -> tuple[np.ndarray, ...]:
    """For each tile along `axis` its share in its pixels, float32 ``(tile / stride,)``; shares sum to 1."""
    n = grid.tile[axis] // stride
    offset = (np.arange(n) - (n - 1) / 2) / (grid.tile[axis] / stride / 8)
    # The floor keeps a lone far corner of a tile from being divided by next to nothing.
    bell = np.maximum(np.exp(-0.5 * offset**2), 1e-4)
    starts = [start // stride for start in grid.starts[axis]]
    total = np.zeros(starts[-1] + n)
    for start in starts:
        total[start : start + n] += bell
    return tuple((bell / total[start : start + n]).astype(np.float32) for start in starts)


def stitch(
    tiles: Iterable[tuple[Index, Maps]], grid: TileGrid, strides: dict[str, int]
) -> Iterator[tuple[int, Maps]]:
    """Blend tiles back into maps of the image, band by band along the first spatial axis.

    Only the rows that a later tile still touches are held, so that memory grows with the image's width.

    Args:
        tiles: ``(index, maps)`` in the order of `TileGrid.indices`; maps are ``(channel, *tile / stride)``.
        grid: The grid that the tiles were cut with.
        strides: Grid step of every map by its name; each divides the tile and its starts.

    Yields:
        ``(first row, maps)``: finished rows in order. Rows count in working pixels, maps are
        ``(channel, rows / stride, ...)``, cropped to ``ceil(shape / stride)``.
    """
    if grid.count == 1:
        # The bands are the tile: nothing to blend.
        for _, maps in tiles:
            yield 0, {name: _cropped(maps[name], grid.shape, stride) for name, stride in strides.items()}
        return
    blenders = {name: _Blender(grid, stride) for name, stride in strides.items()}
    row = 0
    for index, maps in tiles:
        if index[0] != row:
            yield from _finished(blenders, grid, row)
            row = index[0]
        for name, blender in blenders.items():
            blender.add(index, maps[name])
    yield from _finished(blenders, grid, row)


def _finished(blenders: "dict[str, _Blender]", grid: TileGrid, row: int) -> Iterator[tuple[int, Maps]]:
    """The rows that no later tile touches, a few at a time: who takes them need not hold them all."""
    first, *later = grid.starts[0][row : row + 2]
    last = min(grid.shape[0], *later) if later else grid.shape[0]
    coarsest = int(np.lcm.reduce([blender.stride for blender in blenders.values()]))
    for start in range(first, last, _round_up(_BAND_PX, coarsest)):
        stop = min(start + _round_up(_BAND_PX, coarsest), last)
        yield start, {name: blender.rows(start - first, stop - first) for name, blender in blenders.items()}
    if later:
        for blender in blenders.values():
            blender.move_up(last - first)


def _cropped(tile: Map, shape: tuple[int, ...], stride: int) -> Map:
    """A tile without what reaches beyond the image's far edges."""
    inside = tuple(slice(-(-n // stride)) for n in shape)
    return np.ascontiguousarray(tile[(slice(None), *inside)])


class _Blender:
    """The running band of one head: as high as a tile, as wide as the image."""

    def __init__(self, grid: TileGrid, stride: int):
        self._grid = grid
        self.stride = stride
        self._weights = [blend_weights(grid, axis, stride) for axis in range(len(grid.shape))]
        self._width = tuple(
            (starts[-1] + tile) // stride for starts, tile in zip(grid.starts[1:], grid.tile[1:], strict=True)
        )
        self._height = grid.tile[0] // stride
        self._band = np.zeros((0, self._height, *self._width), np.float32)

    def add(self, index: Index, tile: Map) -> None:
        if not len(self._band):
            self._band = np.zeros((len(tile), self._height, *self._width), np.float32)
        corner = [a // self.stride for a in self._grid.corner(index)[1:]]
        place = tuple(slice(a, a + n) for a, n in zip(corner, tile.shape[2:], strict=True))
        weighted = tile * self._profile(0, index)
        for axis in range(1, len(index)):
            weighted *= self._profile(axis, index)
        self._band[(slice(None), slice(None), *place)] += weighted

    def _profile(self, axis: int, index: Index) -> np.ndarray:
        shape = [1] * (len(index) + 1)
        shape[axis + 1] = -1
        return self._weights[axis][index[axis]].reshape(shape)

    def rows(self, start: int, stop: int) -> Map:
        """Rows of the band, counted in working pixels from its first one."""
        width = tuple(slice(0, -(-n // self.stride)) for n in self._grid.shape[1:])
        rows = slice(start // self.stride, -(-stop // self.stride))
        return self._band[(slice(None), rows, *width)].copy()

    def move_up(self, done: int) -> None:
        """Forget the first `done` rows, in working pixels."""
        kept = self._band[:, done // self.stride :].copy()
        self._band[:, : kept.shape[1]] = kept
        self._band[:, kept.shape[1] :] = 0
