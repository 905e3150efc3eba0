"""From an object's score to the probability that its IoU with a true object is 0.5 or more.

Isotonic regression of hits on scores (Zadrozny and Elkan 2002, https://doi.org/10.1145/775047.775151), made
on objects of images that the network was not trained on, and kept as a few points of a rising curve.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64
from pydantic import model_validator

from morula.data.files import write_text
from morula.errors import InputError
from morula.labels.matching import pairs_of_overlap
from morula.labels.overlap import overlap_table
from morula.planning.modality import APPEARANCE
from morula.prediction.shipped import CALIBRATION
from morula.spec import Spec, dump_toml, read_toml, validate
from morula.types import Labels

FEWEST = 50
"""Objects below which there is no calibration: it would be noise."""

BINS = 10
"""Bins of the reliability diagram, equally wide."""


class Calibration(Spec, frozen=True):
    """A rising curve from score to probability, straight between its points.

    The other fields are about whole images; `morula.prediction.reliability` fits and uses them.
    """

    score: tuple[float, ...]
    probability: tuple[float, ...]

    unexplained: float = 1.0
    """`Segmentation.unexplained` that is usual: 95 % of the validation images have less."""

    undecided: float = 0.0
    """F1 that an image loses per unit of `Segmentation.undecided`, beyond what confidence says."""

    seen: tuple[tuple[float, ...], ...] = ()
    """`morula.planning.modality.appearance` of the images that the network was trained on, thinned."""

    @model_validator(mode="after")
    def _points_rise(self) -> "Calibration":
        lengths_agree = len(self.score) == len(self.probability) >= 1
        if not (lengths_agree and np.all(np.diff(self.score) > 0) and np.all(np.diff(self.probability) >= 0)):
            msg = "score and probability need equally many numbers, both rising"
            raise ValueError(msg)
        if any(len(row) != len(APPEARANCE) for row in self.seen):
            msg = f"each row of seen needs {len(APPEARANCE)} numbers: {', '.join(APPEARANCE)}"
            raise ValueError(msg)
        return self

    def __call__(self, score: float) -> float:
        """The probability of an object with this score."""
        return float(np.interp(score, self.score, self.probability))

    @classmethod
    def load(cls, folder: Path) -> "Calibration | None":
        """That of a model folder; None when there is none.

        Raises:
            InputError: The file is broken.
        """
        path = folder / CALIBRATION
        if not path.exists():
            return None
        table = read_toml(path)
        try:
            return validate(cls, table)
        except InputError as error:
            msg = f"{path} is broken: {error}. Delete it: confidence is the plain score then."
            raise InputError(msg) from error

    def save(self, folder: Path) -> None:
        """Write it into a model folder."""
        write_text(folder / CALIBRATION, dump_toml(self.model_dump()))


def hits(truth: Labels, predicted: Labels, confidence: dict[int, float]) -> list[tuple[float, bool]]:
    """Score of every predicted object, and whether it has a true partner at IoU 0.5.

    Objects that lie wholly where nothing is annotated are left out.
    """
    overlap = overlap_table(truth, predicted)
    matched = set(pairs_of_overlap(overlap, 0.5)[1].tolist())
    return [(confidence[id_], id_ in matched) for id_ in overlap.predicted_objects[0].tolist()]


def fit(found: Sequence[tuple[float, bool]]) -> Calibration | None:
    """The curve that fits scores and hits of many objects; None for fewer than `FEWEST`."""
    # scipy.optimize takes longer to load than all else that prediction needs.
    from scipy.optimize import isotonic_regression

    if len(found) < FEWEST:
        return None
    scores = np.array([score for score, _ in found])
    # One hit below all and one miss above all: no finite sample makes an object certain.
    x = np.concatenate([[scores.min()], scores, [scores.max()]])
    y = np.concatenate([[1.0], [float(hit) for _, hit in found], [0.0]])
    # Of equal scores the hits come first, so that all of them share one level.
    order = np.lexsort((-y, x))
    levels = isotonic_regression(y[order]).x
    knots, probabilities = _centres(x[order], levels)
    return Calibration(score=tuple(knots.tolist()), probability=tuple(probabilities.tolist()))


def _centres(x: np.ndarray, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean score and level of every step of a rising staircase, scores strictly rising."""
    steps, which = np.unique(np.round(levels, 4), return_inverse=True)
    centres = np.round(np.bincount(which, x) / np.bincount(which), 5)
    kept = np.concatenate([[True], np.diff(centres) > 0])
    return centres[kept], steps[kept]


def expected_calibration_error(
    probability: Float64[np.ndarray, " objects"], hit: Bool[np.ndarray, " objects"]
) -> tuple[float, list[dict[str, float | int]]]:
    """Mean distance between probability and share of hits over bins, weighted by objects, and the bins.

    Naeini et al. 2015, https://doi.org/10.1609/aaai.v29i1.9602.

    Returns:
        The error, and per bin that holds objects ``n``, mean ``probability`` and share of ``hits``.
    """
    place = np.minimum((probability * BINS).astype(int), BINS - 1)
    rows = [
        {
            "n": int((place == k).sum()),
            "probability": float(probability[place == k].mean()),
            "hits": float(hit[place == k].mean()),
        }
        for k in np.unique(place)
    ]
    gaps = sum(row["n"] * abs(row["probability"] - row["hits"]) for row in rows)
    return gaps / max(len(hit), 1), rows
