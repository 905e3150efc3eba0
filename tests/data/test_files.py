"""Nothing is ever half-written."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from morula.data.files import read_bytes, write_atomic, write_text
from morula.data.formats import write_labels
from morula.errors import InputError


def write_half(path: Path, error: Exception) -> None:
    with write_atomic(path) as part:
        part.write_text("half of the ne")
        raise error


def write_to_a_full_disk(path: Path) -> None:
    with write_atomic(path) as part:
        part.symlink_to("/dev/full")
        part.write_bytes(bytes(100_000))


def test_writes_what_the_block_wrote_and_makes_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.json"
    with write_atomic(path) as part:
        assert part.suffix == ".json"
        assert part.parent == path.parent
        part.write_text("1")
        assert not path.exists()
    assert path.read_text() == "1"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_in_the_block_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="stop"):
        write_half(path, RuntimeError("stop"))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_a_full_disk_is_told_and_nothing_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(InputError, match=r"a\.bin cannot be written.*The disk is full"):
        write_to_a_full_disk(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "The disk is full: free some space"),
        (errno.EDQUOT, "Your disk quota is used up"),
        (errno.EROFS, "The file system is read-only: write elsewhere"),
        (errno.EIO, "Choose another output folder"),
    ],
)
def test_errors_that_show_only_at_the_end_are_told(
    code: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(InputError, match=words):
        write_labels(tmp_path / "a.tif", np.ones((4, 4), np.int32))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(InputError, match="no permission"):
            write_labels(tmp_path / "a.tif", np.ones((4, 4), np.int32))
    finally:
        tmp_path.chmod(0o700)


def test_a_file_in_the_place_of_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match=r"is needed|not a folder"):
        write_labels(tmp_path / "out" / "a.tif", np.ones((4, 4), np.int32))


def test_a_block_that_wrote_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"), write_atomic(tmp_path / "a.png"):
        pass


def test_read_bytes_names_what_is_missing_or_empty(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(InputError, match=r"is empty \(0 bytes\)"):
        read_bytes(tmp_path / "a")
    with pytest.raises(InputError, match="does not exist"):
        read_bytes(tmp_path / "b")
    with pytest.raises(InputError, match="cannot be read"):
        read_bytes(tmp_path)


def test_text_is_utf_8_and_whole(tmp_path):
    write_text(tmp_path / "new" / "a.txt", "5 µm\n")
    assert (tmp_path / "new" / "a.txt").read_bytes() == b"5 \xc2\xb5m\n"
    with pytest.raises(InputError, match="cannot be written"):
        write_text(tmp_path / "new", "a folder stands there")
    assert [path.name for path in tmp_path.rglob("*")] == ["new", "a.txt"]
