from pathlib import Path

import cv2
import numpy as np
import pytest

from morula.data.formats import write_labels
from morula.data.layouts import open_dataset
from morula.data.sample import Image
from morula.evaluation.comparison import Entrant, score_contest
from morula.evaluation.disputes import (
    PANEL_PX,
    SMALLEST_PX,
    disputed_window,
    find_dispute,
    most_disputed,
    write_disputes,
)
from synthetic import picture_of


def squares(side: int, *corners: tuple[int, int], size: int = 8) -> np.ndarray:
    labels = np.zeros((side, side), np.int32)
    for number, (y, x) in enumerate(corners, 1):
        labels[y : y + size, x : x + size] = number
    return labels


CORNERS = ((4, 4), (4, 100), (100, 4), (100, 100))


def test_the_window_is_where_they_disagree():
    truth = squares(128, *CORNERS)
    lost = squares(128, *CORNERS[:2], CORNERS[3])
    rows, columns = disputed_window(truth, [truth, lost], 32)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (32, 32)
    assert rows.start <= 100 < 108 <= rows.stop
    assert columns.start <= 4 < 12 <= columns.stop


def test_what_one_of_them_invents_is_a_dispute():
    truth = squares(128, *CORNERS)
    rows, columns = disputed_window(truth, [truth, squares(128, *CORNERS, (50, 50))], 24)
    assert rows.start <= 50 < 58 <= rows.stop
    assert columns.start <= 50 < 58 <= columns.stop


def test_where_all_agree_the_common_error_is_shown():
    truth = squares(128, *CORNERS)
    lost = squares(128, *CORNERS[:3])
    rows, columns = disputed_window(truth, [lost, lost], 24)
    assert (truth[rows, columns] == 4).sum() == 64


def test_the_dispute_stands_in_the_middle():
    truth = squares(128, *CORNERS, (60, 60))
    lost = squares(128, *CORNERS)
    rows, columns = disputed_window(truth, [truth, lost], 32)
    assert abs((rows.start + rows.stop) / 2 - 64) <= 1
    assert abs((columns.start + columns.stop) / 2 - 64) <= 1


def test_a_window_never_leaves_the_image():
    truth = squares(20, (2, 2))
    assert disputed_window(truth, [truth, np.zeros_like(truth)], 96) == (slice(0, 20), slice(0, 20))


def test_a_dispute_shows_the_truth_and_everybody():
    truth = squares(160, *CORNERS)
    found = {"one": truth, "two": squares(160, *CORNERS[:3])}
    dispute = find_dispute("im", Image(picture_of(truth)[None], ("grey",)), truth, found)
    assert dispute.truth.shape == (SMALLEST_PX, SMALLEST_PX)
    panels = dispute.panels()
    assert list(panels) == ["", "one", "two"]
    assert all(panel.shape == (PANEL_PX, PANEL_PX, 3) for panel in panels.values())
    assert np.array_equal(panels[""], panels["one"])
    assert not np.array_equal(panels["one"], panels["two"])
    assert dispute.scores({})["one"] == 1 > dispute.scores({})["two"]


def test_a_volume_is_cut_in_its_fullest_plane():
    truth = np.stack([squares(40, (2, 2)), squares(40, (2, 2), (20, 20)), squares(40)])
    image = Image(np.zeros((1, 5, 5, 5), np.uint8), ("grey",))
    dispute = find_dispute("im", image, truth, {"one": truth})
    assert np.array_equal(dispute.truth, truth[1])
    assert dispute.image.pixels.shape == (1, 40, 40)


@pytest.fixture
def entrants(tmp_path: Path, predicted: Path, truth: np.ndarray) -> list[Entrant]:
    for number, name in enumerate(("a", "b", "plate <1>/c & d", "e")):
        write_labels(tmp_path / "perfect" / f"{name}.tif", np.roll(truth, number, 1))
    return [Entrant("perfect", (tmp_path / "perfect",)), Entrant("worse", (predicted,))]


def test_modalities_take_turns(dataset: Path, entrants: list[Entrant]):
    data = open_dataset(dataset)
    contest = score_contest(data, data.labelled, entrants)
    ids = [contest.samples[index].id for index in most_disputed(contest)]
    # The empty prediction of e is the worst; the next is of the other modality.
    assert ids[0] == "e"
    assert ids[1] == "b"
    assert sorted(ids) == ["a", "b", "e", "plate <1>/c & d"]
    assert len(most_disputed(contest, 2)) == 2


def test_of_one_entrant_the_worst_images_are_shown(dataset: Path, entrants: list[Entrant]):
    data = open_dataset(dataset)
    contest = score_contest(data, data.labelled, entrants[1:])
    assert contest.samples[most_disputed(contest)[0]].id == "e"


def test_pictures_are_written(dataset: Path, entrants: list[Entrant], tmp_path: Path):
    data = open_dataset(dataset)
    (dataset / "images" / "b.png").write_bytes(b"junk")
    contest = score_contest(data, data.labelled, entrants)
    rows = write_disputes(contest, entrants, data, tmp_path)
    assert len(rows) == 4
    for row in rows:
        paths = [row["truth"], *(shown["picture"] for shown in row["entrants"].values())]
        assert len(paths) == 3
        assert all(cv2.imread(str(tmp_path / path)) is not None for path in paths)
        assert row["entrants"]["perfect"]["score"] == 1
