"""Classes and their distances, by hand."""

import numpy as np
import pytest
import torch

from morula.errors import InputError
from morula.representations import read_representation, task_of
from morula.representations.class_distance import ClassDistance


def test_labels_are_the_ids_of_classes() -> None:
    representation = ClassDistance(ids=(7, 3))
    labels = np.array([[0, 7, 7, 3], [0, 0, 3, 3]], np.int32)
    maps = representation.encode(labels, (1.0, 1.0))
    assert maps["classes"][:, 0].tolist() == [[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]
    assert maps["distances"].shape == (2, 2, 4)
    assert np.sign(maps["distances"][0]).tolist() == [[1, -1, -1, 1], [1, 1, 1, 1]]
    np.testing.assert_array_equal(representation.decode(maps, (1.0, 1.0)), labels)


def test_the_second_head_can_be_left_out() -> None:
    representation = ClassDistance(ids=(1, 2), distance=False)
    assert [head.name for head in representation.heads(3)] == ["classes"]
    assert set(representation.encode(np.ones((4, 4), np.int32), (1.0, 1.0))) == {"classes"}
    both = ClassDistance(ids=(1, 2))
    assert [(head.name, head.channels) for head in both.heads(3)] == [("classes", 3), ("distances", 2)]


def test_only_listed_classes_keep_one_piece() -> None:
    labels = np.array([[1, 1, 0, 1, 2, 0, 2, 2]], np.int32)
    maps = ClassDistance(ids=(1, 2)).encode(labels, (1.0, 1.0))
    assert ClassDistance(ids=(1, 2)).decode(maps, (1.0, 1.0)).tolist() == labels.tolist()
    tidied = ClassDistance(ids=(1, 2), keep_largest=(1,)).decode(maps, (1.0, 1.0))
    assert tidied.tolist() == [[1, 1, 0, 0, 2, 0, 2, 2]]
    both = ClassDistance(ids=(1, 2), keep_largest=(2, 1)).decode(maps, (1.0, 1.0))
    assert both.tolist() == [[1, 1, 0, 0, 0, 0, 2, 2]]


@pytest.mark.parametrize(("error", "expected"), [("l2", 0.25), ("l1", 0.5)])
def test_losses_are_those_of_the_paper(error: str, expected: float) -> None:
    representation = ClassDistance(ids=(1,), error=error, distance_weight=3.0)
    target = {
        "classes": torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]).reshape(1, 2, 1, 2),
        "distances": torch.tensor([0.5, -0.5]).reshape(1, 1, 1, 2),
    }
    logits = {"classes": torch.zeros(1, 2, 1, 2), "distances": torch.zeros(1, 1, 1, 2)}
    terms = representation.loss(logits, target, torch.ones(1, 1, 1, 2))
    assert float(terms["distances"]) == pytest.approx(3 * expected)
    assert float(terms["cross_entropy"]) == pytest.approx(np.log(2))
    # The class alone, without background: 2 * 0.5 / (1 + 1), with 1 added above and below.
    assert float(terms["dice"]) == pytest.approx(1 - (2 * 0.5 + 1) / (2 + 1))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"ids": [0]}, "different numbers above 0"),
        ({"ids": [1, 1]}, "different numbers above 0"),
        ({"ids": [1], "keep_largest": [2]}, "keep_largest names 2, which is no class"),
    ],
)
def test_bad_ids_are_refused(table: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_representation({"kind": "class_distance", **table})


def test_every_kind_says_its_task() -> None:
    assert task_of("class_distance") == "semantic"
    assert task_of("hover") == "instances"
    with pytest.raises(InputError, match="Did you mean 'hover'"):
        task_of("hovr")
