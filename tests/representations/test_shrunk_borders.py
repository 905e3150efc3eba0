import numpy as np
import pytest
import torch

from morula.representations.shrunk_borders import ShrunkBorders

ROW = np.array([[0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 0]] * 5, np.int32)
SPACING = (1.0, 1.0)


def test_the_three_maps_of_two_touching_nuclei():
    maps = ShrunkBorders(shrink_px=1.0, border_reach_px=1.0).encode(ROW, SPACING)
    assert maps["nuclei"][0, 2].tolist() == [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0]
    assert maps["shrunk"][0, 2].tolist() == [0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 0, 0]
    assert maps["borders"][0, 2].tolist() == [0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("losses", "count"),
    [("cross_entropy", {"cross_entropy"}), ("dice", {"dice"}), ("sum", {"cross_entropy", "dice"})],
)
def test_the_three_losses_of_the_text(losses, count):
    representation = ShrunkBorders(losses=losses)
    targets = {k: torch.from_numpy(v)[None] for k, v in representation.encode(ROW, SPACING).items()}
    terms = representation.loss(targets, targets, torch.ones(1, 1, *ROW.shape))
    assert set(terms) == {f"{head}/{term}" for head in ("nuclei", "shrunk", "borders") for term in count}


@pytest.mark.parametrize("decoder", ["watershed", "random_walker"])
def test_borders_part_what_shrinking_alone_leaves_joined(decoder):
    representation = ShrunkBorders(decoder=decoder)
    maps = representation.encode(ROW, SPACING)
    joined = {**maps, "shrunk": maps["nuclei"], "borders": np.zeros_like(maps["borders"])}
    assert representation.decode(joined, SPACING).max() == 1
    parted = {**joined, "borders": maps["borders"]}
    decoded = representation.decode(parted, SPACING)
    np.testing.assert_array_equal(decoded > 0, ROW > 0)
    # On the border itself all ways are alike to the walker: only the watershed must halve it.
    sure = (maps["borders"][0] == 0) | (decoder == "watershed")
    np.testing.assert_array_equal(decoded[sure], ROW[sure])


def test_a_nucleus_without_marker_is_kept():
    representation = ShrunkBorders()
    maps = representation.encode(ROW, SPACING)
    without = {**maps, "shrunk": np.zeros_like(maps["shrunk"])}
    assert representation.decode(without, SPACING).max() == 1


def test_the_border_head_can_weigh_more():
    maps = ShrunkBorders().encode(ROW, SPACING)
    targets = {k: torch.from_numpy(v)[None] for k, v in maps.items()}
    logits = {k: torch.zeros_like(v) for k, v in targets.items()}
    annotated = torch.ones(1, 1, *ROW.shape)
    plain = ShrunkBorders().loss(logits, targets, annotated)
    heavy = ShrunkBorders(border_weight=3.0).loss(logits, targets, annotated)
    for name, term in plain.items():
        assert heavy[name] == pytest.approx(term * (3 if name.startswith("borders") else 1))
