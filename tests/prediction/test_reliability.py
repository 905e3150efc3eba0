from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echo import echo_model, echo_plan
from morula.data.sample import Image
from morula.errors import InputError
from morula.planning.modality import appearance
from morula.planning.plan import Scaling
from morula.prediction.calibration import Calibration
from morula.prediction.confidence import doubt_sums
from morula.prediction.reliability import (
    APART,
    FAR,
    UNLIKELY,
    Scored,
    calibrate,
    cross_check,
    expected_f1,
    familiarity,
    judge,
    look_first,
    rank_correlation,
    thin,
)
from morula.prediction.segmentation import Segmentation

IDENTITY = Calibration(score=(0.0, 1.0), probability=(0.0, 1.0), unexplained=0.1, undecided=2.0)
SHARES = st.floats(0, 1)


def images(n: int, seed: int = 0, price: float = 0.0) -> list[Scored]:
    """Images of which some are harder: an object's score is its probability of being a hit; F1 is the mean
    score less `price` times what is undecided."""
    rng = np.random.default_rng(seed)
    made = []
    for level in rng.uniform(0.5, 1, n):
        scores = np.clip(rng.normal(level, 0.05, 60), 0, 1)
        undecided = float(rng.uniform(0, 0.1))
        objects = tuple((float(s), bool(rng.random() < s)) for s in scores)
        made.append(Scored(objects, 0.05, undecided, float(scores.mean()) - price * undecided))
    return made


def squares() -> Image:
    pixels = np.full((60, 60), 10, np.uint8)
    pixels[10:22, 10:22] = pixels[30:42, 30:42] = 200
    return Image(pixels[None], ("grey",))


def test_sums_of_doubt_by_hand():
    labels = np.array([[1, 1, 0], [0, 0, 0]], np.int32)
    foreground = np.array([[0.9, 0.8, 0.4], [0.1, 0.0, 1.0]], np.float32)
    border = np.array([[0.5, 0.0, 1.0], [0.2, 0.9, 0.0]], np.float32)
    whole = doubt_sums(labels, foreground, border, (0, 2))
    np.testing.assert_allclose(whole, [3.2, 1.5, 0.5 + 0.2 + 0.1], rtol=1e-6)
    np.testing.assert_allclose(doubt_sums(labels, foreground, None, (0, 1)), [2.1, 0.4, 0.7], rtol=1e-6)
    parts = [doubt_sums(labels, foreground, border, (row, row + 1)) for row in range(2)]
    np.testing.assert_allclose(sum(parts), whole)


def test_reliability_by_hand():
    assert familiarity(IDENTITY, 0.05, FAR) == 1
    assert familiarity(IDENTITY, 0.3, 0.0) == pytest.approx(0.8)
    assert familiarity(IDENTITY, 0.3, 2 * FAR) == pytest.approx(0.4)
    assert expected_f1(IDENTITY, 0.9, 0.1) == pytest.approx(0.7)
    assert expected_f1(IDENTITY, 0.1, 0.5) == 0


@given(SHARES, SHARES, st.floats(0, 2), SHARES)
def test_reliability_is_a_share_and_falls_with_every_doubt(mean: float, a: float, b: float, c: float):
    def reliability(unexplained: float, distance: float, undecided: float) -> float:
        return expected_f1(IDENTITY, mean * familiarity(IDENTITY, unexplained, distance), undecided)

    value = reliability(a, b, c)
    assert 0 <= value <= 1
    assert reliability(min(1.0, a + 0.1), b, c) <= value
    assert reliability(a, b + 0.1, c) <= value
    assert reliability(a, b, c + 0.1) <= value


@pytest.mark.parametrize("price", [0.0, 1.5])
def test_the_price_of_undecided_borders_is_found(price: float):
    found = calibrate(images(40, price=price))
    assert found is not None
    assert found.undecided == pytest.approx(price, abs=0.3)
    assert found.unexplained == pytest.approx(0.05)


def test_few_images_fix_no_price():
    found = calibrate(images(9, price=3.0))
    assert found is not None
    assert found.undecided == 0
    assert calibrate([Scored(((0.5, True),) * 49, 0.0, 0.0, 1.0)]) is None


def test_other_images_judge():
    found = cross_check(images(60, price=2.0))
    assert found is not None
    assert (found["n_objects"], found["n_images"]) == (3600, 60)
    assert found["ece"] < 0.05
    assert found["spearman"] > 0.9
    assert cross_check(images(1)) is None


def test_rank_correlation():
    assert rank_correlation([(1.0, 0.1), (2.0, 0.2), (3.0, 0.9)]) == 1
    assert rank_correlation([(1.0, 0.1), (1.0, 0.2)]) is None
    assert rank_correlation([]) is None


@given(st.lists(st.tuples(SHARES, SHARES), min_size=1, max_size=40))
def test_thinned_rows_stand_for_all(rows: list[tuple[float, float]]):
    kept = np.array(thin(rows))
    rounding = 0.5 * 2**0.5 / 100
    for row in rows:
        assert np.linalg.norm(kept - row, axis=1).min() <= APART + rounding
    assert len(kept) <= len(rows)


def test_scored_by_hand():
    truth = np.array([[1, 1, 0, 2, 2, 0, 3]], np.int32)
    found = np.array([[1, 1, 0, 0, 2, 2, 0]], np.int32)
    scored = Scored.of(truth, Segmentation(found, {1: 0.9, 2: 0.3}, unexplained=0.2, undecided=0.1))
    assert scored == Scored(((0.9, True), (0.3, False)), 0.2, 0.1, 2 / 5)


