"""The choice among nested regions: its arithmetic, its file, and its decoding."""

import shutil

import numpy as np
import pytest

from morula.decoding.region_features import FEATURES
from morula.errors import InputError
from morula.prediction.large import cut_blocks, decode_blocks
from morula.prediction.scorer import FAR, Scorer, has_regions
from morula.prediction.shipped import SCORER, fingerprint_of, models, shelf
from morula.representations import read_representation
from synthetic import touching_balls

COUNT = len(FEATURES)
UNION = {
    "kind": "union",
    "decoder": "borders",
    "parts": {"distance": {"kind": "signed_distance"}, "borders": {"kind": "shrunk_borders"}},
}


def linear(column: str, slope: float, offset: float = 0.0, *, members: int = 1, least: float = 0.5) -> Scorer:
    """Quality is the logistic function of one feature."""
    weights = np.zeros((members, COUNT, 1), np.float32)
    weights[:, FEATURES.index(column)] = slope
    mean, scale = np.zeros((members, COUNT), np.float32), np.ones((members, COUNT), np.float32)
    offsets = np.full((members, 1), offset, np.float32)
    return Scorer(mean, scale, ((weights, offsets),), least, tuple((f"im{i}",) for i in range(members)), 0.7)


def logistic(x: float) -> float:
    return 1 / (1 + np.exp(-x))


def test_quality_by_hand():
    features = np.zeros((2, COUNT), np.float32)
    features[:, FEATURES.index("peak")] = (0.5, 100)
    quality = linear("peak", 2.0, -0.3).quality(features)
    np.testing.assert_allclose(quality, [logistic(0.7), logistic(2 * FAR - 0.3)], rtol=1e-5)


def test_layers_are_rectified_in_between_and_perceptrons_averaged():
    first = np.zeros((2, COUNT, 2), np.float32)
    first[:, 0] = (1, -1)
    second = np.array([[[1], [10]], [[2], [20]]], np.float32)
    zeros = np.zeros((2, COUNT), np.float32)
    scorer = Scorer(
        zeros,
        zeros + 2,
        ((first, np.zeros((2, 2), np.float32)), (second, np.zeros((2, 1), np.float32))),
        0.1,
        (("a",), ("b",)),
    )
    features = np.zeros((1, COUNT), np.float32)
    features[0, 0] = 0.25
    expected = (logistic(0.5) + logistic(1.0)) / 2
    assert scorer.quality(features)[0] == pytest.approx(expected)
    assert scorer.without("b").quality(features)[0] == pytest.approx(logistic(1.0))
    assert scorer.without("c") is scorer


def test_a_file_gives_the_same_choice_back(tmp_path):
    scorer = linear("inside", 1.5, -1.0, members=3, least=0.25)
    scorer.save(tmp_path)
    again = Scorer.load(tmp_path)
    assert again is not None
    assert (again.least, again.unseen, again.score) == (0.25, (("im0",), ("im1",), ("im2",)), 0.7)
    features = np.random.default_rng(0).normal(size=(9, COUNT)).astype(np.float32)
    np.testing.assert_array_equal(again.quality(features), scorer.quality(features))
    assert Scorer.load(tmp_path / "elsewhere") is None


@pytest.mark.parametrize("how", ["cut", "other"])
def test_a_broken_file_is_named(tmp_path, monkeypatch, how):
    linear("inside", 1.0).save(tmp_path)
    path = tmp_path / SCORER
    if how == "cut":
        path.write_bytes(path.read_bytes()[:100])
    else:
        monkeypatch.setattr("morula.prediction.scorer.FEATURES", ("size",))
    message = r"scorer\.safetensors (is broken|was made by another version).* Delete it"
    with pytest.raises(InputError, match=message):
        Scorer.load(tmp_path)


def test_only_shrunk_borders_have_regions():
    assert has_regions(read_representation(UNION))
    other = read_representation({**UNION, "decoder": "distance"})
    assert not has_regions(other)
    with pytest.raises(InputError, match="signed_distance decodes"):
        linear("inside", 1.0).decode({"distance.distance": np.zeros((1, 4, 4), np.float32)}, other)


@pytest.mark.parametrize("ndim", [2, 3])
def test_blocks_are_decoded_as_the_whole_image_is(ndim: int):
    labels = touching_balls(ndim, shape=150 if ndim == 2 else 64, radius=9 if ndim == 2 else 7)
    representation = read_representation({"kind": "shrunk_borders"})
    maps = representation.encode(labels, (1.0,) * ndim)
    # Small parts of objects are better than clumps of them.
    scorer = linear("log_leaves", -2.0, 1.0)
    whole, quality = scorer.decode(maps, representation)
    assert whole.max() == len(quality) == labels.max()
    blocks = cut_blocks(labels.shape, 24 if ndim == 2 else 10, 1, whole=0, block=1)
    assert len(blocks) > 1
    found = decode_blocks(iter([(0, maps)]), blocks, labels.shape, representation, (1.0,) * ndim, scorer)
    assert found.labels.max() == whole.max()
    assert ((found.labels > 0) == (whole > 0)).all()
    np.testing.assert_allclose(sorted(found.confidence.values()), sorted(quality.tolist()), atol=1e-4)


def test_what_is_no_better_than_the_least_is_left_out():
    labels = touching_balls(2, shape=60, radius=9)
    representation = read_representation({"kind": "shrunk_borders"})
    maps = representation.encode(labels, (1.0, 1.0))
    found, quality = linear("log_leaves", 0.0, 0.0, least=0.5).decode(maps, representation)
    assert not found.any()
    assert quality.size == 0


def test_a_shipped_model_is_another_one_with_another_scorer(tmp_path):
    assert all(Scorer.load(shelf() / name) for name in models())
    copy = shutil.copytree(shelf() / "generalist", tmp_path / "copy")
    before = fingerprint_of(copy)
    (copy / SCORER).unlink()
    assert fingerprint_of(copy) != before
