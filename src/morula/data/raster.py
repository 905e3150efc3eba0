"""PNG, JPEG and BMP."""

from pathlib import Path

from morula.data.axes import Raw
from morula.data.files import read_bytes
from morula.data.orientation import orientation_of_jpeg, upright
from morula.data.problems import BadFileError, damaged

_MAGIC = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"BM": "bmp"}


def read_raster(path: Path) -> Raw:
    """A PNG (1 to 16 bit, grey or colour), JPEG or BMP, told apart by its content, not its suffix.

    A JPEG comes upright: as viewers show it, when the camera was held on its side.

    Raises:
        InputError: The file is unreadable, empty, truncated or no such image.
    """
    import imagecodecs

    content = read_bytes(path)
    kind = next((kind for magic, kind in _MAGIC.items() if content.startswith(magic)), None)
    if kind is None:
        msg = f"{path} is not an image: it begins with {content[:12]!r}; expected PNG, JPEG, BMP or TIFF."
        raise BadFileError("not an image", f"{msg} Remove it or export it again.")
    decode = {"png": imagecodecs.png_decode, "jpeg": imagecodecs.jpeg_decode, "bmp": imagecodecs.bmp_decode}[
        kind
    ]
    if kind == "jpeg" and content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda"):
        # libjpeg fills what is missing with grey and says nothing.
        raise damaged(path, "the end marker is missing")
    try:
        pixels = decode(content)
    except Exception as error:  # whatever damaged bytes lead to
        raise damaged(path, error) from error
    raw = Raw(pixels, "YX" if pixels.ndim == 2 else "YXS")
    return upright(raw, orientation_of_jpeg(content)) if kind == "jpeg" else raw
