"""The command line as a user meets it: what it writes, what it says, how it exits."""

import csv
import errno
import json
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import tifffile

from broken import SPOILERS, cut, make_dataset, write_png
from morula import InputError
from morula.data import files as writing
from morula.data.formats import read_labels
from tiny import morula, write_model

VERBS = (
    "demo",
    "check",
    "plan",
    "prepare",
    "train",
    "selftrain",
    "tune",
    "predict",
    "evaluate",
    "compare",
    "recipes",
    "models",
)
SHORT = ("training.steps=3", "training.batch_size=1", "training.patch_size=[32, 32]")


def sets(*pairs: str) -> list[str]:
    return [word for pair in pairs for word in ("--set", pair)]


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "data")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny")


# What there is


def test_help_lists_every_verb_in_order():
    shown = morula("--help").stdout
    places = [shown.index(f"  {verb} ") for verb in VERBS]
    assert places == sorted(places)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str):
    result = morula(verb, "--help")
    assert result.exit_code == 0
    assert "Usage: " in result.stdout


def test_recipes_are_listed_one_a_line():
    lines = morula("recipes").stdout.splitlines()
    assert {line.split()[0] for line in lines[1:]} >= {"auto", "star-convex", "hover"}


def test_models_are_listed():
    assert morula("models").exit_code == 0


