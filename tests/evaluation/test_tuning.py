from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from pydantic import Field, model_validator

from morula.errors import InputError
from morula.evaluation.metrics import score_image
from morula.evaluation.tuning import tune, write_tuned
from morula.labels.components import connected_components
from morula.representations import AnyRepresentation
from morula.representations.base import Head, Representation
from morula.representations.star_convex import StarConvex
from morula.representations.tuned import read_tuned
from morula.spec import Tunable
from morula.types import Labels, Maps, Spacing, Tensors


class Threshold(Representation, frozen=True):
    """Objects are the components above a threshold, if they are large enough."""

    kind: Literal["threshold"] = "threshold"
    threshold: Annotated[float, Field(gt=0, lt=1), Tunable(0.1, 0.9)] = 0.5
    min_size: Annotated[int, Field(ge=0), Tunable(0, 12)] = 0
    untouched: float = 3.0

    @model_validator(mode="after")
    def _bounded(self) -> "Threshold":
        if self.min_size > 9 and self.threshold > 0.8:
            msg = "not both"
            raise ValueError(msg)
        return self

    def heads(self, ndim: int) -> tuple[Head, ...]:
        return (Head("probability", 1, "sigmoid"),)

    def encode(self, labels: Labels, spacing: Spacing) -> Maps:
        return {"probability": (labels > 0)[None].astype(np.float32)}

    def loss(self, logits: Tensors, targets: Tensors, annotated: Any) -> dict[str, Any]:
        return {}

    def decode(self, maps: Maps, spacing: Spacing) -> Labels:
        labels = connected_components(maps["probability"][0] > self.threshold)
        sizes = np.bincount(labels.ravel())
        return np.where(sizes[labels] > self.min_size, labels, 0).astype(np.int32)


class Pair(Representation, frozen=True):
    """Two ways to decode the same map; one of them is upside down."""

    kind: Literal["pair"] = "pair"
    parts: dict[str, AnyRepresentation]
    decoder: str

    def heads(self, ndim: int) -> tuple[Head, ...]:
        return (Head("probability", 1, "sigmoid"),)

    def encode(self, labels: Labels, spacing: Spacing) -> Maps:
        return {"probability": (labels > 0)[None].astype(np.float32)}

    def loss(self, logits: Tensors, targets: Tensors, annotated: Any) -> dict[str, Any]:
        return {}

    def decode(self, maps: Maps, spacing: Spacing) -> Labels:
        chosen = maps["probability"] if self.decoder == "upright" else 1 - maps["probability"]
        return self.parts[self.decoder].decode({"probability": chosen}, spacing)


@pytest.fixture
def examples() -> list[tuple[Maps, Labels]]:
    """Objects that stand out from 0.22 only, with bridges at 0.2 and specks of four pixels."""
    truth = np.zeros((20, 30), np.int32)
    truth[2:8, 2:8], truth[2:8, 10:16], truth[12:18, 4:12] = 1, 2, 3
    probability = np.where(truth > 0, 0.25, 0.02).astype(np.float32)
    probability[4:6, 8:10] = 0.2
    probability[14:16, 20:22] = 0.9
    return [({"probability": probability[None]}, truth)]


def test_the_right_values_are_found(examples: list[tuple[Maps, Labels]]):
    before = score_image(examples[0][1], Threshold().decode(examples[0][0], (1.0, 1.0))).dsb
    best, trials = tune(Threshold(), examples, (1.0, 1.0))
    assert before < 0.1
    assert isinstance(best, Threshold)
    assert 0.2 <= best.threshold < 0.25
    assert best.min_size >= 4
    assert max(trial["dsb"] for trial in trials) == 1
    assert score_image(examples[0][1], best.decode(examples[0][0], (1.0, 1.0))).dsb == 1


def test_the_table_holds_every_setting_once(examples: list[tuple[Maps, Labels]]):
    _, trials = tune(Threshold(), examples, (1.0, 1.0))
    assert trials[0] == {"threshold": 0.5, "min_size": 0, "dsb": trials[0]["dsb"]}
    settings = [(trial["threshold"], trial["min_size"]) for trial in trials]
    assert len(set(settings)) == len(settings)


