"""The verb selftrain as a user meets it."""

from pathlib import Path

import pytest

from broken import make_dataset, write_png
from synthetic import picture_of, touching_balls
from tiny import morula

SHORT = (
    "training.steps=30",
    "training.batch_size=2",
    "training.patch_size=[32, 32]",
    "training.optimizer.learning_rate=0.01",
    'network={kind="plain_unet", features=[8, 16]}',
    "inference.mirror=none",
)


def sets(*pairs: str) -> list[str]:
    return [word for pair in pairs for word in ("--set", pair)]


def test_help_imports_nothing_and_says_what_there_is():
    result = morula("selftrain", "--help")
    assert result.exit_code == 0
    assert "st++" in result.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "stpp"], "--method 'stpp': expected iterative or st++"),
        (["--budget", "soon"], "'soon' is not a time"),
        ([], "no run folder"),
    ],
)
def test_wrong_options_end_with_2(words: list[str], message: str, tmp_path: Path):
    result = morula("selftrain", tmp_path, *words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_student_is_a_model(tmp_path: Path):
    data, run = make_dataset(tmp_path / "data"), tmp_path / "run"
    trained = morula("train", data, "-o", run, "--recipe", "foreground", "--labelled", "3", *sets(*SHORT))
    assert trained.exit_code == 0, trained.stderr
    more = tmp_path / "more"
    write_png(more / "new.png", picture_of(touching_balls(2, radius=8), seed=9))
    write_png(more / "broken.png", picture_of(touching_balls(2)))
    (more / "broken.png").write_bytes(b"\x89PNG")
    words = ["--unlabelled", more, "--rounds", "1", *sets("training.steps=3")]
    result = morula("selftrain", run, *words)
    assert result.exit_code == 1, result.stderr
    assert "broken.png" in result.stderr
    assert "round 1" in result.stdout
    out = tmp_path / "run-selftrained"
    assert f"--model {out}" in result.stdout
    found = morula("predict", more / "new.png", "-o", tmp_path / "found", "--model", out)
    assert found.exit_code == 0, found.stderr
    refused = morula("selftrain", run, "--unlabelled", more, "--rounds", "2")
    assert refused.exit_code == 2
    assert "asked for differently" in refused.stderr
    bare = morula("selftrain", run, "--unlabelled", more, "--method", "st++", "-o", tmp_path / "other")
    assert bare.exit_code == 2
    assert "--set training.snapshots=3" in bare.stderr
