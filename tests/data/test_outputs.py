"""Output folders are not mixed up."""

from pathlib import Path

import pytest

from morula.data.outputs import claim, keep_apart
from morula.errors import InputError


@pytest.mark.parametrize(
    ("mark", "kind"),
    [
        ("run.json", "a prediction"),
        ("request.toml", "a training run"),
        ("split.json", "a comparison of recipes"),
        ("metrics.json", "an evaluation"),
    ],
)
def test_a_folder_is_kept_for_its_own_kind(tmp_path: Path, mark: str, kind):
    claim(tmp_path / "missing", kind)
    claim(tmp_path, kind)
    (tmp_path / "notes.txt").touch()
    (tmp_path / mark).touch()
    claim(tmp_path, kind)
    for other in {"a prediction", "a training run", "an evaluation"} - {kind}:
        with pytest.raises(InputError, match=rf"holds {kind} .*{mark}.*Choose another folder with -o"):
            claim(tmp_path, other)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", ["labels", "masks"])
def test_a_data_set_is_no_output_folder(tmp_path: Path, name: str):
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match="holds a data set"):
        claim(tmp_path, "a prediction")


def test_scores_of_a_run_belong_to_the_run(tmp_path: Path):
    for name in ("metrics.json", "plan.toml", "request.toml"):
        (tmp_path / name).touch()
    claim(tmp_path, "a training run")
    with pytest.raises(InputError, match="a training run"):
        claim(tmp_path, "an evaluation")


@pytest.mark.parametrize("out", ["a/labels", "a/labels/scores", "./a/../a/labels/"])
def test_results_go_not_among_label_files(tmp_path: Path, out: str):
    (tmp_path / "a/labels").mkdir(parents=True)
    with pytest.raises(InputError, match=r"folder of label files.*Choose a folder beside it with -o"):
        keep_apart(tmp_path / out, [tmp_path / "other", tmp_path / "a/labels"])
    keep_apart(tmp_path / "a", [tmp_path / "a/labels"])
    keep_apart(tmp_path / "a/scores", [tmp_path / "a/labels"])
    keep_apart(tmp_path / "a/labels2", [tmp_path / "a/labels"])
