"""What can be wrong with labels, by hand."""

from pathlib import Path

import numpy as np

from morula.data.label_checks import check_labels, measure_labelling


def kinds(labels: list[list[int]], stored: type = np.uint16) -> list[str]:
    array = np.kron(np.array(labels, np.int32), np.ones((3, 3), np.int32))
    labelling = measure_labelling(Path("a.tif"), np.dtype(stored), array)
    return [problem.kind for problem in check_labels(labelling, "a")]


def test_sizes_and_pieces_are_counted() -> None:
    labels = np.array([[5, 5, 0, 5], [0, 0, 9, 0], [-1, 9, 9, 0]], np.int32)
    labelling = measure_labelling(Path("a.tif"), np.dtype(np.int16), labels)
    assert labelling.ids.tolist() == [5, 9]
    assert labelling.sizes.tolist() == [3, 3]
    assert labelling.pieces.tolist() == [2, 1]
    assert labelling.strays.tolist() == [1, 0]


def test_pieces_that_touch_at_a_corner_are_one() -> None:
    assert kinds([[1, 0], [0, 1]]) == []


def test_what_is_fine() -> None:
    assert kinds([[1, 7, 0], [0, 300, 0]]) == []
    assert kinds([[1, 1], [1, 2]]) == ["labelled background"]
    assert kinds([[1, 1, 2], [1, 1, 2]]) == []


def test_a_single_id_in_many_pieces_is_a_mask() -> None:
    assert kinds([[1, 0, 1, 0, 1]]) == ["binary mask"]
    assert kinds([[1, 0, 1]]) == ["several pieces"]
    assert kinds([[1, 0, 1, 0, 1, 0, 2]]) == ["several pieces"]


def test_nothing_there() -> None:
    assert kinds([[0, 0], [0, 0]]) == ["no objects"]
    assert kinds([[0, -1], [0, 0]]) == ["no objects"]
    assert kinds([[-1, -1], [-1, -1]]) == ["nothing annotated"]


def test_all_ids_of_8_bits_are_an_overflow_only_in_8_bits() -> None:
    ids = np.arange(1, 256).reshape(15, 17).tolist()
    assert "8-bit overflow" in kinds(ids, np.uint8)
    assert "8-bit overflow" not in kinds(ids, np.uint16)
    ids[0][0] = 0
    ids[0][1] = 0
    assert "8-bit overflow" not in kinds(ids, np.uint8)


def test_tiny_objects_are_named_by_their_ids() -> None:
    labels = np.zeros((20, 20), np.int32)
    labels[::4, ::4] = np.arange(1, 26).reshape(5, 5)
    labelling = measure_labelling(Path("a.tif"), np.dtype(np.uint8), labels)
    (problem,) = check_labels(labelling, "a")
    assert problem.kind == "very small objects"
    assert "fewer than 5 pixels: 25 (ids 1, 2, 3, 4, 5, ...)" in problem.message


def test_stacks_are_checked_alike() -> None:
    labels = np.zeros((6, 9, 9), np.int32)
    labels[:2, :4, :4] = labels[4:, :3, :3] = 3
    labelling = measure_labelling(Path("a.tif"), np.dtype(np.float32), labels)
    assert [problem.kind for problem in check_labels(labelling, "a")] == ["float labels", "several pieces"]
    assert labelling.strays.tolist() == [18]


def test_classes_may_lie_in_pieces_but_have_names() -> None:
    labels = np.array([[1, 0, 1, 0, 7, 0, 9]], np.int32)
    labelling = measure_labelling(Path("a.tif"), np.dtype(np.uint8), labels)
    assert check_labels(labelling, "a", {1, 7, 9}) == []
    assert check_labels(labelling, "a", ()) == []
    (problem,) = check_labels(labelling, "a", {1, 9})
    assert problem.severity == "error"
    assert "holds the label 7, which is no class" in problem.message
    assert "names 1, 9" in problem.message
