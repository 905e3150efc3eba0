from collections.abc import Iterator

import numpy as np
import pytest

from morula.labels.matching import match
from morula.labels.renumber import renumber
from morula.prediction.confidence import confidence
from morula.prediction.large import Block, cut_blocks, decode_blocks
from morula.representations import Representation, read_representation
from morula.types import Maps
from synthetic import touching_balls


def in_bands(maps: Maps, strides: dict[str, int], height: int, rows: int) -> Iterator[tuple[int, Maps]]:
    for row in range(0, rows, height):
        yield row, {k: v[:, row // strides[k] : -(-(row + height) // strides[k])] for k, v in maps.items()}


def tiled(representation: Representation, maps: Maps, shape: tuple[int, ...], margin: int, block: int):
    strides = {head.name: head.stride for head in representation.heads(len(shape))}
    maps = {name: maps[name] for name in strides}
    blocks = cut_blocks(shape, margin, max(strides.values()), whole=0, block=block)
    bands = in_bands(maps, strides, 12, shape[0])
    return len(blocks), decode_blocks(bands, blocks, shape, representation, (1.0,) * len(shape))


def test_blocks_cover_every_row_once_and_overlap_by_two_margins():
    blocks = cut_blocks((100, 10), 8, 4, whole=0, block=300)
    assert [block.first for block in blocks] + [blocks[-1].last] == [0, 32, 64, 100]
    assert blocks[1] == Block(24, 72, 32, 64)
    assert cut_blocks((100, 10), 8, 4, whole=1000) == (Block(0, 100, 0, 100),)


def test_blocks_of_a_wide_image_are_three_margins_high():
    blocks = cut_blocks((240, 10_000), 10, 1, whole=0, block=1000)
    assert {block.last - block.first for block in blocks} == {30}


@pytest.mark.parametrize(
    "kind", ["foreground", "interior_boundary", "shrunk_borders", "signed_distance", "star_convex"]
)
@pytest.mark.parametrize("ndim", [2, 3])
def test_blocks_decode_as_the_whole_image_does(kind: str, ndim: int):
    labels = touching_balls(ndim, shape=150 if ndim == 2 else 64, radius=9 if ndim == 2 else 7)
    representation = read_representation({"kind": kind})
    maps = representation.encode(labels, (1.0,) * ndim)
    maps = {head.name: maps[head.name] for head in representation.heads(ndim)}
    whole = representation.decode(maps, (1.0,) * ndim)
    count, found = tiled(representation, maps, labels.shape, 24 if ndim == 2 else 10, 1)
    assert count > 1
    assert found.labels.max() == whole.max()
    assert match(whole, found.labels, (0.99,))[0].ap == 1
    expected = confidence(maps, renumber(whole), representation)
    np.testing.assert_allclose(sorted(found.confidence.values()), sorted(expected.values()), atol=1e-3)


def test_coarse_maps_are_decoded_in_blocks_too():
    labels = touching_balls(2, shape=151, radius=9)
    representation = read_representation({"kind": "star_convex", "stride": 2})
    maps = representation.encode(labels, (1.0, 1.0))
    count, found = tiled(representation, maps, labels.shape, 24, 1)
    whole = representation.decode(maps, (1.0, 1.0))[:151, :151]
    assert count > 1
    assert found.labels.shape == labels.shape
    assert match(whole, found.labels, (0.9,))[0].ap == 1


def test_an_object_longer_than_a_block_is_one_object():
    labels = np.zeros((200, 40), np.int32)
    labels[3:197, 5:12] = 1
    labels[100:110, 20:30] = 1
    representation = read_representation({"kind": "foreground"})
    maps = representation.encode(labels, (1.0, 1.0))
    count, found = tiled(representation, maps, labels.shape, 8, 1)
    assert count > 4
    assert found.labels.max() == 2
    np.testing.assert_array_equal(found.labels > 0, labels > 0)


def test_prongs_that_meet_in_a_later_block_are_one_object():
    labels = np.zeros((120, 40), np.int32)
    labels[5:100, 5:10] = labels[5:100, 25:30] = labels[95:100, 5:30] = 1
    labels[5:10, 15:20] = 2
    representation = read_representation({"kind": "foreground"})
    maps = representation.encode(labels, (1.0, 1.0))
    _, found = tiled(representation, maps, labels.shape, 8, 1)
    np.testing.assert_array_equal(found.labels, renumber(labels))
    assert found.confidence.keys() == {1, 2}


def test_nothing_found():
    representation = read_representation({"kind": "foreground"})
    maps = {"foreground": np.zeros((1, 60, 10), np.float32)}
    _, found = tiled(representation, maps, (60, 10), 4, 1)
    assert found.labels.max() == 0
    assert found.confidence == {}


def test_more_objects_than_sixteen_bits_hold():
    labels = np.zeros((640, 640), np.int32)
    labels[::2, ::2] = np.arange(1, 320 * 320 + 1).reshape(320, 320)
    representation = read_representation({"kind": "foreground", "min_object_px": 1})
    maps = representation.encode(labels, (1.0, 1.0))
    _, found = tiled(representation, maps, labels.shape, 8, 640 * 100)
    assert found.labels.max() == 320 * 320
    np.testing.assert_array_equal(found.labels > 0, labels > 0)
    assert len(found.confidence) == 320 * 320
