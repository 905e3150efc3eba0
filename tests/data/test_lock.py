import subprocess
import sys
from pathlib import Path

import pytest

from morula.data.lock import hold
from morula.errors import InputError

HOLDER = """
import sys, time
from pathlib import Path
from morula.data.lock import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_process_is_refused_until_the_first_one_is_gone(tmp_path: Path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            with pytest.raises(InputError, match=r"another process is working in .*Wait"), hold(tmp_path):
                pass
        finally:
            other.kill()
        other.wait()
        with hold(tmp_path):
            pass


def test_a_folder_can_be_held_again_and_holds_what_went_wrong_inside(tmp_path: Path):
    for _ in range(2):
        with pytest.raises(KeyError), hold(tmp_path):
            raise KeyError
    with pytest.raises(InputError, match="cannot be written"), hold(tmp_path / "missing"):
        pass


def test_a_file_system_without_locks_is_no_reason_not_to_train(tmp_path: Path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with hold(tmp_path):
        pass