@pytest.mark.parametrize(
    ("words", "absent"),
    [
        (["predict", "--help"], {"numpy", "torch", "rich.progress"}),
        (["recipes"], {"torch"}),
        (["check", "DATA"], {"torch"}),
        (["evaluate", "DATA/labels", "DATA", "-o", "OUT"], {"torch"}),
    ],
)
def test_nothing_heavy_is_imported_that_is_not_needed(
    words: list[str], absent: set[str], data: Path, tmp_path: Path
):
    words = [word.replace("DATA", str(data)).replace("OUT", str(tmp_path / "out")) for word in words]
    code = (
        "import sys\nfrom morula.cli import app\n"
        f"code = app({words!r}, standalone_mode=False)\n"
        f"found = {absent!r} & set(sys.modules)\nassert not found and not code, (found, code)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


# Check


def test_clean_data_are_clean(data: Path):
    result = morula("check", data)
    assert (result.exit_code, result.stdout) == (0, "4 images, 4 with labels: 0 errors, 0 warnings.\n")


@pytest.mark.parametrize(
    "kind", ["truncated file", "wrong shape", "negative ids", "empty file", "labels in colour"]
)
def test_check_names_the_bad_file_and_exits_with_1(kind: str, data: Path):
    SPOILERS[kind](data)
    result = morula("check", data)
    assert result.exit_code == 1
    assert kind in result.stdout
    assert "/0." in result.stdout


def test_warnings_alone_exit_with_0(data: Path):
    SPOILERS["constant image"](data)
    result = morula("check", data)
    assert result.exit_code == 0
    assert "constant image" in result.stdout


# Plan, prepare, train


def test_plan_says_why_and_leaves_a_plan(data: Path, tmp_path: Path):
    result = morula("plan", data, "-o", tmp_path / "run", *sets("training.steps=7"))
    assert result.exit_code == 0, result.stderr
    assert "set by --set" in result.stdout
    assert "interior_boundary" in result.stdout
    assert "steps = 7" in (tmp_path / "run" / "plan.toml").read_text()


def test_prepare_writes_the_arrays(data: Path, tmp_path: Path):
    result = morula("prepare", data, "-o", tmp_path / "run", "--recipe", "foreground")
    assert result.exit_code == 0, result.stderr
    assert "prepared/0/image.npy" in files_below(tmp_path / "run")


def test_a_misspelt_key_can_be_mended_in_the_same_folder(data: Path, tmp_path: Path):
    run = tmp_path / "run"
    wrong = morula("plan", data, "-o", run, "--recipe", "foreground", *sets("training.stepz=7"))
    assert wrong.exit_code == 2
    assert "'steps'" in wrong.stderr
    assert not (run / "plan.toml").exists()
    assert morula("plan", data, "-o", run, "--recipe", "foreground", *sets("training.steps=7")).exit_code == 0


@pytest.mark.slow
def test_train_predict_evaluate_tune(data: Path, tmp_path: Path):
    run, out = tmp_path / "run", tmp_path / "out"
    trained = morula("train", data, "-o", run, "--recipe", "foreground", *sets(*SHORT))
    assert trained.exit_code == 0, trained.stderr
    assert "DSB score" in trained.stdout
    assert {"report.html", "fold_0/weights.safetensors", "metrics.json"} <= files_below(run)
    again = morula("train", run)
    assert again.exit_code == 0
    assert again.stdout == trained.stdout

    predicted = morula("predict", data / "images", "-o", out, "--model", run)
    assert predicted.exit_code == 0, predicted.stderr
    assert read_labels(out / "labels" / "0.tif").shape == (64, 64)
    scored = morula("evaluate", out, data, "-o", tmp_path / "scores", "--compare", out)
    assert scored.exit_code == 0, scored.stderr
    assert "Compared with" in scored.stdout

    tuned = morula("tune", run, data, "-o", tmp_path / "tuned")
    assert tuned.exit_code == 0, tuned.stderr
    assert "before" in tuned.stdout
    assert "Tuned on 4 of 4 labelled images." in tuned.stdout


def test_a_bad_sample_is_left_out_and_named(data: Path, tmp_path: Path):
    SPOILERS["wrong shape"](data)
    result = morula("prepare", data, "-o", tmp_path / "run", "--recipe", "foreground")
    assert result.exit_code == 1
    assert "left out" in result.stderr
    assert "0.tif" in result.stderr
    assert not (tmp_path / "run" / "prepared" / "0").exists()
    assert (tmp_path / "run" / "prepared" / "1" / "image.npy").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--recipe", "autto"], "Did you mean 'auto'"),
        (["--set", "training"], "key=value"),
        (["--budget", "soon"], "90m"),
        (["--select", "fold"], "column=value"),
        (["--select", "colour=red"], "colour"),
        (["--from", "nothing-of-the-kind"], "nothing-of-the-kind"),
        (["--device", "abacus"], "abacus"),
    ],
)
def test_a_bad_option_is_told_before_anything_is_written(
    options: list[str], message: str, data: Path, tmp_path: Path
):
    result = morula("train", data, "-o", tmp_path / "run", *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("verb", ["plan", "prepare", "train"])
def test_a_misspelt_key_is_told_before_anything_is_read_or_written(verb: str, tmp_path: Path):
    result = morula(verb, tmp_path / "no data", "-o", tmp_path / "run", *sets("training.stepz=7"))
    assert result.exit_code == 2
    assert "Did you mean 'steps'" in result.stderr
    assert not (tmp_path / "run").exists()


def test_options_for_a_run_that_goes_on_are_refused(data: Path):
    result = morula("train", data, "--budget", "2h")
    assert result.exit_code == 2
    assert "-o RUN" in result.stderr


def test_going_on_with_what_is_no_run_is_refused(data: Path):
    result = morula("train", data)
    assert result.exit_code == 2
    assert "no run folder" in result.stderr


def test_images_without_labels_cannot_be_trained_on(data: Path, tmp_path: Path):
    shutil.rmtree(data / "labels")
    result = morula("train", data, "-o", tmp_path / "run")
    assert result.exit_code == 2
    assert "label" in result.stderr
    assert len(result.stderr.splitlines()) == 1


# Predict


def test_predict_writes_everything_and_skips_it_the_second_time(data: Path, model: Path, tmp_path: Path):
    out = tmp_path / "out"
    words = ("predict", data / "images", "-o", out, "--model", model, "--export", "roi,geojson")
    first = morula(*words)
    assert first.exit_code == 0, first.stderr
    written = files_below(out)
    for index in range(4):
        assert {f"labels/{index}.tif", f"overlays/{index}.jpg", f"geojson/{index}.geojson"} <= written
    assert {"measurements.csv", "images.csv", "report.html", "run.json"} <= written
    stamps = {path: path.stat().st_mtime_ns for path in (out / "labels").iterdir()}
    second = morula(*words)
    assert "4 of them before" in second.stdout
    assert stamps == {path: path.stat().st_mtime_ns for path in (out / "labels").iterdir()}


def test_subfolders_are_kept(data: Path, model: Path, tmp_path: Path):
    deep = tmp_path / "in" / "plate 1" / "well"
    deep.mkdir(parents=True)
    shutil.copy(data / "images" / "0.png", deep)
    assert morula("predict", tmp_path / "in", "-o", tmp_path / "out", "--model", model).exit_code == 0
    assert (tmp_path / "out" / "labels" / "plate 1" / "well" / "0.tif").exists()


def text_file(path: Path) -> None:
    path.write_text("not an image\n")


def empty_file(path: Path) -> None:
    path.write_bytes(b"")


def truncated_tiff(path: Path) -> None:
    path.unlink()
    tifffile.imwrite(path.with_suffix(".tif"), np.arange(4096, dtype=np.uint16).reshape(64, 64))
    cut(path.with_suffix(".tif"))


def nothing_but_nan(path: Path) -> None:
    path.unlink()
    tifffile.imwrite(path.with_suffix(".tif"), np.full((64, 64), np.nan, np.float32))


@pytest.mark.parametrize("spoil", [text_file, empty_file, truncated_tiff, nothing_but_nan])
def test_a_bad_image_is_named_and_the_others_are_done(spoil, data: Path, model: Path, tmp_path: Path):
    spoil(data / "images" / "0.png")
    out = tmp_path / "out"
    result = morula("predict", data / "images", "-o", out, "--model", model)
    assert result.exit_code == 1
    assert str(data / "images" / "0.") in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert {path.stem for path in (out / "labels").iterdir()} == {"1", "2", "3"}
    rows = {row["id"]: row.get("failure") for row in json.loads((out / "run.json").read_text())["images"]}
    assert rows["0"]
    assert rows["1"] is None
    assert "0." in (out / "report.html").read_text()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_few_pixels_without_a_number_do_no_harm(value: float, model: Path, tmp_path: Path):
    pixels = np.random.default_rng(0).random((64, 64), np.float32)
    pixels[3, 3] = value
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    result = morula("predict", tmp_path / "a.tif", "-o", tmp_path / "out", "--model", model)
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "out" / "labels" / "a.tif").exists()


