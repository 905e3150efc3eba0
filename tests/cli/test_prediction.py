"""What predict and evaluate say of files that they leave alone."""

import shutil
from pathlib import Path

from broken import make_dataset
from tiny import morula, write_model


def test_files_that_are_passed_over_are_told(tmp_path: Path):
    images, model = make_dataset(tmp_path / "data", 2) / "images", write_model(tmp_path / "model")
    (images / "a.nd2").touch()
    (images / "b.czi").touch()
    result = morula("predict", images, "-o", tmp_path / "out", "--model", model)
    assert result.exit_code == 0
    assert "2 of 2 images done" in result.stdout
    assert "2 files of other kinds were passed over (.czi, .nd2)" in result.stderr


def test_an_image_that_fails_now_is_not_scored_by_its_former_labels(tmp_path: Path):
    data, model = make_dataset(tmp_path / "data", 3), write_model(tmp_path / "model")
    out, scores = tmp_path / "out", tmp_path / "scores"
    assert morula("predict", data / "images", "-o", out, "--model", model).exit_code == 0
    stray = shutil.copy(out / "labels/1.tif", tmp_path / "1.tif")
    (data / "images/1.png").write_text("this is no image")
    assert morula("predict", data / "images", "-o", out, "--model", model).exit_code == 1
    for _ in range(2):
        result = morula("evaluate", out, data, "-o", scores)
        assert result.exit_code == 0
        assert "2 images" in result.stdout
        assert "1 without prediction, not scored: 1" in result.stderr
        shutil.copy(stray, out / "labels/1.tif")
