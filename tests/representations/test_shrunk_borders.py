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


@pytest.mark.parametrize(("elevation", "first"), [("nuclei", 7), ("borders", 9), ("shrunk", 5)])
def test_what_is_flooded_from_the_markers(elevation, first):
    """The fronts meet on the ridge: of the nuclei map at 7, of borders at 9, of shrunk nuclei at 5."""
    x = np.arange(13)
    ridges = {k: np.where(x == at, 0.4, 0.0) for k, at in (("nuclei", 7), ("borders", 9), ("shrunk", 5))}
    seeds = ((x == 1) | (x == 11)) * 0.3
    shrunk = 0.6 + seeds - ridges["shrunk"]
    rows = {"nuclei": 1 - ridges["nuclei"], "shrunk": shrunk, "borders": ridges["borders"]}
    maps = {name: row.astype(np.float32)[None, None].repeat(3, 1) for name, row in rows.items()}
    # Borders are subtracted in both: let them win over the ridge of the nuclei map.
    if elevation == "borders":
        maps["nuclei"][:] = 1
    representation = ShrunkBorders(
        elevation=elevation, marker_threshold=0.7, min_marker_px=1, min_object_px=1
    )
    row = representation.decode(maps, SPACING)[1]
    assert row[: first - 1].tolist() == [row[0]] * (first - 1)
    assert row[first + 1 :].tolist() == [row[-1]] * (12 - first)
    assert row[0] != row[-1]


def test_the_losses_by_hand():
    """A map of one half everywhere: cross-entropy is log 2; Dice of n targets among N pixels follows."""
    targets = {k: torch.from_numpy(v)[None] for k, v in ShrunkBorders().encode(ROW, SPACING).items()}
    logits = {k: torch.zeros_like(v) for k, v in targets.items()}
    terms = ShrunkBorders(losses="sum").loss(logits, targets, torch.ones(1, 1, *ROW.shape))
    for head, target in targets.items():
        assert float(terms[f"{head}/cross_entropy"]) == pytest.approx(np.log(2))
        inside = float(target.sum())
        # 1 is added above and below, for maps without any object.
        dice = (2 * 0.5 * inside + 1) / (0.5 * ROW.size + inside + 1)
        assert float(terms[f"{head}/dice"]) == pytest.approx(1 - dice, abs=1e-6)


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
