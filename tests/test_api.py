"""The Python interface as its documentation shows it: places are strings or paths alike."""

import re
from pathlib import Path

import numpy as np
import pytest
import tifffile

from morula import (
    InputError,
    Model,
    Request,
    as_image,
    check,
    evaluate,
    open_dataset,
    predict,
    read_image,
    read_labels,
    start_run,
    write_labels,
)
from synthetic import picture_of, touching_balls
from tiny import write_model


@pytest.fixture
def data(tmp_path):
    root = tmp_path / "data"
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    labels = touching_balls(2, 48, 8)
    tifffile.imwrite(root / "images" / "a.tif", picture_of(labels))
    write_labels(str(root / "labels" / "a.tif"), labels)
    return root


def test_files_by_their_names(data):
    picture, truth = str(data / "images" / "a.tif"), str(data / "labels" / "a.tif")
    np.testing.assert_array_equal(read_image(picture).pixels, read_image(data / "images" / "a.tif").pixels)
    np.testing.assert_array_equal(read_labels(truth), read_labels(data / "labels" / "a.tif"))


def test_an_array_is_segmented_as_its_file_is(data, tmp_path):
    model = Model.load(write_model(tmp_path / "model"))
    image = read_image(data / "images" / "a.tif")
    expected = model.segment(image).labels
    np.testing.assert_array_equal(model.segment(image.pixels[0]).labels, expected)
    np.testing.assert_array_equal(model.segment(as_image(image.pixels, axes="CYX")).labels, expected)
    with pytest.raises(InputError, match=r"the array: nothing says .* \(48, 48, 3\).* axes= in Python"):
        model.segment(np.zeros((48, 48, 3), np.uint8))


def test_folders_by_their_names(data, tmp_path):
    assert len(open_dataset(str(data)).samples) == 1
    assert check(str(data)).n_images == 1
    model, out = str(write_model(tmp_path / "model")), str(tmp_path / "results")
    # One folder needs no list around it.
    summary = predict(str(data / "images"), out, model=model)
    assert (summary.done, summary.out) == (1, tmp_path / "results")
    metrics = evaluate(out, str(data), str(tmp_path / "scores"))
    assert len(metrics["images"]) == 1
    run = start_run(str(tmp_path / "run"), Request(data=str(data)))
    assert run.folder == tmp_path / "run"


def test_the_example_in_the_readme_runs(data, monkeypatch):
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    monkeypatch.chdir(data / "images")
    (data / "images" / "a.tif").rename("image.tif")
    found: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), found)
    labels = found["labels"]
    assert isinstance(labels, np.ndarray)
    assert labels.shape == (48, 48)