def test_the_result_is_always_the_same(examples: list[tuple[Maps, Labels]]):
    assert tune(Threshold(), examples * 3, (1.0, 1.0)) == tune(Threshold(), examples * 3, (1.0, 1.0))


def test_progress_stays_below_its_bound_and_ends_at_it(examples: list[tuple[Maps, Labels]]):
    seen: list[tuple[int, int]] = []
    _, trials = tune(Threshold(), examples, (1.0, 1.0), lambda *step: seen.append(step))
    assert [done for done, _ in seen] == [*range(1, len(trials) + 1), len(trials)]
    assert all(done <= total for done, total in seen)
    assert seen[-1] == (len(trials), len(trials))


def test_the_bound_leaves_out_a_decoder_that_is_given_up(examples: list[tuple[Maps, Labels]]):
    parts = {"inverted": Threshold(), "upright": Threshold(threshold=0.23, min_size=5)}
    seen: list[tuple[int, int]] = []
    tune(
        Pair(parts=parts, decoder="inverted"), examples, (1.0, 1.0), progress=lambda *step: seen.append(step)
    )
    totals = [total for _, total in seen]
    assert all(done <= total for done, total in seen)
    # Two starts with two fields each, then one of them.
    assert set(totals[:2]) == {1 + 2 * 23}
    assert set(totals[2:-1]) == {1 + 1 + 23}


def test_coarse_maps_may_reach_beyond_the_image():
    stars = StarConvex(stride=2)
    truth = np.zeros((21, 31), np.int32)
    truth[4:17, 3:15], truth[5:18, 17:29] = 1, 2
    maps = stars.encode(truth, (1.0, 1.0))
    assert stars.decode(maps, (1.0, 1.0)).shape == (22, 32)
    _, trials = tune(stars, [(maps, truth)], (1.0, 1.0))
    assert max(trial["dsb"] for trial in trials) > 0.5


def test_what_is_perfect_stays(examples: list[tuple[Maps, Labels]]):
    start = Threshold(threshold=0.23, min_size=5)
    assert tune(start, examples, (1.0, 1.0))[0] == start


def test_the_decoder_of_a_union_is_chosen_and_only_its_fields_are_tuned(examples: list[tuple[Maps, Labels]]):
    parts = {"inverted": Threshold(), "upright": Threshold()}
    start = Pair(parts=parts, decoder="inverted")
    best, trials = tune(start, examples, (1.0, 1.0))
    assert isinstance(best, Pair)
    assert best.decoder == "upright"
    assert best.parts["inverted"] == Threshold()
    assert score_image(examples[0][1], best.decode(examples[0][0], (1.0, 1.0))).dsb == 1
    assert trials[0] == {
        "decoder": "inverted",
        "parts.inverted.threshold": 0.5,
        "parts.inverted.min_size": 0,
        "dsb": trials[0]["dsb"],
    }


def test_nothing_to_tune_on_is_an_error():
    with pytest.raises(InputError, match="no validation images"):
        tune(Threshold(), [], (1.0, 1.0))


def test_what_is_written_is_read(tmp_path: Path):
    plan = Pair(parts={"inverted": Threshold(), "upright": Threshold()}, decoder="inverted")
    best = Pair(parts={"inverted": Threshold(), "upright": Threshold(threshold=0.3)}, decoder="upright")
    write_tuned(tmp_path / "tuned.toml", best)
    assert read_tuned(tmp_path / "tuned.toml", plan) == best
    assert "untouched" not in (tmp_path / "tuned.toml").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[default]\nthreshhold = 0.4\n", r"'threshhold'.*Did you mean 'threshold'"),
        ("[default]\nthreshold = 1.4\n", r"out of range: threshold"),
        ("[defaults]\nthreshold = 0.4\n", r"'defaults'.*Did you mean 'default'"),
        ("[default.threshold]\nlow = 0.4\n", r"a tuned table"),
        ("[default\n", r"not a TOML file"),
    ],
)
def test_a_bad_file_names_the_key(tmp_path: Path, text: str, message: str):
    (tmp_path / "tuned.toml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_tuned(tmp_path / "tuned.toml", Threshold())
