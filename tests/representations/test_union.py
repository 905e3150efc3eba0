from typing import Any

import numpy as np
import pytest
import torch

from morula.errors import InputError
from morula.representations import read_representation
from morula.representations.hover import HoVer
from morula.representations.shrunk_borders import ShrunkBorders
from morula.representations.union import Union
from synthetic import touching_balls

SPACING = (1.0, 1.0)
PARTS = {"borders": ShrunkBorders(), "offsets": HoVer(gradient_weight=0.0)}


def union_of(**changes: Any) -> Union:
    return Union(**{"parts": PARTS, "decoder": "borders", **changes})


def test_heads_are_named_part_and_head():
    heads = {head.name: head for head in union_of().heads(2)}
    assert list(heads) == [
        "borders.nuclei",
        "borders.shrunk",
        "borders.borders",
        "offsets.foreground",
        "offsets.offsets",
    ]
    own = PARTS["offsets"].heads(2)[1]
    joined = heads["offsets.offsets"]
    assert (joined.channels, joined.activation, joined.directions, joined.stride) == (
        own.channels,
        own.activation,
        own.directions,
        own.stride,
    )


@pytest.mark.parametrize("ndim", [2, 3])
def test_only_the_heads_of_the_decoder_are_read(ndim: int):
    union = union_of(decoder="offsets")
    names = union.decoding_heads(ndim)
    assert names == ("offsets.foreground", "offsets.offsets")
    labels = touching_balls(ndim, shape=48, radius=7)
    spacing = (1.0,) * ndim
    maps = union.encode(labels, spacing)
    few = {name: maps[name] for name in names}
    np.testing.assert_array_equal(union.decode(few, spacing), union.decode(maps, spacing))


def test_encoding_and_decoding_are_those_of_the_parts():
    labels = touching_balls(2, shape=48, radius=7)
    maps = union_of().encode(labels, SPACING)
    for name, part in PARTS.items():
        own = part.encode(labels, SPACING)
        assert {key for key in maps if key.startswith(f"{name}.")} == {f"{name}.{key}" for key in own}
        for key, value in own.items():
            np.testing.assert_array_equal(maps[f"{name}.{key}"], value)
        found = union_of(decoder=name).decode(maps, SPACING)
        np.testing.assert_array_equal(found, part.decode(own, SPACING))


def test_losses_are_those_of_the_parts_times_their_weights():
    labels = touching_balls(2, shape=48, radius=7)
    union = union_of(weights={"offsets": 0.25})
    targets = {key: torch.from_numpy(value)[None] for key, value in union.encode(labels, SPACING).items()}
    generator = torch.Generator().manual_seed(0)
    logits = {
        head.name: torch.randn(1, head.channels, *labels.shape, generator=generator)
        for head in union.heads(2)
    }
    annotated = torch.ones(1, 1, *labels.shape)
    terms = union.loss(logits, targets, annotated)
    count = 0
    for name, part in PARTS.items():
        below = [{key.partition(".")[2]: v for key, v in t.items() if key.startswith(f"{name}.")}
                 for t in (logits, targets)]  # fmt: skip
        for term, value in part.loss(*below, annotated).items():
            factor = 0.25 if name == "offsets" else 1.0
            torch.testing.assert_close(terms[f"{name}.{term}"], factor * value)
            count += 1
    assert len(terms) == count


def test_the_maps_that_a_part_makes_per_image_are_kept():
    union = Union(
        parts={"classes": {"kind": "interior_boundary", "weight_map": True}},  # pyright: ignore[reportArgumentType]
        decoder="classes",
    )
    labels = touching_balls(2, shape=48, radius=7)
    assert set(union.encode(labels, SPACING)) == {"classes.classes"}
    assert set(union.image_maps(labels, SPACING)) == {"classes.weight"}


@pytest.mark.parametrize("changes", [{"decoder": "stars"}, {"weights": {"stars": 2.0}}])
def test_an_unknown_part_is_named(changes: dict[str, Any]):
    with pytest.raises(ValueError, match="union has no part 'stars'; its parts are borders, offsets"):
        union_of(**changes)


def test_a_union_needs_parts():
    with pytest.raises(InputError, match="parts"):
        read_representation({"kind": "union", "parts": {}, "decoder": "borders"})
    with pytest.raises(InputError, match=r"Did you mean 'hover'"):
        read_representation({"kind": "union", "parts": {"offsets": {"kind": "hoover"}}, "decoder": "offsets"})
