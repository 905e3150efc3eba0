"""Facts about classes, by hand."""

import numpy as np
import pytest

from morula.data.sample import Image
from morula.errors import InputError
from morula.planning.classes import class_facts, class_intensities, measure_classes


def sample(labels: list[list[int]], pixels: list[list[int]] | None = None):
    array = np.array(labels, np.int32)
    image = np.zeros((1, *array.shape)) if pixels is None else np.array([pixels], np.float32)
    return measure_classes(Image(image, ("CT",)), array)


def test_pieces_and_shares_of_every_class() -> None:
    measured = sample([[1, 1, 0, 1, 9], [0, 0, 0, 9, -1]])
    assert measured.pieces == {1: 2, 9: 2}
    assert measured.shares == {1: 0.3, 9: 0.2}
    whole = sample([[1, 1, 1, 0, 9], [0, 0, 0, 9, 9]])
    first, second = class_facts([measured, whole, sample([[0, 0]])], {"liver": 1, "spleen": 9})
    assert (first.name, first.label, first.n_images, first.n_whole) == ("liver", 1, 2, 1)
    assert (second.name, second.n_images, second.n_whole) == ("spleen", 2, 1)
    assert first.share == pytest.approx(0.3)


def test_names_are_made_up_only_where_there_are_none() -> None:
    assert [item.name for item in class_facts([sample([[3, 0, 1]])], {})] == ["class 1", "class 3"]
    with pytest.raises(InputError, match=r"hold the label 3, which has no name; the classes are: 1 liver"):
        class_facts([sample([[3, 0, 1]])], {"liver": 1})
    with pytest.raises(InputError, match="hold no class"):
        class_facts([sample([[0, 0]])], {})


def test_intensities_inside_classes_only() -> None:
    pixels = [[100, 200, -1000, 300, 0]]
    rows = class_intensities([sample([[1, 1, 0, 2, -1]], pixels), sample([[0, 0]])])
    low, high, mean, deviation = rows[0]
    assert (low, high) == (101, 299)
    assert mean == 200
    assert deviation == pytest.approx(np.std([100, 200, 300]), rel=1e-5)
    two = measure_classes(Image(np.zeros((2, 1, 2)), ("a", "b")), np.ones((1, 2), np.int32))
    assert class_intensities([sample([[1]]), two]) == ()
