"""Writing so that nothing is ever half-written, and reading bytes with errors that a user can mend."""

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from morula.data.problems import BadFileError
from morula.errors import InputError

_REMEDIES = {
    errno.ENOSPC: "The disk is full: free some space or write elsewhere",
    errno.EDQUOT: "Your disk quota is used up: free some space or write elsewhere",
    errno.EROFS: "The file system is read-only: write elsewhere",
    errno.EACCES: "You have no permission to write there: write elsewhere",
    errno.EPERM: "You have no permission to write there: write elsewhere",
    errno.ENOTDIR: "A part of this path is a file, not a folder: write elsewhere",
    errno.EEXIST: "A file of this name stands where a folder is needed: write elsewhere",
    errno.ENAMETOOLONG: "The name is too long: choose a shorter one",
}


@contextmanager
def write_atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, same suffix, renamed to `path` when the block ends without error.

    Missing folders are made. Whatever happens, `path` holds either its old content or the new one in full,
    and no temporary file stays behind (unless the process is killed: such a file is hidden).

    Raises:
        InputError: The disk is full, read-only or not permitted; the message says which.
    """
    suffix = "".join(path.suffixes[-2:])
    part = path.with_name(f".{uuid.uuid4().hex}.part{suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        _flush(part)
        part.replace(path)
    except OSError as error:
        raise _writing(path, error) from error
    finally:
        # The first error is the one to tell.
        with suppress(OSError):
            part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, UTF-8, whole or not at all (see `write_atomic`).

    Raises:
        InputError: It cannot be written.
    """
    with write_atomic(path) as part:
        part.write_text(text, encoding="utf-8")


def make_folder(folder: Path) -> Path:
    """`folder`, made with its parents where it is missing.

    Raises:
        InputError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _writing(folder, error) from error
    return folder


def _flush(part: Path) -> None:
    # A full quota on a network disk shows only when the bytes have to arrive.
    with part.open("rb+") as file:
        os.fsync(file.fileno())


def _writing(path: Path, error: OSError) -> InputError:
    remedy = _REMEDIES.get(error.errno or 0, "Choose another output folder")
    return InputError(
        f"{path} cannot be written: {error.strerror or error}. {remedy}; nothing was left half-written."
    )


def read_bytes(path: Path) -> bytes:
    """All bytes of a file.

    Raises:
        InputError: It is missing, a folder, unreadable or empty.
    """
    return read_start(path, -1)


def read_start(path: Path, count: int) -> bytes:
    """The first `count` bytes of a file, or fewer when it is shorter; -1: all of them.

    Raises:
        InputError: It is missing, a folder, unreadable or empty.
    """
    try:
        with path.open("rb") as file:
            content = file.read(count)
    except FileNotFoundError as error:
        msg = f"{path} does not exist. Check the name, or the index that names it."
        raise BadFileError("missing file", msg) from error
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror or error}. Check its permissions and copy it again."
        raise BadFileError("unreadable file", msg) from error
    if not content:
        msg = f"{path} is empty (0 bytes). Copy or export it again."
        raise BadFileError("empty file", msg)
    return content
