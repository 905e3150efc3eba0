"""What can be wrong with a data set: the kinds, and how grave each one is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from morula.errors import InputError

Severity = Literal["error", "warning"]
"""``error``: the sample cannot be used. ``warning``: it can, but somebody should look at it."""

KINDS: dict[str, Severity] = {
    # Any file
    "missing file": "error",
    "unreadable file": "error",
    "empty file": "error",
    "not an image": "error",
    "unknown format": "error",
    "truncated file": "error",
    "several images": "error",
    "ambiguous axes": "error",
    "wrong option": "error",
    "unusable values": "error",
    # Images
    "tiny image": "error",
    "constant image": "warning",
    "NaN or infinity": "warning",
    "nothing finite": "error",
    "transparent pixels": "warning",
    # Labels
    "wrong shape": "error",
    "labels in colour": "error",
    "lossy labels": "error",
    "fractional labels": "error",
    "negative ids": "error",
    "ids too large": "error",
    "float labels": "warning",
    "no objects": "warning",
    "nothing annotated": "warning",
    "labelled background": "warning",
    "several pieces": "warning",
    "8-bit overflow": "warning",
    "binary mask": "warning",
    "very small objects": "warning",
    "overlapping masks": "warning",
    "different places": "warning",
    # The data set as a whole
    "no labels at all": "error",
    "missing labels": "warning",
    "labels without image": "warning",
    "index row without image": "warning",
    "image without index row": "warning",
    "duplicated image": "warning",
    "leakage between folds": "error",
    "mixed dimensions": "error",
    "mixed channels": "warning",
    "mixed number types": "warning",
    "mixed pixel sizes": "warning",
    "classes or objects": "warning",
    "unnamed class": "error",
}
"""Every kind of problem with its severity."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and what to do about it."""

    kind: str
    """A key of `KINDS`."""

    severity: Severity
    """That of the kind."""

    path: Path
    """The file or folder to look at."""

    message: str
    """What was found, what was expected, what to do."""

    sample: str = ""
    """Id of the sample; empty when it concerns the data set as a whole."""


def problem(kind: str, path: Path, message: str, sample: str = "") -> Problem:
    """A problem with the severity of its kind."""
    return Problem(kind, KINDS[kind], path, message, sample)


class BadFileError(InputError):
    """A file that cannot be used, and which kind of problem that is."""

    def __init__(self, kind: str, message: str) -> None:
        """Remember the kind beside the message.

        Args:
            kind: A key of `KINDS`.
            message: Names the file; what was found, what was expected, what to do.
        """
        super().__init__(message)
        self.kind = kind


def damaged(path: Path, error: Exception | str) -> BadFileError:
    """The error of a file whose content stops short or makes no sense."""
    reason = str(error) or type(error).__name__
    return BadFileError(
        "truncated file", f"{path} is truncated or damaged ({reason}). Copy or export it again."
    )
