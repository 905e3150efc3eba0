import csv
import errno
import json
import os
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from echo import echo_plan, save_run
from morula.data.formats import read_labels
from morula.data.lock import hold
from morula.data.sample import Image
from morula.errors import InputError
from morula.evaluation.report import PredictReport
from morula.prediction.model import Model
from morula.prediction.predict import OutputError, PredictSummary, predict
from synthetic import picture_of, touching_balls


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder; its untrained network is replaced by one that finds what is bright."""
    from echo import Echo

    folder = save_run(tmp_path / "run", echo_plan())
    monkeypatch.setattr(Model, "load", lambda path, device, **_: Model("run", echo_plan(), (Echo(),)))
    return folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for seed, name in enumerate(("a.png", "b.png", "sub/a.png")):
        labels = touching_balls(2, shape=60 + 10 * seed, radius=7)
        labels[labels % 2 == 0] = 0
        cv2.imwrite(str(folder / name), picture_of(labels, seed))
    return folder


def table_of(out: Path) -> list[dict[str, str]]:
    with (out / "measurements.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def objects_in(out: Path) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in table_of(out):
        counts[row["image"]] = counts.get(row["image"], 0) + 1
    return counts


def labels_in(out: Path, summary: PredictSummary) -> dict[str, int]:
    return {row.id: int(read_labels(out / row.labels).max()) for row in summary.rows if row.labels}


def test_writes_labels_overlays_measurements_and_a_record(run: Path, images: Path, tmp_path: Path):
    out, calls = tmp_path / "out", []
    summary = predict([images], out, model=run, workers=2, progress=lambda a, b: calls.append((a, b)))
    assert [row.id for row in summary.rows] == ["a", "b", "sub/a"]
    assert (summary.done, summary.skipped, summary.failed) == (3, 0, {})
    assert calls == [(1, 3), (2, 3), (3, 3)]
    counts = labels_in(out, summary)
    assert counts == objects_in(out) == {row.id: row.n_objects for row in summary.rows}
    assert all(count > 3 for count in counts.values())
    assert cv2.imread(str(out / "overlays/sub/a.jpg")).shape[2] == 3
    record = json.loads((out / "run.json").read_text())
    assert record["command"].startswith(f"morula predict {images} -o {out} --model {run}")
    assert record["plan_hash"] == echo_plan().hash
    assert set(record["versions"]) == {"morula", "python", "torch", "numpy", "numba"}
    row = record["images"][0]
    assert 10 < row["median_diameter_px"] < 18
    assert 0 < row["mean_confidence"] <= 1
    assert row["least_certain"][0].keys() == {"label", "confidence", "centroid_y", "centroid_x"}
    assert not list(out.rglob("*.part*"))


def test_finished_images_are_skipped_and_the_table_stays_complete(run: Path, images: Path, tmp_path: Path):
    out = tmp_path / "out"
    predict([images], out, model=run)
    before = table_of(out)
    times = {path: path.stat().st_mtime_ns for path in (out / "labels").rglob("*.tif")}
    (out / "overlays/b.jpg").unlink()
    summary = predict([images], out, model=run)
    assert (summary.done, summary.skipped) == (3, 2)
    assert times[out / "labels/a.tif"] == (out / "labels/a.tif").stat().st_mtime_ns
    assert times[out / "labels/b.tif"] != (out / "labels/b.tif").stat().st_mtime_ns
    assert sorted(map(str, table_of(out))) == sorted(map(str, before))


def test_a_changed_image_model_or_option_is_predicted_again(run: Path, images: Path, tmp_path: Path):
    out = tmp_path / "out"
    predict([images], out, model=run)
    cv2.imwrite(str(images / "a.png"), np.zeros((30, 30), np.uint8))
    summary = predict([images], out, model=run)
    assert summary.skipped == 2
    assert "a" not in objects_in(out)
    assert summary.rows[0].n_objects == 0
    assert predict([images], out, model=run, diameter=12.0).skipped == 0
    (run / "tuned.toml").write_text("[default]\nmask_threshold = 0.6\n")
    assert predict([images], out, model=run, diameter=12.0).skipped == 0
    assert predict([images], out, model=run, diameter=12.0).skipped == 3


def test_images_of_an_earlier_call_stay_in_the_table(run: Path, images: Path, tmp_path: Path):
    out = tmp_path / "out"
    predict([images / "b.png"], out, model=run)
    predict([images / "a.png"], out, model=run)
    assert set(objects_in(out)) == {"a", "b"}
    assert [row["id"] for row in json.loads((out / "run.json").read_text())["images"]] == ["a", "b"]


def plate_of(folder: Path, seed: int) -> Path:
    """Two images; the second is the same in all plates. Times are equal, as in unzipped archives."""
    folder.mkdir()
    for name, number in (("a.npy", seed), ("b.npy", 7)):
        labels = touching_balls(2, shape=60, radius=7)
        labels[labels % 2 == number % 2] = 0
        np.save(folder / name, picture_of(labels, number))
        os.utime(folder / name, (1e9, 1e9))
    return folder


def test_another_image_of_the_same_name_size_and_time_is_not_taken_for_a_finished_one(
    run: Path, tmp_path: Path
):
    first, second = (plate_of(tmp_path / name, seed) for seed, name in enumerate(("zA", "zB")))
    out = tmp_path / "out"
    predict(first, out, model=run)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for diameter in ("auto", 12.0):
        with pytest.raises(InputError, match=r"zA/a\.npy, and .*zB/a\.npy is another .* with -o"):
            predict(second, out, model=run, diameter=diameter)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    # Equal content is the same image.
    assert predict(second / "b.npy", out, model=run).skipped == 1
    shutil.rmtree(out / "labels")
    assert predict(second, out, model=run).skipped == 0


def test_images_that_moved_are_known_again(run: Path, images: Path, tmp_path: Path):
    out = tmp_path / "out"
    predict(images, out, model=run)
    moved = images.rename(tmp_path / "moved")
    assert predict(moved, out, model=run).skipped == 3
    rows = json.loads((out / "run.json").read_text())["images"]
    assert {Path(row["image"]).parts[-2] for row in rows} == {"moved", "sub"}
    assert {row["files"][0] for row in rows} == {str(path) for path in moved.rglob("*.png")}
    cv2.imwrite(str(moved / "a.png"), np.zeros((30, 30), np.uint8))
    assert predict(moved, out, model=run).skipped == 2


def test_results_of_another_model_are_replaced_or_refused(run: Path, images: Path, tmp_path: Path):
    out = tmp_path / "out"
    predict(images, out, model=run, export=("roi",))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"results of b and 1 more, which .*morula predict .* with -o"):
        predict(images / "a.png", out, model=run, diameter=12.0)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    predict(images, out, model=run, diameter=12.0)
    assert not list((out / "rois").rglob("*.zip"))
    assert set(objects_in(out)) == {"a", "b", "sub/a"}


@pytest.mark.parametrize("images_key", ["nothing", None, [1, {"id": "a"}], [{"other": "tool"}]])
def test_a_record_of_another_program_does_no_harm(
    images_key: object, run: Path, images: Path, tmp_path: Path
):
    out = tmp_path / "out"
    out.mkdir()
    (out / "run.json").write_text(json.dumps({"images": images_key}))
    assert predict(images, out, model=run).done == 3


def test_a_model_that_cannot_be_loaded_costs_no_results(
    run: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object, **__: object) -> None:
        raise InputError("by hand")

    out = tmp_path / "out"
    predict(images, out, model=run)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    monkeypatch.setattr(Model, "load", fail)
    with pytest.raises(InputError, match="by hand"):
        predict(images, out, model=run, diameter=12.0)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_the_engine_is_that_of_each_image(
    run: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from echo import Echo

    out = tmp_path / "out"
    predict(images / "a.png", out, model=run)
    other = Model("run", echo_plan(), (Echo(),), engine="onnxruntime")
    monkeypatch.setattr(Model, "load", lambda path, device, **_: other)
    assert predict(images, out, model=run).skipped == 1
    record = json.loads((out / "run.json").read_text())
    engines = {row["id"]: (row["engine"], row.get("precision")) for row in record["images"]}
    assert engines == {
        "a": ("torch", "float32"),
        "b": ("onnxruntime", None),
        "sub/a": ("onnxruntime", None),
    }
    assert "engine" not in record


def test_what_fails_now_keeps_no_results_of_before(run: Path, images: Path, tmp_path: Path):
    out = tmp_path / "out"
    predict(images, out, model=run, export=("geojson",))
    (images / "b.png").write_text("this is no image")
    assert predict(images, out, model=run).done == 2
    assert not list(out.rglob("b.*"))
    assert set(objects_in(out)) == {"a", "sub/a"}


def test_a_bad_image_is_named_and_the_others_are_done(run: Path, images: Path, tmp_path: Path):
    (images / "b.png").write_text("this is no image")
    (images / "empty.png").touch()
    cv2.imwrite(str(images / "colour.png"), np.random.default_rng(0).integers(0, 255, (9, 9, 3), np.uint8))
    out = tmp_path / "out"
    summary = predict([images], out, model=run)
    assert summary.done == 2
    assert set(summary.failed) == {str(images / name) for name in ("b.png", "colour.png", "empty.png")}
    assert "channels" in summary.failed[str(images / "colour.png")]
    assert {
        row["id"] for row in json.loads((out / "run.json").read_text())["images"] if "failure" in row
    } == {
        "b",
        "colour",
        "empty",
    }
    assert not (out / "labels/b.tif").exists()
    # Failures are tried again.
    labels = touching_balls(2, shape=60, radius=7)
    cv2.imwrite(str(images / "b.png"), picture_of(labels))
    assert set(predict([images], out, model=run).failed) == {
        str(images / name) for name in ("colour.png", "empty.png")
    }


def test_a_failure_that_nobody_foresaw_is_named_by_its_kind(
    run: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> None:
        raise ZeroDivisionError("by hand")

    monkeypatch.setattr("morula.prediction.predict.measure", fail)
    summary = predict([images], tmp_path / "out", model=run)
    assert summary.done == 0
    assert set(summary.failed.values()) == {"ZeroDivisionError: by hand"}


def test_a_full_disk_ends_the_run_and_leaves_nothing_half_written(
    run: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "out"
    predict([images / "a.png"], out, model=run)

    def write_bytes(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(OutputError, match="disk is full"):
        predict([images], out, model=run)
    assert not list(out.rglob("*.part*"))
    record = json.loads((out / "run.json").read_text())
    assert [row["id"] for row in record["images"]] == ["a"]
    monkeypatch.undo()
    monkeypatch.setattr(Model, "load", run_again(run))
    summary = predict([images], out, model=run)
    assert (summary.done, summary.skipped) == (3, 1)
    assert set(objects_in(out)) == {"a", "b", "sub/a"}


def run_again(run: Path):
    from echo import Echo

    return lambda path, device, **_: Model("run", echo_plan(), (Echo(),))


def test_images_beside_each_other_do_not_change_results(run: Path, images: Path, tmp_path: Path):
    results = []
    for workers in (1, 3):
        out = tmp_path / f"out_{workers}"
        summary = predict([images], out, model=run, workers=workers)
        results.append(
            [(row.id, row.n_objects, (out / str(row.labels)).read_bytes()) for row in summary.rows]
            + [(out / "measurements.csv").read_text()]
        )
    assert results[0] == results[1]


def test_what_is_under_way_ends_when_the_run_is_interrupted(
    run: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    tiles = []

    def segment(model: Model, image: Image, progress: Callable[[int, int], None], **_: object) -> None:
        for tile in range(1000):
            time.sleep(0.01)
            tiles.append(tile)
            progress(tile, 1000)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Model, "segment", segment)
    monkeypatch.setattr("morula.prediction.predict.Future.result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict([images], tmp_path / "out", model=run)
    assert len(tiles) < 1000


def test_an_output_that_cannot_be_a_folder_is_refused_before_any_work(
    run: Path, images: Path, tmp_path: Path
):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match="cannot be written"):
        predict([images], tmp_path / "out", model=run)


def test_rows_half_written_by_a_killed_run_are_dropped(run: Path, images: Path, tmp_path: Path):
    out = tmp_path / "out"
    predict([images / "a.png", images / "b.png"], out, model=run)
    complete = objects_in(out)
    record = json.loads((out / "run.json").read_text())
    record["images"] = record["images"][:1]
    (out / "run.json").write_text(json.dumps(record))
    with (out / "measurements.csv").open("a") as file:
        file.write("b,7,12")
    predict([images / "a.png", images / "b.png"], out, model=run)
    assert objects_in(out) == complete


def test_exports_on_request(run: Path, images: Path, tmp_path: Path):
    out = tmp_path / "out"
    predict([images / "a.png"], out, model=run)
    summary = predict([images / "a.png"], out, model=run, export=("roi", "geojson"))
    assert summary.skipped == 0
    count = summary.rows[0].n_objects
    with zipfile.ZipFile(out / "rois/a.zip") as file:
        assert len(file.namelist()) == count
    assert len(json.loads((out / "geojson/a.geojson").read_text())["features"]) == count
    assert predict([images / "a.png"], out, model=run, export=("roi", "geojson")).skipped == 1
    with pytest.raises(InputError, match="Did you mean 'geojson'"):
        predict([images], out, model=run, export=("geojsn",))


def test_one_image_reports_its_tiles(run: Path, images: Path, tmp_path: Path):
    calls = []
    predict([images / "sub/a.png"], tmp_path / "out", model=run, progress=lambda a, b: calls.append((a, b)))
    assert calls == [(i + 1, 4) for i in range(4)]


def test_files_per_channel_become_one_image(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from echo import Echo

    plan = echo_plan(channels=("channel 0", "channel 1"))
    (run / "plan.toml").write_text(plan.dumps())
    monkeypatch.setattr(Model, "load", lambda path, device, **_: Model("run", plan, (Echo(),)))
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(2):
        labels = touching_balls(2, shape=60, radius=7)
        cv2.imwrite(str(folder / f"a_000{number}.png"), picture_of(labels, number))
    out = tmp_path / "out"
    summary = predict([folder], out, model=run)
    assert [row.id for row in summary.rows] == ["a"]
    assert summary.rows[0].image == f"{folder / 'a_0000.png'} (and 1 more)"
    assert read_labels(out / "labels/a.tif").shape == (60, 60)
    assert {"mean_channel 0", "mean_channel 1"} <= set(table_of(out)[0])
    assert predict([folder], out, model=run).skipped == 1
    cv2.imwrite(str(folder / "a_0001.png"), np.zeros((60, 60), np.uint8))
    assert predict([folder], out, model=run).skipped == 0
    cv2.imwrite(str(folder / "a_0001.png"), np.zeros((60, 50), np.uint8))
    (message,) = predict([folder], out, model=run).failed.values()
    assert "one channel per file and equal shapes" in message


def test_classes_of_several_nifti_files_lie_where_the_first_does(tmp_path: Path):
    import nibabel

    facts = {"task": "semantic", "classes": {"one": 1, "two": 2}, "channels": ("channel 0", "channel 1")}
    plan = echo_plan(3, representation={"kind": "class_distance", "ids": (1, 2)}, **facts)
    model, folder = save_run(tmp_path / "model", plan), tmp_path / "in"
    affine = np.diag([-2.0, 2.0, 3.0, 1.0])
    folder.mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).random((16, 18, 20), np.float32)
        nibabel.save(nibabel.Nifti1Image(pixels, affine), folder / f"a_000{number}.nii.gz")
    summary = predict([folder], tmp_path / "out", model=model, engine="torch")
    assert (summary.rows[0].failure, summary.rows[0].labels) == (None, "labels/a.nii.gz")
    found = nibabel.load(tmp_path / "out/labels/a.nii.gz")
    assert found.shape == (16, 18, 20)
    np.testing.assert_allclose(found.affine, affine)


def test_what_looks_wrong_in_an_image_is_told(run: Path, images: Path, tmp_path: Path):
    pixels = np.ones((40, 40), np.float32)
    pixels[:20] = 0
    pixels[3, 4] = np.nan
    np.save(images / "c.npy", pixels)
    out = tmp_path / "out"
    summary = predict([images], out, model=run)
    assert summary.failed == {}
    (warning,) = summary.warnings
    assert warning.startswith(f"{images / 'c.npy'} holds NaN or infinity in 1 of 1600 values")
    assert predict([images], out, model=run).warnings == summary.warnings
    assert warning in PredictReport.load(out).page()


def test_files_of_other_kinds_are_told(run: Path, images: Path, tmp_path: Path):
    assert predict(images, tmp_path / "out", model=run).notes == ()
    (images / "sub/c.czi").touch()
    summary = predict(images, tmp_path / "out", model=run)
    assert "passed over (.czi)" in summary.notes[0]
    assert json.loads((tmp_path / "out/run.json").read_text())["notes"] == list(summary.notes)


def test_missing_inputs_and_models_are_refused(run: Path, tmp_path: Path):
    with pytest.raises(InputError, match="does not exist"):
        predict([tmp_path / "nowhere"], tmp_path / "out", model=run)
    (tmp_path / "void").mkdir()
    with pytest.raises(InputError, match="no images"):
        predict([tmp_path / "void"], tmp_path / "out", model=run)
    for wrong in ({"axes": "QQ"}, {"diameter": -1.0}, {"mirror": "left"}):
        with pytest.raises(InputError, match=r"expected each of Y and X|object diameter|unknown mirror"):
            predict([tmp_path / "void"], tmp_path / "out", model=run, **wrong)
    assert not (tmp_path / "out").exists()


def test_one_channel_of_several_is_segmented_and_all_are_measured(run: Path, tmp_path: Path):
    labels = touching_balls(2, shape=60, radius=7)
    labels[labels % 2 == 0] = 0
    stain, other = picture_of(labels), np.full(labels.shape, 40, np.uint8)
    other[::2] = 60
    folder = tmp_path / "stains"
    folder.mkdir()
    tifffile.imwrite(folder / "a.tif", np.stack([other, stain]), metadata={"axes": "CYX"})
    tifffile.imwrite(folder / "b.tif", stain)
    refused = predict(folder, tmp_path / "all", channels=None, model=run)
    assert [row.failure is None for row in refused.rows] == [False, True]
    assert "--only-channel" in (refused.rows[0].failure or "")
    by_number = predict(folder / "a.tif", tmp_path / "number", only_channel="1", model=run)
    by_name = predict(
        folder / "a.tif", tmp_path / "name", channels=("actin", "dapi"), only_channel="dapi", model=run
    )
    alone = predict(folder / "b.tif", tmp_path / "alone", model=run)
    assert objects_in(by_number.out) == objects_in(by_name.out) == {"a": alone.rows[0].n_objects}
    found = [read_labels(s.out / str(s.rows[0].labels)) for s in (by_number, by_name, alone)]
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[1], found[2])
    assert {"mean_actin", "mean_dapi"} <= set(table_of(by_name.out)[0])
    assert "--only-channel dapi" in json.loads((by_name.out / "run.json").read_text())["command"]
    # Another channel is another answer.
    again = predict(folder / "a.tif", tmp_path / "number", only_channel="0", model=run)
    assert again.skipped == 0
    missing = predict(folder / "a.tif", tmp_path / "none", only_channel="dapi", model=run)
    assert "no channel 'dapi'; it has channel 0, channel 1" in (missing.rows[0].failure or "")


def test_the_colour_of_a_composite_that_was_looked_at_is_told(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    stain = picture_of(touching_balls(2, shape=60, radius=7))
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in/grey.tif", stain)
    tifffile.imwrite(
        tmp_path / "in/mix.tif", np.stack([stain // 3, stain[::-1], stain], -1), photometric="rgb"
    )
    colours = {("red", "green", "blue"): "blue"}
    monkeypatch.setattr("morula.prediction.model.stain_of", lambda image, *_: colours.get(image.channels))
    summary = predict(tmp_path / "in", tmp_path / "out", model=run)
    grey, mix = (read_labels(summary.out / str(row.labels)) for row in summary.rows)
    np.testing.assert_array_equal(grey, mix)
    assert [row.channel for row in summary.rows] == [None, "blue"]
    assert summary.stains == ("blue",)
    rows = list(csv.DictReader((summary.out / "images.csv").read_text().splitlines()))
    assert [row["channel"] for row in rows] == ["", "blue"]
    assert "colour alone" in PredictReport.load(summary.out).page()


def test_a_pixel_size_gives_micrometres(run: Path, images: Path, tmp_path: Path):
    predict([images / "a.png"], tmp_path / "out", model=run, pixel_size=0.5)
    row = table_of(tmp_path / "out")[0]
    assert float(row["equivalent_diameter_um"]) == pytest.approx(
        float(row["equivalent_diameter_px"]) / 2, 1e-4
    )
    options = json.loads((tmp_path / "out/run.json").read_text())["options"]
    assert options["pixel_size"] == [0.5]


def test_without_mirror_images_everything_is_done_anew(run: Path, images: Path, tmp_path: Path):
    out = tmp_path / "out"
    first = predict([images], out, model=run)
    again = predict([images], out, model=run, mirror="all")
    assert again.done == first.done
    assert again.skipped == 0
    assert json.loads((out / "run.json").read_text())["command"].endswith("--mirror all")


def test_results_go_neither_among_the_images_nor_over_something_else(run: Path, images: Path, tmp_path: Path):
    before = sorted(images.rglob("*"))
    with pytest.raises(InputError, match="is the folder of the images"):
        predict([images], images, model=run)
    (tmp_path / "labels").mkdir()
    for folder in (tmp_path, run):
        with pytest.raises(InputError, match=r"holds a .*Choose another folder with -o"):
            predict([images], folder, model=run)
    assert sorted(images.rglob("*")) == before
    assert not list((tmp_path / "labels").iterdir())


def test_two_predictions_do_not_work_in_one_folder(run: Path, images: Path, tmp_path: Path):
    predict([images / "a.png"], tmp_path / "out", model=run)
    with hold(tmp_path / "out"), pytest.raises(InputError, match="another process is working"):
        predict([images], tmp_path / "out", model=run)
