import json
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest

from morula.errors import InputError
from morula.evaluation.receptive_field import SHARE, effective_diameter, measure_receptive_field
from planning.conftest import facts_of
from tiny import morula, write_model


@pytest.fixture
def run(tmp_path):
    folder = write_model(tmp_path / "run")
    (folder / "fingerprint.json").write_text(facts_of().dumps())
    for name, side in (("a", 6), ("deeper/b", 20)):
        target = folder / "prepared" / name
        target.mkdir(parents=True)
        labels = np.zeros((40, 50), np.int32)
        labels[3:7, 2:5] = 1
        labels[10:15, 10 : 10 + side] = 2
        np.save(target / "labels.npy", labels)
        np.save(target / "image.npy", (labels > 0).astype(np.float16)[None])
    return folder


def test_a_gaussian_field_ends_where_it_should():
    """95 % of a Gaussian in the plane lie within 2.45 deviations."""
    y, x = np.mgrid[:201, :201] - 100.0
    gradient = np.exp(-(y**2 + x**2) / (2 * 12.0**2))
    expected = 2 * 12 * np.sqrt(-2 * np.log(1 - SHARE))
    assert effective_diameter(gradient, (1, 1), (1.0, 1.0)) == pytest.approx(expected, abs=1.5)


def test_lengths_are_in_pixels_of_the_finest_axis():
    gradient = np.zeros((5, 9, 9))
    gradient[[1, 2, 3], 4, 4] = 1 / 3
    assert effective_diameter(gradient, (1, 1, 1), (6.0, 1.0, 1.0)) == 13.0
    coarse = np.zeros((4, 4))
    coarse[1:3, 1:3] = 0.25
    # The middle pixel of 16 lies half a pixel beyond the corner that four pixels of the grid share.
    assert effective_diameter(coarse, (4, 4), (1.0, 1.0)) == pytest.approx(2 * 2.5 * 2**0.5 + 4)


def test_a_run_is_measured_beside_its_largest_object(run, tmp_path):
    report = measure_receptive_field(run, tmp_path / "out")
    assert (report.object_px, report.patches, report.patch_px) == (20.0, "training images", (32, 32))
    assert [level.name for level in report.levels] == ["image", "1", "1/2"]
    # Kernels of 3 on two grids, a kernel of 3 in each of four convolutions of the finest one.
    assert report.levels[0].theoretical_px < 32
    # Norms carry the gradient over the whole patch of 32 px: an object of 20 px is seen whole, one of 60 not.
    assert report.covers
    assert not replace(report, object_px=60.0).covers
    table = json.loads((tmp_path / "out" / "receptive_field.json").read_text())
    assert table["covers"] == report.covers
    picture = cv2.imread(str(report.picture))
    assert picture.shape[1] > 800
    assert picture.std() > 20


def test_without_prepared_images_noise_and_the_facts_do(run):
    shutil.rmtree(run / "prepared")
    report = measure_receptive_field(run)
    assert report.patches == "noise"
    assert report.object_px == max(round(item.largest) for item in facts_of().extent_px)
    assert (run / "receptive_field.png").is_file()


def test_the_verb_prints_a_table_and_an_answer(run):
    result = morula("receptive-field", run)
    assert result.exit_code == 0
    assert "95 % of the gradient, px" in result.stdout
    assert "Largest object: 20 px. Covered by the effective field of" in result.stdout


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no run folder with fingerprint\.json"):
        measure_receptive_field(tmp_path)
    result = morula("receptive-field", tmp_path)
    assert result.exit_code == 2
