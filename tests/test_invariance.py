"""The shipped default model on changed copies of the sample images, which show the same."""

import importlib.util
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from morula.data.formats import read_image
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
    grey = [image for image in images if len(image.pixels) == 1]
    assert len(grey) >= 2
    assert {name: len(values) for name, values in scores.items()} == {
        name: len(grey) if name == "shown in blue" else len(images) for name in scores
    }
    assert np.mean([np.mean(values) for values in scores.values()]) >= 0.95
