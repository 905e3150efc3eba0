import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from morula.prediction.tiles import TileGrid, blend_weights, cut, stitch, tile_grid


def restore(pixels: np.ndarray, grid: TileGrid, stride: int = 1) -> tuple[list[int], np.ndarray]:
    step = (slice(None), *[slice(None, None, stride)] * (pixels.ndim - 1))
    tiles = ((index, {"map": cut(pixels, grid, index)[step]}) for index in grid.indices())
    bands = list(stitch(tiles, grid, {"map": stride}))
    return [row for row, _ in bands], np.concatenate([maps["map"] for _, maps in bands], 1)


@settings(deadline=None, max_examples=60)
@given(
    shape=st.lists(st.integers(1, 70), min_size=2, max_size=2)
    | st.lists(st.integers(1, 20), min_size=3, max_size=3),
    tile=st.integers(1, 40),
    overlap=st.floats(0, 0.9),
    divisor=st.sampled_from([1, 2, 4, 8]),
)
def test_stitch_undoes_cut(shape: list[int], tile: int, overlap: float, divisor: int):
    pixels = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    grid = tile_grid(tuple(shape), (tile,) * len(shape), overlap, (divisor,) * len(shape))
    rows, restored = restore(pixels, grid)
    np.testing.assert_allclose(restored, pixels, atol=1e-5)
    assert rows == list(grid.starts[0])
    assert all(n % divisor == 0 for n in grid.tile)
    assert all(start % divisor == 0 for starts in grid.starts for start in starts)


@pytest.mark.parametrize(("stride", "shape"), [(2, (37, 50)), (4, (61, 64)), (2, (9, 21, 34))])
def test_coarse_maps_are_stitched_on_their_own_grid(stride: int, shape: tuple[int, ...]):
    pixels = np.random.default_rng(1).normal(size=(3, *shape)).astype(np.float32)
    grid = tile_grid(shape, (16,) * len(shape), 0.25, (4,) * len(shape))
    _, restored = restore(pixels, grid, stride)
    expected = pixels[(slice(None), *[slice(None, None, stride)] * len(shape))]
    np.testing.assert_allclose(restored, expected, atol=1e-5)


def test_an_image_smaller_than_a_tile_is_one_tile_no_larger_than_needed():
    grid = tile_grid((30, 100), (256, 256), 0.25, (8, 8))
    assert grid.tile == (32, 104)
    assert grid.starts == ((0,), (0,))
    assert grid.count == 1


def test_one_pixel_becomes_two_by_two_at_the_bottom_of_the_network():
    grid = tile_grid((1, 1), (256, 256), 0.25, (16, 16))
    assert grid.tile == (32, 32)
    tile = cut(np.full((1, 1, 1), 7, np.uint8), grid, (0, 0))
    assert tile.shape == (1, 32, 32)
    assert (tile == 7).all()


def test_tiles_are_as_small_as_their_number_allows():
    assert tile_grid((260,), (256,), 0.25, (4,)) == TileGrid((260,), (164,), ((0, 96),))


def test_padding_mirrors_the_image():
    tile = cut(np.arange(5, dtype=np.uint8).reshape(1, 5), tile_grid((5,), (8,), 0.0, (4,)), (0,))
    assert tile.tolist() == [[0, 1, 2, 3, 4, 3, 2, 1]]


def test_the_middle_of_a_tile_outweighs_its_rim():
    grid = TileGrid((24,), (16,), ((0, 8),))
    first, second = blend_weights(grid, 0, 1)
    assert (first[:8] == 1).all()
    assert (second[8:] == 1).all()
    assert first[8] > 0.99
    assert first[15] < 0.01
    np.testing.assert_allclose(first[8:] + second[:8], 1, atol=1e-6)


def test_tiles_are_weighed_by_a_gaussian_of_an_eighth_of_their_side():
    """System E's "Gaussian weights", with nnU-Net's deviation: the shares of two tiles are in its ratio."""
    first, second = blend_weights(TileGrid((24,), (16,), ((0, 8),)), 0, 1)
    place = np.arange(8)
    bell = [np.exp(-0.5 * ((at - 7.5) / 2) ** 2) for at in (place + 8, place)]
    inner = slice(2, 6)
    np.testing.assert_allclose((first[8:] / second[:8])[inner], (bell[0] / bell[1])[inner], rtol=1e-4)


def test_rows_are_held_no_longer_than_tiles_touch_them():
    seen = []

    def tiles():
        for index in grid.indices():
            seen.append(index)
            yield index, {"map": np.ones((1, *grid.tile), np.float32)}

    grid = tile_grid((100, 40), (20, 20), 0.25, (4, 4))
    bands = stitch(tiles(), grid, {"map": 1})
    row, maps = next(bands)
    assert row == 0
    # The first tile of the second row had to be seen, and no more.
    assert seen[-1] == (1, 0)
    assert maps["map"].shape == (1, grid.starts[0][1], 40)