def test_one_pixel_is_an_image(model: Path, tmp_path: Path):
    write_png(tmp_path / "a.png", np.ones((1, 1), np.uint8))
    result = morula("predict", tmp_path / "a.png", "-o", tmp_path / "out", "--model", model)
    assert result.exit_code in (0, 2)
    assert (result.exit_code == 0) == (tmp_path / "out" / "labels" / "a.tif").exists()


def test_when_every_image_is_bad_nothing_is_done(model: Path, tmp_path: Path):
    text_file(tmp_path / "a.png")
    result = morula("predict", tmp_path / "a.png", "-o", tmp_path / "out", "--model", model)
    assert result.exit_code == 2
    assert "a.png" in result.stderr
    assert not (tmp_path / "out" / "labels").exists()


def test_predict_names_what_to_look_at_first(data: Path, model: Path, tmp_path: Path):
    folder = tmp_path / "in"
    shutil.copytree(data / "images", folder)
    write_png(folder / "empty.png", np.zeros((40, 40), np.uint8))
    result = morula("predict", folder, "-o", tmp_path / "out", "--model", model)
    assert result.exit_code == 0, result.stderr
    listed = next(line for line in result.stdout.splitlines() if line.split()[:1] == ["empty"])
    assert "nothing found" in listed
    assert "Look at these first (" in result.stdout
    with (tmp_path / "out" / "images.csv").open(newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    assert len(rows) == 5
    assert (rows["empty"]["reliability"], rows["empty"]["look_first"]) == ("0.0", "nothing found")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "nuclej"], "nuclej"),
        (["--pixel-size", "0"], "--pixel-size"),
        (["--diameter", "big"], "--diameter"),
        (["--export", "dwg"], "dwg"),
        (["--mirror", "al"], "all"),
        (["--device", "abacus"], "abacus"),
    ],
)
def test_a_bad_option_of_predict_is_one_message(
    options: list[str], message: str, data: Path, model: Path, tmp_path: Path
):
    given = options if "--model" in options else [*options, "--model", str(model)]
    result = morula("predict", data / "images", "-o", tmp_path / "out", *given)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out" / "labels").exists()


