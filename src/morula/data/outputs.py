"""Output folders: each holds one kind of work, so that none destroys what another one made."""

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
