"""A training that is killed for real, in a process of its own."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from broken import make_dataset
from tiny import morula

SETTINGS = (
    "training.steps=200",
    "training.batch_size=1",
    "training.patch_size=[32, 32]",
    'network={kind="residual_unet", features=[8, 16], blocks=[1, 1]}',
    "inference.tile_size=[64, 64]",
)

# A checkpoint after every step, so that the kill may strike between, before and in writing one.
TRAINING = """
import sys
from morula.cli import app
from morula.training import loop
loop.CHECKPOINT_SECONDS = 0.0
app(sys.argv[1:])
"""


def words(data: Path, run: Path) -> list[str]:
    settings = [word for pair in SETTINGS for word in ("--set", pair)]
    return ["train", str(data), "-o", str(run), "--recipe", "foreground", *settings]


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 300
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
def test_a_killed_training_goes_on_bit_for_bit_and_alone(tmp_path: Path):
    data, killed, whole = make_dataset(tmp_path / "data"), tmp_path / "killed", tmp_path / "whole"
    # What the verb imports is here before time counts.
    assert morula("train", tmp_path / "none").exit_code == 2
    command = [sys.executable, "-c", TRAINING, *words(data, killed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_for(killed / "fold_0" / "checkpoint.safetensors", process)
        second = morula("train", killed)
        # Its first line stands for twenty of the steps.
        wait_for(killed / "fold_0" / "journal.jsonl", process)
        process.kill()
    assert second.exit_code == 2
    assert "another process is working in" in second.stderr
    assert process.returncode != 0, "the training was over before it was killed"

    assert morula("train", killed).exit_code == 0
    assert morula(*words(data, whole)).exit_code == 0
    for name in ("checkpoint", "weights"):
        one, other = (load_file(run / "fold_0" / f"{name}.safetensors") for run in (killed, whole))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one), name
    journals = [(run / "fold_0" / "journal.jsonl").read_text() for run in (killed, whole)]
    assert journals[0] == journals[1]
