"""A run is prepared for int8 if its validation images allow it."""

from pathlib import Path

import pytest
import tifffile

from morula.data.formats import write_labels
from morula.errors import InputError
from morula.prediction.int8 import Ranges
from morula.prediction.shipped import weight_files
from morula.training import quantize
from morula.training.checkpoint import save_weights
from morula.training.loop import build_network
from morula.training.quantize import quantize_run
from morula.training.run import Request, Run, plan_run, start_run
from synthetic import picture_of, touching_balls

SMALL = (
    "training.patch_size=[32, 32]",
    "training.batch_size=2",
    'network={kind="residual_unet", features=[8, 16], blocks=[1, 1]}',
    "inference={tile_size=[64, 64], mirror='none'}",
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Planned, with weights as training begins with."""
    root = tmp_path / "data"
    (root / "images").mkdir(parents=True)
    for index in range(6):
        labels = touching_balls(2, shape=64, radius=7 + index % 3)
        tifffile.imwrite(root / "images" / f"im{index}.tif", picture_of(labels, seed=index))
        write_labels(root / "labels" / f"im{index}.tif", labels)
    work = start_run(tmp_path / "run", Request(data=str(root), overrides=SMALL, fold=0))
    plan = plan_run(work)
    save_weights(work.fold(0) / "weights.safetensors", build_network(plan).state_dict())
    return work


def test_ranges_are_kept_unless_too_much_is_lost(run: Run, monkeypatch: pytest.MonkeyPatch):
    (weights,) = weight_files(run.folder)
    summary = quantize_run(run.folder)
    assert summary.accepted
    assert summary.before.keys() == summary.after.keys() == {"ap_50", "ap_75"}
    kept = Ranges.load(weights)
    assert kept is not None
    assert all(low <= 0 <= high for low, high in zip(kept.low, kept.high, strict=True))
    # The same patches again: the same ranges.
    quantize_run(run.folder)
    assert Ranges.load(weights) == kept
    monkeypatch.setattr(quantize, "MOST_LOST", {"ap_50": -1.1, "ap_75": 0.01})
    assert not quantize_run(run.folder).accepted
    assert Ranges.load(weights) is None


def test_a_run_without_validation_images_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(quantize, "folds_of", lambda _: [(0, ())])
    with pytest.raises(InputError, match="no validation images"):
        quantize_run(run.folder)
