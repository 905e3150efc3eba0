"""The shipped default model on changed copies of the sample images, which show the same."""

import importlib.util
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from morula.data.formats import read_image
from morula.labels.matching import match
from morula.prediction.model import Model


def benchmark() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "invariance.py"
    spec = importlib.util.spec_from_file_location("invariance", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_changes_that_show_the_same_hardly_change_the_answer():
    folder = Path(str(files("morula"))) / "samples" / "images"
    names = ("fluorescence-clusters", "fluorescence-dim", "brightfield-smear", "histology-epithelium")
    images = [read_image(next(folder.glob(f"{name}.*"))) for name in names]
    scores = benchmark().invariance(Model.load("generalist").mirroring("none"), images)
    assert {name: len(values) for name, values in scores.items()} == {
        name: 2 if name in ("shown in blue", "in a composite") else len(images) for name in scores
    }
    assert np.mean([np.mean(values) for values in scores.values()]) >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("name", ["histology-epithelium", "histology-crowded"])
def test_a_photograph_through_an_eyepiece_shows_the_same(name: str):
    image = read_image(Path(str(files("morula"))) / "samples" / "images" / f"{name}.png")
    model = Model.load("generalist").mirroring("none")
    height, width = image.pixels.shape[1:]
    y, x = np.mgrid[:height, :width]
    radius = np.hypot(y - height / 2, x - width / 2) / (min(height, width) / 2)
    seen = np.where(radius < 0.97, image.pixels, 5).astype(np.uint8)
    reference = model.segment(image).labels
    found = model.segment(replace(image, pixels=seen)).labels
    assert not found[radius > 1.02].any()
    # What the edge of the field may cut is left out.
    inner = [
        np.where(np.isin(labels, labels[radius > 0.9]), 0, labels).astype(np.int32)
        for labels in (reference, found)
    ]
    counts = match(*inner, (0.5,))[0]
    assert counts.tp >= 5
    assert 2 * counts.tp / (2 * counts.tp + counts.fp + counts.fn) >= 0.75
