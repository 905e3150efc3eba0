"""Would more labels help? What a finished training can say about it.

A network that scores higher on the images it was trained on than on held-out ones has learned something
that holds for the former only: more images would teach it the difference. Where both score alike, more of
the same would hardly change it. This rests on the final network and its own held-out images, costs no
further training, and errs to one side: weights and decoder were chosen on the held-out images, and a
training that was too short has not yet learned what sets the images apart, so that the true gap may be
larger than the one that is seen.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from morula.data.dataset import Dataset
from morula.data.sample import Sample
from morula.evaluation.metrics import match_image, mean_ap
from morula.evaluation.statistics import Interval, gap_of_means
from morula.prediction.model import Model
from morula.training.validation import spread

MOST_IMAGES = 40
"""Training images that are scored, at most; as many as were held out, but at least `FEWEST_IMAGES`."""

FEWEST_IMAGES = 10

FEWEST_HELD_OUT = 5
"""Fewer held-out images say nothing; no training image is scored to be set beside them."""

CLEAR_GAP = 0.03
"""A gap of the DSB score that is worth labelling for."""

SMALL_GAP = 0.05
"""A gap that is smaller than this for certain is not."""


def would_more_labels_help(
    model: Model,
    dataset: Dataset,
    trained_on: Sequence[Sample],
    held_out: Sequence[float],
    n_objects: int,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """The gap between trained-on and held-out images, and what follows from it in a sentence.

    Args:
        model: One network, with its tuned decoder.
        dataset: Reads the images.
        trained_on: The images that this network was trained on; a spread of them is scored.
        held_out: DSB score of each image that it was not trained on.
        n_objects: Labelled objects in the images of `trained_on`.
        progress: Called with (images done, images in all).

    Returns:
        ``n_objects``, ``answer`` (``yes``, ``no`` or ``unknown``) and ``text``, ready for JSON; and, where
        enough images are held out, ``trained_on`` and ``held_out`` (mean scores) and ``gap`` (value, low,
        high).

    Raises:
        InputError: An image cannot be read.
    """
    labelled = f"{n_objects} objects in {len(trained_on)} images labelled to train on"
    chosen = spread(trained_on, images_to_score(len(trained_on), len(held_out)))
    if not chosen:
        text = (
            f"Whether more labels would help cannot be told: {len(held_out)} images are held out, it takes at"
            f" least {FEWEST_HELD_OUT} ({labelled})."
        )
        return {"n_objects": n_objects, "answer": "unknown", "text": text}
    scores = []
    for done, sample in enumerate(chosen, 1):
        found = model.segment(dataset.image(sample), diameter_px="trained").labels
        scores.append(mean_ap(match_image(dataset.labels(sample), found)))
        progress(done, len(chosen))
    gap = gap_of_means(np.array(scores), np.array(held_out))
    answer = judge(gap)
    means = float(np.mean(scores)), float(np.mean(held_out))
    return {
        "trained_on": means[0],
        "held_out": means[1],
        "gap": {"value": gap.value, "low": gap.low, "high": gap.high},
        "n_objects": n_objects,
        "answer": answer,
        "text": _text(answer, means, gap, labelled),
    }


def images_to_score(n_trained_on: int, n_held_out: int) -> int:
    """How many training images are scored: as many as were held out, within limits; none beside too few.

    >>> images_to_score(100, 20), images_to_score(100, 6), images_to_score(100, 60), images_to_score(8, 4)
    (20, 10, 40, 0)
    """
    if n_held_out < FEWEST_HELD_OUT:
        return 0
    return min(MOST_IMAGES, max(FEWEST_IMAGES, n_held_out), n_trained_on)


def judge(gap: Interval) -> str:
    """``yes``, ``no`` or ``unknown`` for a gap of the DSB score with its interval.

    >>> judge(Interval(0.1, 0.04, 0.16)), judge(Interval(0.01, -0.02, 0.04))
    ('yes', 'no')
    >>> judge(Interval(0.1, -0.05, 0.2))
    'unknown'
    """
    if gap.low > 0 and gap.value >= CLEAR_GAP:
        return "yes"
    return "no" if gap.high < SMALL_GAP else "unknown"


def _text(answer: str, means: tuple[float, float], gap: Interval, labelled: str) -> str:
    head = {
        "yes": "More labels would probably help",
        "no": "More labels of the same kind would hardly help; longer training or another recipe may",
        "unknown": "Whether more labels would help cannot be told from so few held-out images",
    }[answer]
    return (
        f"{head}: images trained on score {means[0]:.2f}, held-out ones {means[1]:.2f} (DSB score;"
        f" gap {gap.value:.2f}, 95 % {gap.low:.2f} to {gap.high:.2f}; {labelled})."
    )
