"""NumPy's own files."""

from pathlib import Path

import numpy as np

from morula.data.axes import Raw
from morula.data.files import read_start
from morula.data.problems import BadFileError, damaged


def read_numpy(path: Path) -> Raw:
    """The array of a ``.npy`` file, or the only one of an ``.npz``; its axes are unknown.

    Raises:
        InputError: The file is damaged, or holds pickled objects or several arrays.
    """
    read_start(path, 1)
    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            arrays = {"": content} if isinstance(content, np.ndarray) else dict(content)
    except Exception as error:  # whatever damaged bytes lead to
        raise damaged(path, error) from error
    if len(arrays) != 1:
        msg = f"{path} holds {len(arrays)} arrays ({', '.join(arrays)}); expected one. Save the image alone."
        raise BadFileError("several images", msg)
    pixels = next(iter(arrays.values()))
    return Raw(pixels, "?" * pixels.ndim)
