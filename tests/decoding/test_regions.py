"""The tree of candidate objects, and the choice among them."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from morula.decoding.region_features import FEATURES, OWN, describe
from morula.decoding.regions import LEAST_PX, LEVELS, Regions, nested_regions
from morula.labels.components import connected_components


def two_peaks(saddle: float) -> np.ndarray:
    """Markers of two squares of 4 x 4 px that meet at a height of `saddle`."""
    markers = np.full((6, 12), -0.5, np.float32)
    markers[1:5, 1:5] = 0.92
    markers[1:5, 7:11] = 0.75
    markers[1:5, 5:7] = saddle
    return markers


def regions_of(markers: np.ndarray, inside: np.ndarray | None = None) -> Regions:
    inside = np.ones_like(markers) if inside is None else inside
    return nested_regions(inside, markers, -markers, 0.5)


def test_regions_that_part_are_children_of_the_one_that_they_leave():
    regions = regions_of(two_peaks(0.3))
    assert regions.parents.tolist() == [0, 3, 3, 0]
    assert regions.leaves.tolist() == [1, 2]
    # They part between 0.2 and 0.4; the peaks exceed 0.9 and 0.7, and vanish below the next threshold.
    assert [LEVELS[n - 1] for n in regions.gone.tolist()[1:]] == [0.9, 0.7, 0.2]
    assert [LEVELS[n - 1] for n in regions.born.tolist()[1:3]] == [0.4, 0.4]
    assert regions.born[3] == 0


def test_fragments_fill_the_foreground():
    inside = np.ones((6, 12), np.float32)
    inside[0] = 0
    regions = regions_of(two_peaks(0.3), inside)
    np.testing.assert_array_equal(regions.fragments > 0, inside > 0.5)
    assert set(regions.fragments[3, :5]) == {1}
    assert set(regions.fragments[3, 7:]) == {2}


def test_small_regions_are_no_candidates():
    markers = np.full((9, 9), -0.5, np.float32)
    markers.flat[: LEAST_PX - 1] = 0.96
    inside = (markers > 0).astype(np.float32)
    assert len(regions_of(markers, inside).parents) == 1
    markers.flat[:LEAST_PX] = 0.96
    inside = (markers > 0).astype(np.float32)
    assert regions_of(markers, inside).parents.tolist() == [0, 0]


@pytest.mark.parametrize("shape", [(40, 50), (12, 20, 22)])
def test_every_node_is_a_component_above_a_threshold(shape: tuple[int, ...]):
    """Checked with scipy's components, threshold by threshold."""
    rng = np.random.default_rng(3)
    markers = ndimage.gaussian_filter(rng.normal(size=shape), 2)
    markers = (markers / np.abs(markers).max()).astype(np.float32)
    regions = regions_of(markers)
    expected = set()
    for mask in (np.ones(shape, bool), *(markers > level for level in LEVELS)):
        found, _ = ndimage.label(mask)
        sizes = np.bincount(found.ravel())
        large = np.flatnonzero(sizes >= LEAST_PX)
        expected |= {frozenset(np.flatnonzero(found.ravel() == i).tolist()) for i in large if i}
    leaves = [each for each in expected if not any(other < each for other in expected)]
    assert len(regions.leaves) == len(leaves)
    # A node with several children is one that no other separates from them.
    branching = {
        each
        for each in expected
        if len([other for other in expected if other < each and not any(other < m < each for m in expected)])
        > 1
    }
    assert len(regions.parents) - 1 == len(leaves) + len(branching)
    for leaf in leaves:
        assert len({regions.fragments.flat[i] for i in leaf}) == 1


@st.composite
def forests(draw: st.DrawFn) -> Regions:
    """Small trees; every leaf has one pixel."""
    count = draw(st.integers(1, 9))
    parents = [0]
    for node in range(1, count + 1):
        parents.append(draw(st.integers(node + 1, count)) if node < count and draw(st.booleans()) else 0)
    array = np.array(parents, np.int32)
    zeros = np.zeros(count + 1, np.int32)
    bare = Regions(np.zeros((1, 1), np.int32), array, zeros, zeros)
    return Regions(bare.leaves[None], array, zeros, zeros)


def is_below(parents: np.ndarray, node: int, other: int) -> bool:
    while node:
        node = int(parents[node])
        if node == other:
            return True
    return False


@given(forests(), st.integers(0, 2**32 - 1))
def test_no_other_choice_has_a_higher_sum(regions: Regions, seed: int):
    quality = np.random.default_rng(seed).random(len(regions.parents)).astype(np.float32)
    labels, kept = regions.choose(quality, 0.3)
    nodes = range(1, len(regions.parents))
    best = 0.0
    for size in range(1, len(regions.parents)):
        for chosen in combinations(nodes, size):
            apart = not any(
                is_below(regions.parents, a, b) or is_below(regions.parents, b, a)
                for a, b in combinations(chosen, 2)
            )
            if apart:
                best = max(best, float(sum(quality[list(chosen)].astype(float) - 0.3)))
    assert float(np.sum(kept.astype(float) - 0.3)) == pytest.approx(best, abs=1e-6)
    assert sorted(set(labels.ravel().tolist()) - {0}) == list(range(1, len(kept) + 1))


