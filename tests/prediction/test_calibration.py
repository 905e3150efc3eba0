from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echo import echo_model
from morula.data.sample import Image
from morula.errors import InputError
from morula.prediction.calibration import (
    Calibration,
    expected_calibration_error,
    fit,
    hits,
)

OBJECTS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=50, max_size=120)


def drawn(n: int, seed: int) -> list[tuple[float, bool]]:
    """Objects whose score s is a hit with probability s squared."""
    rng = np.random.default_rng(seed)
    scores = rng.random(n)
    return [(float(s), bool(hit)) for s, hit in zip(scores, rng.random(n) < scores**2, strict=True)]


def test_the_curve_is_found():
    curve = fit(drawn(20_000, 0))
    assert curve is not None
    for score in (0.2, 0.5, 0.8):
        assert curve(score) == pytest.approx(score**2, abs=0.04)


@given(OBJECTS)
def test_rises_and_stays_a_probability(found: list[tuple[float, bool]]):
    curve = fit(found)
    assert curve is not None
    values = [curve(score) for score in np.linspace(0, 1, 30)]
    assert all(a <= b for a, b in pairwise(values))
    assert min(values) >= 0
    assert max(values) <= 1


def test_no_finite_sample_is_certain():
    curve = fit([(0.9, True)] * 99)
    assert curve is not None
    assert 0.9 < curve(0.9) < 1


def test_equal_scores_get_their_share_of_hits_in_whatever_order():
    found = [(0.5, hit) for hit in [False] * 60 + [True] * 40]
    for order in (found, found[::-1]):
        curve = fit(order)
        assert curve is not None
        assert curve(0.5) == pytest.approx(41 / 102, abs=1e-3)


def test_few_objects_are_not_calibrated():
    assert fit(drawn(49, 0)) is None


def test_error_by_hand():
    probability = np.array([0.95, 0.95, 0.15, 0.15])
    hit = np.array([True, False, False, False])
    error, rows = expected_calibration_error(probability, hit)
    assert error == pytest.approx(0.5 * 0.15 + 0.5 * 0.45)
    assert [(row["n"], row["hits"]) for row in rows] == [(2, 0.0), (2, 0.5)]


def test_hits_by_hand():
    truth = np.array([[1, 1, 1, 0, 2, 2, 0, 0, -1, -1]], np.int32)
    found = np.array([[5, 5, 0, 0, 6, 7, 0, 8, 9, 9]], np.int32)
    scores = {5: 0.5, 6: 0.6, 7: 0.7, 8: 0.8, 9: 0.9}
    judged = dict(hits(truth, found, scores))
    assert judged[0.5]
    assert judged[0.6] != judged[0.7]
    assert not judged[0.8]
    assert 0.9 not in judged


def test_file(tmp_path: Path):
    assert Calibration.load(tmp_path) is None
    curve = Calibration(score=(0.1, 0.7), probability=(0.2, 0.9))
    curve.save(tmp_path)
    assert Calibration.load(tmp_path) == curve
    (tmp_path / "calibration.toml").write_text("score = [0.5, 0.1]\nprobability = [0.1, 0.2]\n")
    with pytest.raises(InputError, match=r"calibration\.toml is broken: .* both rising"):
        Calibration.load(tmp_path)


def test_a_calibrated_model_gives_probabilities():
    pixels = np.full((40, 40), 10, np.uint8)
    pixels[10:20, 10:20] = 200
    image = Image(pixels[None], ("grey",))
    plain = echo_model().segment(image).confidence
    curve = Calibration(score=(0.0, 1.0), probability=(0.25, 0.75))
    calibrated = replace(echo_model(), calibration=curve).segment(image).confidence
    assert calibrated == {id_: pytest.approx(0.25 + 0.5 * score) for id_, score in plain.items()}
    assert calibrated
