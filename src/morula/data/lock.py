"""A run folder belongs to one process at a time: two that write into it would spoil each other's work."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from morula.errors import InputError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

NAME = ".lock"
"""The file in the run folder that is locked; that it exists means nothing."""


@contextmanager
def hold(folder: Path, name: str = NAME) -> Iterator[None]:
    """Hold a run folder for this process.

    The lock is the operating system's: it ends with the process, however that ends, so that a killed run can
    be continued at once. File systems that know no locks (some network disks) hold nothing.

    Args:
        folder: An existing folder.
        name: Of the file; work that calls other work on the same folder has a lock of its own.

    Raises:
        InputError: Another process holds it, or it cannot be written to.
    """
    path = folder / name
    try:
        file = path.open("a")
    except OSError as error:
        msg = f"{path} cannot be written: {error.strerror}. Choose another output folder."
        raise InputError(msg) from error
    with file:
        if _is_taken(file):
            msg = (
                f"another process is working in {folder}. Wait until it is done, or stop it, then run the "
                "same command again; or choose a new folder with -o."
            )
            raise InputError(msg)
        yield


def _is_taken(file: IO[str]) -> bool:
    """Whether another process holds the lock; if not, this one does until `file` is closed."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return True
    except OSError:
        return False  # no locks here
    return False