def test_nothing_found():
    empty = Segmentation(np.zeros((8, 8), np.int32), {})
    for curve in (IDENTITY, None):
        judged = judge(empty, np.zeros((1, 8, 8)), echo_plan(), curve)
        assert (judged.reliability, judged.doubts) == (0.0, ("nothing found",))


def test_improbable_objects_are_left_out():
    labels = np.repeat(np.array([[1, 1, 0, 2, 0, 3, 3]], np.int32), 2, 0)
    found = Segmentation(labels, {1: 0.9, 2: UNLIKELY - 0.01, 3: UNLIKELY})
    judged = judge(found, np.zeros((1, 2, 7)), echo_plan(), IDENTITY)
    np.testing.assert_array_equal(judged.labels, np.repeat([[1, 1, 0, 0, 0, 2, 2]], 2, 0))
    assert judged.labels.dtype == np.int32
    assert judged.confidence == {1: 0.9, 2: UNLIKELY}
    assert "many improbable objects were left out" in judged.doubts
    np.testing.assert_array_equal(found.labels, labels)
    assert judge(found, np.zeros((1, 2, 7)), echo_plan(), None).confidence == found.confidence


def test_a_familiar_image_keeps_its_confidence():
    image = squares()
    curve = IDENTITY.model_copy(update={"seen": (tuple(appearance(image.pixels).tolist()),)})
    found = replace(echo_model(), calibration=curve).segment(image)
    assert found.doubts == ()
    assert found.confidence == echo_model().segment(image).confidence
    mean = np.mean(list(found.confidence.values()))
    assert found.reliability == pytest.approx(mean - 2 * found.undecided, abs=1e-6)


def test_an_image_unlike_the_training_images_is_trusted_less():
    image = squares()
    colour, *others = appearance(image.pixels).tolist()
    far = (colour + 1, *others)
    near = replace(echo_model(), calibration=IDENTITY).segment(image)
    found = replace(echo_model(), calibration=IDENTITY.model_copy(update={"seen": (far,)})).segment(image)
    assert found.doubts == ("unlike the training images",)
    assert found.confidence == {
        id_: pytest.approx(near.confidence[id_] * FAR, abs=1e-3) for id_ in near.confidence
    }
    assert found.reliability is not None
    assert found.reliability < 0.3


def test_doubts_in_words():
    labels = np.zeros((40, 40), np.int32)
    labels[4:16, 4:16] = 1
    pixels = np.zeros((1, 40, 40))
    sure, plan = Segmentation(labels, {1: 0.9}, unexplained=0.05, undecided=0.01), echo_plan()

    def doubts(found: Segmentation) -> tuple[str, ...]:
        return judge(found, pixels, plan, IDENTITY).doubts

    assert doubts(sure) == ()
    assert doubts(replace(sure, confidence={1: 0.4})) == ("most objects are uncertain",)
    assert doubts(replace(sure, confidence={1: 0.55})) == ("many objects are uncertain",)
    assert doubts(replace(sure, unexplained=0.5)) == ("much of what looks like objects was left out",)
    assert doubts(replace(sure, undecided=0.2)) == ("unclear where objects touch",)
    for usual, words in ((3.0, "larger"), (60.0, "smaller")):
        plan = echo_plan(scaling=Scaling(diameter_px=usual))
        assert doubts(sure) == (f"objects {words} than the model knows",)


def test_without_calibration_the_mean_score_is_given():
    found = echo_model().segment(squares())
    assert found.reliability == pytest.approx(np.mean(list(found.confidence.values())))
    assert found.doubts == ()


def row(id_: str, **facts: object) -> dict[str, object]:
    return {"id": id_, "n_objects": 10, "median_diameter_px": 12.0, "reliability": 0.9} | facts


def test_the_least_reliable_is_looked_at_first():
    rows = [row("sure"), row("b", reliability=0.5, doubts=("x",)), row("a", reliability=0.2, doubts=["y"])]
    rows += [{"id": "bad", "failure": "broken", "doubts": ("z",)}]
    assert [(each["id"], why) for each, why in look_first(rows)] == [("a", ["y"]), ("b", ["x"])]


def test_unusual_images_are_looked_at():
    rows = [row(str(k)) for k in range(9)] + [
        row("many", n_objects=400),
        row("wide", median_diameter_px=90.0),
    ]
    assert [(each["id"], why) for each, why in look_first(rows)] == [
        ("many", ["unusually many"]),
        ("wide", ["unusually large"]),
    ]
    assert look_first(rows[5:]) == []


def test_classes_that_are_not_there_are_looked_at():
    assert look_first([{"id": "a", "n_objects": 0, "reliability": None}])[0][1] == ["nothing found"]


def test_files_without_the_new_fields_are_read(tmp_path: Path):
    (tmp_path / "calibration.toml").write_text("score = [0.1, 0.7]\nprobability = [0.2, 0.9]\n")
    loaded = Calibration.load(tmp_path)
    assert loaded is not None
    assert (loaded.unexplained, loaded.undecided, loaded.seen) == (1.0, 0.0, ())
    full = loaded.model_copy(update={"seen": ((0.1,) * 5, (0.3,) * 5), "undecided": 1.5})
    full.save(tmp_path)
    assert Calibration.load(tmp_path) == full
    full.model_copy(update={"seen": ((0.1, 0.2),)}).save(tmp_path)
    with pytest.raises(InputError, match=r"each row of seen needs 5 numbers: colour, .*, steepness"):
        Calibration.load(tmp_path)
