"""Which way is up: what cameras write beside the pixels, and viewers heed when they show them.

Source: TIFF 6.0, tag 274 "Orientation"; Exif 2.32 (JEITA CP-3451), the same tag in JPEG's segment APP1.
"""

import struct
from dataclasses import replace

import numpy as np

from morula.data.axes import Raw

TAG = 274
"""Number of the tag in TIFF and Exif."""

_TURNS = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
"""Per orientation: whether y and x are swapped, and whether y and x are then reversed."""


def upright(raw: Raw, orientation: int) -> Raw:
    """The image as viewers show it; unchanged for 1 (upright already), unknown values, or unknown axes."""
    if orientation not in _TURNS or not {"Y", "X"} <= set(raw.axes):
        return raw
    swapped, *reverse = _TURNS[orientation]
    y, x = raw.axes.index("Y"), raw.axes.index("X")
    pixels = raw.pixels.swapaxes(y, x) if swapped else raw.pixels
    backwards = tuple(axis for axis, flipped in zip((y, x), reverse, strict=True) if flipped)
    pixels = np.flip(pixels, backwards)
    sizes = dict(raw.sizes_um)
    if swapped:
        sizes |= {new: raw.sizes_um[old] for new, old in ("YX", "XY") if old in raw.sizes_um}
    return replace(raw, pixels=np.ascontiguousarray(pixels), sizes_um=sizes)


def orientation_of_jpeg(content: bytes) -> int:
    """The orientation in a JPEG's Exif data; 1 where there is none, or where it makes no sense."""
    place = 2
    while content[place : place + 1] == b"\xff" and content[place + 1 : place + 2] not in (b"\xda", b""):
        size = int.from_bytes(content[place + 2 : place + 4], "big")
        segment = content[place + 4 : place + 2 + size]
        if content[place + 1] == 0xE1 and segment.startswith(b"Exif\0\0"):
            return _orientation_of_exif(segment[6:])
        place += 2 + size
    return 1


def _orientation_of_exif(exif: bytes) -> int:
    """The tag in the first directory of a TIFF header."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    try:
        if order is None:
            return 1
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for index in range(count):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", exif, start + 2 + 12 * index)
            if (tag, kind) == (TAG, 3):
                return value
    except struct.error:  # cut off: viewers show such images as they are stored
        return 1
    return 1
