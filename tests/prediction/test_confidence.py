import numpy as np
import pytest
from scipy import ndimage

from morula.prediction.confidence import confidence, evidence_sums, needed_heads, score
from morula.representations import read_representation
from morula.representations.foreground import Foreground
from morula.representations.shrunk_borders import ShrunkBorders
from morula.representations.star_convex import StarConvex

SURE = {"foreground": np.array([[[0, 0, 0, 1, 1, 1, 0, 0, 0]]], np.float32)}
LINE = np.array([[0, 0, 0, 4, 4, 4, 0, 0, 0]], np.int32)


def test_a_sharp_object_is_certain_and_keeps_its_id():
    assert confidence(SURE, LINE, Foreground()) == {4: 1.0}


def test_foreground_times_clarity():
    # Inside: 0.6, 0.9, 0.6. One pixel before the faces 0.9, one behind 0.1: the drop is 0.8 on both sides.
    line = np.array([[[0, 0.1, 0.4, 0.6, 0.9, 0.6, 0.4, 0.1, 0]]], np.float32)
    assert confidence({"foreground": line}, LINE, Foreground())[4] == pytest.approx(0.7 * 0.8)


def test_a_blurred_object_is_less_certain_than_a_sharp_one():
    blurred = {"foreground": ndimage.gaussian_filter1d(SURE["foreground"], 1.5, axis=-1)}
    assert 0 < confidence(blurred, LINE, Foreground())[4] < 0.5


def test_touching_objects_are_as_clear_as_the_border_between_them():
    labels = np.array([[1, 1, 1, 2, 2, 2]], np.int32)
    ones, border = np.ones((1, 1, 6), np.float32), np.zeros((1, 1, 6), np.float32)
    border[0, 0, 2:4] = 0.3, 0.7
    maps = {"nuclei": ones, "shrunk": ones, "borders": border}
    assert confidence(maps, labels, ShrunkBorders()) == pytest.approx({1: 0.7, 2: 0.7})


def test_touching_faces_do_not_count_without_a_border_map():
    labels = np.array([[1, 1, 1, 2, 2, 2]], np.int32)
    assert confidence({"foreground": np.ones((1, 1, 6), np.float32)}, labels, Foreground()) == {1: 1, 2: 1}


def test_all_representations_give_a_number_between_zero_and_one(labels: np.ndarray):
    parts = {"a": {"kind": "signed_distance"}, "b": {"kind": "shrunk_borders"}}
    kinds = ["foreground", "interior_boundary", "shrunk_borders", "hover", "signed_distance", "star_convex"]
    tables = [{"kind": kind} for kind in kinds] + [{"kind": "union", "parts": parts, "decoder": "b"}]
    for table in tables:
        representation = read_representation(table)
        maps = representation.encode(labels, (1.0,) * labels.ndim)
        found = confidence(maps, labels, representation)
        assert found.keys() == set(np.unique(labels[labels > 0]).tolist()), table
        assert all(0.3 < value <= 1 for value in found.values()), table


def test_coarse_maps_are_spread_over_their_pixels():
    labels = np.zeros((21, 23), np.int32)
    labels[5:15, 6:16] = 1
    representation = StarConvex(stride=2)
    maps = representation.encode(labels, (1.0, 1.0))
    assert 0.3 < confidence(maps, labels, representation)[1] <= 1


def test_sums_of_parts_add_up(labels: np.ndarray):
    rng = np.random.default_rng(0)
    foreground, border = rng.random((2, *labels.shape)).astype(np.float32)
    whole = evidence_sums(labels, foreground, border, (0, len(labels)))
    parts = [
        evidence_sums(labels, foreground, border, rows) for rows in ((0, 13), (13, 30), (30, len(labels)))
    ]
    np.testing.assert_allclose(sum(parts), whole)
    assert whole[1:, 0].sum() == (labels > 0).sum()


def test_an_id_without_pixels_has_no_confidence():
    assert score(np.zeros((2, 4))).tolist() == [0, 0]


def test_a_union_needs_the_heads_of_its_decoder_only():
    parts = {"a": {"kind": "signed_distance"}, "b": {"kind": "foreground"}}
    union = read_representation({"kind": "union", "parts": parts, "decoder": "b"})
    assert [head.name for head in needed_heads(union, 2)] == ["b.foreground"]
    assert [head.name for head in needed_heads(ShrunkBorders(), 3)] == ["nuclei", "shrunk", "borders"]
