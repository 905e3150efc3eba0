from pathlib import Path

import numpy as np
import pytest
import tifffile

from morula.data.layouts import open_dataset
from morula.errors import InputError
from morula.planning.fingerprint import Distribution, Fingerprint, fingerprint
from morula.planning.planner import make_plan
from synthetic import picture_of, touching_balls


def write_pair(root: Path, name: str, pixels: np.ndarray, labels: np.ndarray | None) -> None:
    for folder, array in (("images", pixels), ("labels", labels)):
        (root / folder).mkdir(exist_ok=True)
        if array is not None:
            colour = array.ndim == 3 and array.shape[-1] == 3
            photometric = "rgb" if colour else "minisblack"
            tifffile.imwrite(root / folder / f"{name}.tif", array, photometric=photometric)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Three grey images (one without labels) and two dark-on-bright colour ones."""
    labels = touching_balls(2)
    for name in "abc":
        write_pair(tmp_path, name, picture_of(labels), labels.astype(np.uint16) if name != "c" else None)
    for name in "de":
        colour = np.stack(
            [255 - picture_of(labels), 200 - picture_of(labels) // 2, 255 - picture_of(labels)], -1
        )
        write_pair(tmp_path, name, colour.astype(np.uint8), labels.astype(np.uint16))
    return tmp_path


def test_facts_of_a_mixed_folder(mixed):
    facts = fingerprint(open_dataset(mixed))
    labels = touching_balls(2)
    n_objects = int(labels.max())
    assert (facts.n_images, facts.n_labelled, facts.n_unlabelled) == (5, 4, 1)
    assert facts.n_objects == 4 * n_objects
    assert facts.channels == {"grey": 3, "red+green+blue": 2}
    assert facts.dtypes == {"uint8": 5}
    assert facts.shape_median == labels.shape
    assert facts.objects_per_image.p50 == n_objects
    assert facts.diameter_px.n == 4 * n_objects
    assert facts.diameter_px.p50 == pytest.approx(18, abs=1.5)
    assert facts.density == pytest.approx((labels > 0).mean(), abs=1e-3)
    assert 0 < facts.touching <= 1
    assert len(facts.extent_px) == 2
    assert facts.spacing_um is None
    assert [kind.n_images for kind in facts.modalities] == [3, 2]
    assert facts.modalities[0].contrast > 0 > facts.modalities[1].contrast


def test_it_can_be_planned(mixed):
    plan, reasons = make_plan(fingerprint(open_dataset(mixed)))
    assert plan.channels == ("red", "green", "blue")
    assert plan.training.augmentation.invert > 0
    assert plan.training.augmentation.copy_paste > 0
    assert "2 of 5 images are in colour; 3 grey ones" in reasons["channels"]


def test_saved_and_loaded(mixed, tmp_path):
    facts = fingerprint(open_dataset(mixed))
    path = tmp_path / "fingerprint.json"
    path.write_text(facts.dumps())
    assert Fingerprint.load(path) == facts


def test_load_explains(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        Fingerprint.load(tmp_path / "none.json")
    path = tmp_path / "bad.json"
    path.write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        Fingerprint.load(path)
    path.write_text('{"ndims": 2}')
    with pytest.raises(InputError, match=r"ndims.*ndim"):
        Fingerprint.load(path)


def test_progress_and_selection(mixed):
    seen: list[tuple[int, int]] = []
    dataset = open_dataset(mixed)
    facts = fingerprint(dataset, dataset.samples[:2], lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    assert [image.id for image in facts.images] == [sample.id for sample in dataset.samples[:2]]
    with pytest.raises(InputError, match="holds no image"):
        fingerprint(dataset, ())


def test_mismatched_shapes_are_named(tmp_path):
    write_pair(tmp_path, "a", np.zeros((8, 9), np.uint8), np.ones((9, 8), np.uint16))
    with pytest.raises(InputError, match=r"a: the labels have shape \(9, 8\), the image \(8, 9\)"):
        fingerprint(open_dataset(tmp_path))


def test_distribution():
    found = Distribution.of(np.arange(101))
    assert (found.n, found.p1, found.p5, found.p50, found.p99, found.largest) == (101, 1, 5, 50, 99, 100)
    assert Distribution.of([]) == Distribution()
