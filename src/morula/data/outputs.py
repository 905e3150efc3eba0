"""Output folders: each holds one kind of work, so that none destroys what another one made."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from morula.data.dataset import LABEL_FOLDERS
from morula.errors import InputError

Kind = Literal["a training run", "a model", "a prediction", "a comparison of recipes", "an evaluation"]

_MARKS: tuple[tuple[str, str], ...] = (
    ("request.toml", "a training run"),
    ("plan.toml", "a model"),
    ("run.json", "a prediction"),
    ("split.json", "a comparison of recipes"),
    ("metrics.json", "an evaluation"),
    *((name, "a data set") for name in (*LABEL_FOLDERS, "index.csv", "dataset.toml")),
)
"""What tells whose a folder is; the first that is there decides."""


def claim(folder: Path, own: Kind) -> None:
    """Refuse an output folder that holds something else.

    Args:
        folder: May be missing, empty, or hold what does not matter.
        own: What is to be written there.

    Raises:
        InputError: Says what it holds, and by which file that is known.
    """
    for name, kind in _MARKS:
        if not (folder / name).exists():
            continue
        if kind != own:
            msg = (
                f"{folder} holds {kind} (there is {folder / name}), of which {own} could overwrite files. "
                "Choose another folder with -o."
            )
            raise InputError(msg)
        return


def keep_apart(folder: Path, labels: Iterable[Path]) -> None:
    """Refuse an output folder that is, or lies in, a folder of label files.

    Pictures written there would be read as labels the next time.

    Args:
        folder: May be missing.
        labels: Folders of label files.

    Raises:
        InputError: Names both folders.
    """
    place = folder.resolve()
    for other in labels:
        if place.is_relative_to(other.resolve()):
            msg = (
                f"{folder} is, or lies in, {other}, a folder of label files; pictures there would be"
                " read as labels the next time. Choose a folder beside it with -o."
            )
            raise InputError(msg)