def test_sums_go_up_the_tree():
    regions = regions_of(two_peaks(0.3))
    values = np.array([[7.0], [1.0], [10.0], [100.0]])
    assert regions.gather(values)[:, 0].tolist() == [7.0, 1.0, 10.0, 111.0]


def test_features_by_hand():
    """Two squares of 4 x 6 px, side by side, that are all there is."""
    core = np.full((4, 12), 0.75, np.float32)
    core[:, :6] = 0.96
    border = np.zeros((4, 12), np.float32)
    border[:, 5:7] = 0.5
    inside = np.full((4, 12), 0.9, np.float32)
    regions = nested_regions(inside, core - border, border - inside, 0.5)
    assert regions.parents.tolist() == [0, 3, 3, 0]
    rows = [dict(zip(FEATURES, row.tolist(), strict=True)) for row in describe(regions, inside, core, border)]
    left, whole = rows[1], rows[3]
    assert left["log_size"] == pytest.approx(np.log(24))
    assert left["log_relative_size"] == pytest.approx(0)
    assert whole["log_relative_size"] == pytest.approx(np.log(2))
    assert left["inside"] == pytest.approx(0.9)
    assert left["core"] == pytest.approx(0.96)
    assert left["border"] == pytest.approx(4 * 0.5 / 24)
    assert left["marked"] == pytest.approx(20 / 24)
    assert left["sure"] == 1
    assert left["peak"] == pytest.approx(0.96)
    # All faces of the left half within the image are those towards the right one.
    assert left["contact"] == 1
    assert left["contact_border"] == pytest.approx(0.5)
    assert (left["has_seam"], whole["has_seam"]) == (0, 1)
    assert whole["contact"] == 0
    assert whole["seam"] == pytest.approx(4 / np.sqrt(48))
    assert whole["seam_border"] == pytest.approx(0.5)
    assert whole["seam_marker"] == pytest.approx(0.25)
    assert whole["seam_inside"] == pytest.approx(0.9)
    # Variances of 4 and 6 pixels in a row, (n^2 - 1) / 12, and 1 / 12 for a pixel's own.
    assert left["log_elongation"] == pytest.approx(np.log((35 / 12 + 1 / 12) / (15 / 12 + 1 / 12)), abs=1e-5)
    assert left["log_leaves"] == 0
    assert whole["log_leaves"] == pytest.approx(np.log(2))
    assert left["gone"] == pytest.approx(0.95)
    assert (left["has_parent"], left["has_parts"]) == (1, 0)
    assert (whole["has_parent"], whole["has_parts"]) == (0, 1)
    for name in OWN:
        assert left[f"parent_{name}"] == whole[name]
        assert (left[f"parts_{name}"], whole[f"parent_{name}"]) == (0, 0)
        # Both halves are as large.
        assert whole[f"parts_{name}"] == pytest.approx((left[name] + rows[2][name]) / 2, abs=1e-6)


@pytest.mark.parametrize("ndim", [2, 3])
def test_an_ellipse_fills_its_ellipse(ndim: int):
    """pi r^2 in the plane, 4/3 pi r^3 in space; pixels make it a little coarse."""
    grid = np.indices((31,) * ndim) - 15
    ball = (np.sqrt((grid**2).sum(0)) <= 12).astype(np.float32)
    regions = nested_regions(ball, 2 * ball - 1, -ball, 0.5)
    row = describe(regions, ball, ball, np.zeros_like(ball))[1]
    assert row[FEATURES.index("log_ellipse")] == pytest.approx(0, abs=0.02)
    assert row[FEATURES.index("log_elongation")] == pytest.approx(0, abs=0.01)


def test_nothing_is_no_tree():
    nothing = np.zeros((5, 5), np.float32)
    regions = nested_regions(nothing, nothing, nothing, 0.5)
    assert regions.parents.tolist() == [0]
    assert describe(regions, nothing, nothing, nothing).shape == (1, len(FEATURES))
    labels, quality = regions.choose(np.zeros(1, np.float32), 0.2)
    assert not labels.any()
    assert quality.size == 0


def test_levels_between_images_agree_with_components():
    """The tree's roots are the components of the foreground."""
    rng = np.random.default_rng(0)
    inside = (ndimage.gaussian_filter(rng.normal(size=(60, 60)), 2) > 0).astype(np.float32)
    regions = regions_of(inside * 0.96, inside)
    large = np.bincount(connected_components(inside > 0.5).ravel())[1:] >= LEAST_PX
    assert int((regions.parents[1:] == 0).sum()) == int(large.sum())
