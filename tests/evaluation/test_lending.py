import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import cdist
from skimage.segmentation import expand_labels

from morula.evaluation.lending import lend_labels
from morula.evaluation.metrics import score_image
from synthetic import touching_balls

small = hnp.arrays(np.int32, (6, 7), elements=st.integers(-1, 3))
solid = hnp.arrays(np.int32, (3, 4, 5), elements=st.integers(0, 3))


def row(*ids: int) -> np.ndarray:
    return np.array([ids], np.int32)


@given(small, small)
def test_every_pixel_takes_the_nearest_label_that_can_be_lent(truth: np.ndarray, predicted: np.ndarray):
    check(truth, predicted)


@given(solid, solid)
def test_in_volumes_too(truth: np.ndarray, predicted: np.ndarray):
    check(truth, predicted)


def check(truth: np.ndarray, predicted: np.ndarray) -> None:
    """By brute force over all pairs of pixels."""
    lent, lenders = lend_labels(truth, predicted), np.argwhere((truth > 0) & (predicted > 0))
    if not len(lenders):
        assert (lent == predicted).all()
        return
    assert ((lent > 0) == (predicted > 0)).all()
    for pixel in np.argwhere(predicted > 0):
        distances = cdist(pixel[None], lenders)[0]
        nearest = lenders[distances <= distances.min() + 1e-9]
        assert lent[tuple(pixel)] in truth[tuple(nearest.T)]


def test_agrees_with_scikit_image():
    truth = touching_balls(2)
    predicted = (np.roll(truth, 2, 1) > 0).astype(np.int32)
    lent = expand_labels(np.where(predicted > 0, truth, 0), distance=100) * predicted
    # Ties may go either way.
    assert (lend_labels(truth, predicted) != lent).mean() < 0.01
    turned = lend_labels(np.asfortranarray(truth), np.asfortranarray(predicted))
    assert (turned == lend_labels(truth, predicted)).all()


def test_merged_objects_are_split_as_in_the_truth():
    truth, merged = row(1, 1, 1, 2, 2, 2, 0), row(5, 5, 5, 5, 5, 5, 0)
    score = score_image(truth, merged)
    assert (score.at(0.5).tp, score.lent.tp, score.lent.f1) == (1, 2, 1.0)


def test_a_lost_object_stays_lost():
    score = score_image(row(1, 1, 0, 2, 2), row(1, 1, 0, 0, 0))
    assert (score.lent.tp, score.lent.fp, score.lent.fn) == (1, 0, 1)


def test_with_nothing_to_lend_false_objects_stay_false():
    score = score_image(row(0, 0, 0, 0), row(1, 0, 2, 2))
    assert (score.lent.tp, score.lent.fp, score.lent.fn) == (0, 2, 0)
