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
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return Raw(content, "?" * content.ndim)
        with content:
            names = tuple(content.files)
            if len(names) == 1:
                pixels = content[names[0]]
                return Raw(pixels, "?" * pixels.ndim)
    except Exception as error:
        raise damaged(path, error) from error
    msg = f"{path} holds {len(names)} arrays ({', '.join(names)}); expected one. Save the image alone."
    raise BadFileError("several images", msg)
