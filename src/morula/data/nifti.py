"""NIfTI, plain and compressed."""

import gzip
from pathlib import Path
from typing import cast

import numpy as np

from morula.data.axes import Raw
from morula.data.files import read_bytes
from morula.data.problems import damaged

_MICROMETRES = {"mm": 1e3, "micron": 1.0, "meter": 1e6}


def read_nifti(path: Path) -> Raw:
    """A NIfTI volume in the order ``(z, y, x)``: the file's axes reversed, never reoriented.

    A file that leaves the unit open means millimetres, as NIfTI readers agree.

    Raises:
        InputError: The file is truncated, damaged or no NIfTI.
    """
    content = read_bytes(path)
    if content[:2] != b"\x1f\x8b":
        return _parse(path, content)
    import imagecodecs

    try:
        # libdeflate is 5 to 10 times as fast as zlib, but knows neither several members nor what is cut off.
        return _parse(path, cast("bytes", imagecodecs.gzip_decode(content)))
    except (RuntimeError, SystemError, ValueError, MemoryError):
        pass
    try:
        inflated = gzip.decompress(content)
    except Exception as error:  # whatever damaged bytes lead to
        raise damaged(path, error) from error
    return _parse(path, inflated)


def _parse(path: Path, content: bytes) -> Raw:
    import nibabel

    second = content[:4] in (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c")
    kind = nibabel.Nifti2Image if second else nibabel.Nifti1Image
    try:
        volume = kind.from_bytes(content)
        pixels = np.asanyarray(volume.dataobj).T
        unit = str(volume.header.get_xyzt_units()[0])
        sizes = volume.header.get_zooms()
    except Exception as error:
        raise damaged(path, error) from error
    letters = "CTZYX"[-pixels.ndim :] if pixels.ndim <= 5 else "?" * pixels.ndim
    scale = _MICROMETRES.get(unit, 1e3)
    # Sizes are stored in single precision: seven digits are theirs, the rest is noise (7.6999998).
    named = zip("XYZ", sizes, strict=False)
    return Raw(pixels, letters, (), {letter: scale * float(f"{size:.7g}") for letter, size in named})