@pytest.mark.parametrize("verb", ["predict", "train", "plan", "prepare"])
def test_a_missing_folder_is_one_message(verb: str, tmp_path: Path):
    result = morula(verb, tmp_path / "nowhere", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "nowhere" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_check_of_a_missing_folder_is_one_message(tmp_path: Path):
    result = morula("check", tmp_path / "nowhere")
    assert result.exit_code == 2
    assert "nowhere" in result.stderr


def test_a_folder_without_images_is_one_message(model: Path, tmp_path: Path):
    text_file(tmp_path / "notes.txt")
    result = morula("predict", tmp_path, "-o", tmp_path / "out", "--model", model)
    assert result.exit_code == 2
    assert "no images" in result.stderr
    assert not (tmp_path / "out").exists()


# Evaluate


def test_evaluate_names_what_it_could_not_pair(data: Path, tmp_path: Path):
    shutil.copytree(data / "labels", tmp_path / "predicted")
    (tmp_path / "predicted" / "0.tif").rename(tmp_path / "predicted" / "other.tif")
    result = morula("evaluate", tmp_path / "predicted", data, "-o", tmp_path / "out")
    assert result.exit_code == 0
    assert "1 without prediction" in result.stderr
    assert "1 without truth" in result.stderr
    assert "3 images" in result.stdout


def test_evaluate_goes_on_without_a_bad_pair(data: Path, tmp_path: Path):
    shutil.copytree(data / "labels", tmp_path / "predicted")
    cut(tmp_path / "predicted" / "0.tif")
    result = morula("evaluate", tmp_path / "predicted", data, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "0.tif" in result.stderr
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["n_images"] == 3


def test_evaluate_uses_the_selected_rows(data: Path, tmp_path: Path):
    (data / "index.csv").write_text("id,fold\n0,0\n1,0\n2,1\n3,1\n")
    words = ("evaluate", data / "labels", data, "-o", tmp_path / "out", "--select", "fold=1")
    assert "2 images" in morula(*words).stdout


def test_evaluate_without_a_common_name_is_refused(data: Path, tmp_path: Path):
    (tmp_path / "predicted").mkdir()
    shutil.copy(data / "labels" / "0.tif", tmp_path / "predicted" / "z.tif")
    result = morula("evaluate", tmp_path / "predicted", data, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert not (tmp_path / "out").exists()


# The machine


@pytest.mark.parametrize(
    ("code", "message"), [(errno.ENOSPC, "disk is full"), (errno.EDQUOT, "quota"), (errno.EROFS, "read-only")]
)
def test_a_disk_that_takes_no_more_leaves_nothing_half_written(
    code: int, message: str, data: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    flush, finished = writing._flush, []

    def flush_until_full(path: Path) -> None:
        if len(finished) == 6:
            raise OSError(code, "no")
        finished.append(path)
        flush(path)

    monkeypatch.setattr(writing, "_flush", flush_until_full)
    out = tmp_path / "out"
    result = morula("predict", data / "images", "-o", out, "--model", model)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    for path in (out / "labels").glob("*"):
        assert read_labels(path).shape == (64, 64)
    assert not [name for name in files_below(out) if ".part" in name]
    monkeypatch.setattr(writing, "_flush", flush)
    assert morula("predict", data / "images", "-o", out, "--model", model).exit_code == 0
    assert len(list((out / "labels").iterdir())) == 4


@pytest.mark.parametrize("verb", ["predict", "evaluate", "plan"])
def test_an_output_that_is_a_file_is_refused(verb: str, data: Path, model: Path, tmp_path: Path):
    (tmp_path / "out").write_text("mine")
    words = {
        "predict": (data / "images", "--model", model),
        "evaluate": (data / "labels", data),
        "plan": (data, "--recipe", "foreground"),
    }[verb]
    result = morula(verb, *words, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted; run the same command again to go on\n"),
        (InputError("what is wrong"), 2, "error: what is wrong\n"),
        (PermissionError(errno.EACCES, "Permission denied", "/a"), 2, "error: /a: Permission denied"),
    ],
)
def test_every_error_is_one_message(
    error: BaseException, code: int, message: str, data: Path, monkeypatch: pytest.MonkeyPatch
):
    def fall(*_args: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr("morula.data.check.check", fall)
    result = morula("check", data)
    assert result.exit_code == code
    assert result.stderr.startswith(message)


def test_a_mistake_of_ours_keeps_its_traceback(data: Path, monkeypatch: pytest.MonkeyPatch):
    def fall(*_args: object, **_options: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("morula.data.check.check", fall)
    with pytest.raises(ZeroDivisionError):
        morula("check", data)


# The sample data


def test_the_samples_are_as_their_table_says():
    folder = Path(str(files("morula"))) / "samples"
    rows = [row.split(",") for row in (folder / "index.csv").read_text().splitlines()[1:]]
    assert 8 <= len(rows) <= 12
    for name, _, height, width, _, n_objects, *_ in rows:
        labels = read_labels(folder / "labels" / f"{name}.tif")
        assert labels.shape == (int(height), int(width))
        assert len(np.unique(labels[labels > 0])) == int(n_objects)
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 2.5e6
