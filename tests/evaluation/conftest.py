import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from morula.data.formats import write_labels
from synthetic import picture_of, touching_balls


@pytest.fixture
def truth() -> np.ndarray:
    return touching_balls(2)


@pytest.fixture
def dataset(tmp_path: Path, truth: np.ndarray) -> Path:
    """Four images with labels and an index, one of them in a subfolder with a name that needs escaping."""
    root = tmp_path / "data"
    rows = [("a", "dark"), ("b", "dark"), ("plate <1>/c & d", "bright"), ("e", "bright")]
    for number, (name, _) in enumerate(rows):
        labels = np.roll(truth, number, 1)
        write_labels(root / "labels" / f"{name}.tif", labels)
        image = root / "images" / f"{name}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes(cv2.imencode(".png", picture_of(labels))[1].tobytes())
    with (root / "index.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "modality", "exposure"])
        writer.writerows([name, kind, number] for number, (name, kind) in enumerate(rows))
    return root


@pytest.fixture
def predicted(tmp_path: Path, truth: np.ndarray) -> Path:
    """Predictions of that data set: perfect, shifted by one pixel, with an object lost, and empty."""
    folder = tmp_path / "predicted"
    images = [
        truth,
        np.roll(truth, 2, 1),
        np.roll(np.where(truth == 1, 0, truth), 2, 1),
        np.zeros_like(truth),
    ]
    for name, labels in zip(["a", "b", "plate <1>/c & d", "e"], images, strict=True):
        write_labels(folder / "labels" / f"{name}.tif", labels.astype(np.int32))
    return folder
