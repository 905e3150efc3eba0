"""What an array's axes mean, and how they are put in the order ``(C, *spatial)``.

Letters: ``Z Y X`` space, ``C`` channels, ``S`` colour samples (RGB, RGBA), ``T`` time, ``?`` unknown. A
meaning is read from the file or given by the user; it is never guessed.
"""

import math
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np

from morula.data.problems import BadFileError
from morula.data.sample import RGB, Image
from morula.types import PathLike, Spacing

_RGBA = (*RGB, "alpha")

_UNNAMED = {"grey", "channel 0"}
"""Names that stand for channels without one."""

MICROMETRES = {
    "µm": 1.0,
    "μm": 1.0,
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "\\u00b5m": 1.0,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "pm": 1e-6,
    "å": 1e-4,
    "angstrom": 1e-4,
    "mm": 1e3,
    "millimeter": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "m": 1e6,
    "meter": 1e6,
}
"""Micrometres per unit of length, by the unit's names in files (lower case)."""


@dataclass(frozen=True)
class Raw:
    """An array as it lies in its file, with what the file says about it."""

    pixels: np.ndarray
    """Any number of axes."""

    axes: str
    """One letter per axis of `pixels`."""

    channels: tuple[str, ...] = ()
    """Names of the channels; empty when the file has none."""

    sizes_um: dict[str, float] = field(default_factory=dict)
    """Micrometres per pixel along ``Z``, ``Y``, ``X``, as far as known."""


def arrange_image(
    raw: Raw, name: str, axes: str | None, channels: tuple[str, ...] | None, spacing_um: Spacing | None
) -> Image:
    """The image in `raw`, channels first, with what the user says about it put before what the file says.

    But for what is meant for other files: colours stay colours, axes that are fewer or more stay as they
    are, and names that the file has in another order are refused. An alpha channel
    that is the same everywhere (opaque) says nothing and is dropped; one that varies is kept as the channel
    ``alpha``. Axes of length one that are not ``Y`` or ``X`` are dropped, save a ``Z`` that `axes` names.

    Raises:
        InputError: Axes are ambiguous, or `axes`, `channels` or `spacing_um` do not fit the file, or
            contradict it.
    """
    pixels, letters = _settle(raw, name, axes)
    if "C" in letters and "S" in letters:
        _refuse(
            "ambiguous axes",
            f"{name}: has channels and colour samples (axes {letters}).",
            "Save it as one or the other.",
        )
    colours = "S" in letters
    letters = letters.replace("S", "C")
    order = [letters.index(letter) for letter in "CZYX" if letter in letters]
    pixels = pixels.transpose(order)
    if "C" not in letters:
        pixels = pixels[np.newaxis]
    names = raw.channels
    if colours:
        pixels, names = _drop_opaque(pixels, names)
    names = _channel_names(len(pixels), names, channels, name)
    spatial = "ZYX" if "Z" in letters else "YX"
    return Image(_usable(pixels, name), names, _spacing(raw, spatial, spacing_um, name))


def arrange_labels(raw: Raw, name: str, axes: str | None) -> np.ndarray:
    """The array in `raw` as ``(*spatial)``: labels have no channels, so three axes are ``Z Y X``.

    Raises:
        InputError: The file holds colours or channels, or its axes are ambiguous.
    """
    if "?" not in raw.axes and "T" not in raw.axes:
        axes = None  # what label files say goes first: the option speaks of the images
    elif axes is None and sum(length > 1 for length in raw.pixels.shape) == 3:
        raw = Raw(raw.pixels.squeeze(), "ZYX")
    pixels, letters = _settle(raw, name, axes)
    if letters.endswith("S") and pixels.shape[-1] == 2 and _is_constant(pixels[..., 1]):
        pixels, letters = pixels[..., 0], letters[:-1]
    for letter in "CS":
        if letter in letters:
            count = pixels.shape[letters.index(letter)]
            _refuse(
                "labels in colour",
                f"{name}: labels with {count} channels; expected one integer id per pixel.",
                "Save the label image as one grey channel of integers, not as colours.",
            )
    return pixels.transpose([letters.index(letter) for letter in "ZYX" if letter in letters])


def _refuse(kind: str, found: str, remedy: str) -> NoReturn:
    raise BadFileError(kind, f"{found} {remedy}")


def _settle(raw: Raw, name: str, axes: str | None) -> tuple[np.ndarray, str]:
    """Pixels and letters with nothing left but ``C S Z Y X``, each at most once."""
    if 0 in raw.pixels.shape:
        _refuse(
            "unusable values",
            f"{name}: holds no pixels (shape {raw.pixels.shape}).",
            "Copy or export it again.",
        )
    pixels, letters = (raw.pixels, raw.axes) if axes is None else _by_option(raw, name, axes.upper())
    if axes is None and letters == "?" * pixels.ndim and pixels.ndim >= 2:
        letters = _planar(pixels.shape)
    always = "ZYX" if axes and "Z" in axes.upper() else "YX"
    keep = [i for i, letter in enumerate(letters) if pixels.shape[i] > 1 or letter in always]
    pixels = pixels.reshape([pixels.shape[i] for i in keep])
    letters = "".join(letters[i] for i in keep)
    if "T" in letters:
        _refuse(
            "ambiguous axes",
            f"{name}: has {pixels.shape[letters.index('T')]} time points (axes {letters}); expected one.",
            "Save each as a file of its own, or, if this is no time, say so with --axes (such as ZYX).",
        )
    if not {"Y", "X"} <= set(letters) <= set("CSZYX") or len(set(letters)) < len(letters):
        _refuse(
            "ambiguous axes",
            f"{name}: nothing says what the axes of its shape {raw.pixels.shape} are.",
            "Say so with --axes, 'axes' in dataset.toml or axes= in Python: one letter of C Z Y X per axis,"
            " such as ZYX or CYX (S for RGB samples).",
        )
    return pixels, letters


def check_axes(axes: str) -> None:
    """Refuse what names no axes.

    Raises:
        InputError: Unknown or repeated letters, or one of ``Y`` and ``X`` is missing.
    """
    letters = set(axes.upper())
    if letters - set("CSZYXT") or len(letters) < len(axes) or not {"Y", "X"} <= letters:
        _refuse(
            "wrong option",
            f"--axes {axes} (or axes in dataset.toml): expected each of Y and X, and perhaps Z, C, "
            "S (RGB samples) or T, once.",
            "Give one letter per axis of the array, in its order, such as ZYX.",
        )


def _planar(shape: tuple[int, ...]) -> str:
    """Letters of an array without metadata: known only if at most two axes are longer than one."""
    long = [index for index, length in enumerate(shape) if length > 1]
    rest = [index for index in reversed(range(len(shape))) if index not in long]
    plane = sorted((long + rest)[:2]) if len(long) <= 2 else []
    return "".join("YX"[plane.index(index)] if index in plane else "?" for index in range(len(shape)))


def _by_option(raw: Raw, name: str, axes: str) -> tuple[np.ndarray, str]:
    """Pixels and letters as the user names them; lengths of one may be left out."""
    check_axes(axes)
    if _is_other(raw, axes):
        return raw.pixels, raw.axes
    for pixels in (raw.pixels, raw.pixels.squeeze()):
        if pixels.ndim == len(axes):
            return pixels, axes
    if raw.pixels.ndim == 2 and len(axes) > 2:
        return raw.pixels, "YX"  # a single plane among stacks
    _refuse(
        "wrong option",
        f"{name}: has the shape {raw.pixels.shape}, but --axes {axes} names {len(axes)} axes.",
        "Give one letter per axis of the array, in its order.",
    )


def _is_other(raw: Raw, axes: str) -> bool:
    """Whether a file names its axes and `axes` is not meant for it: of colours, or of other axes."""
    long = zip(raw.axes, raw.pixels.shape, strict=True)
    own = "".join(letter for letter, length in long if length > 1 or letter in "YX")
    return not {"?", "T"} & set(raw.axes) and ("S" in own or len(axes) != len(own))


def _is_constant(pixels: np.ndarray) -> bool:
    return bool((pixels == pixels.flat[0]).all())


def _drop_opaque(pixels: np.ndarray, names: tuple[str, ...]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Colour samples ``(S, ...)`` without an alpha that says nothing, and their names."""
    names = names or {1: ("grey",), 2: ("grey", "alpha"), 3: RGB, 4: _RGBA}.get(len(pixels), ())
    if names[-1:] == ("alpha",) and _is_constant(pixels[-1]):
        return pixels[:-1], names[:-1]
    return pixels, names


def _channel_names(
    count: int, own: tuple[str, ...], given: tuple[str, ...] | None, name: str
) -> tuple[str, ...]:
    said = len(own) == count and len(set(own)) == count and not _UNNAMED & set(own)
    if given is None or (said and len(given) != count):
        if said or len(own) == count == len(set(own)):
            return own
        return ("grey",) if count == 1 else tuple(f"channel {index}" for index in range(count))
    if len(given) != count:
        _refuse(
            "wrong option",
            f"{name}: has {count} channels, but {len(given)} names were given ({', '.join(given)}).",
            "Name each channel once with --channels or 'channels' in dataset.toml.",
        )
    mine, theirs = ([each.casefold() for each in names] for names in (own, given))
    if said and mine != theirs and set(mine) & set(theirs):
        _refuse(
            "wrong option",
            f"{name}: names its channels {', '.join(own)} itself, but {', '.join(given)} was given.",
            "Leave out --channels (or 'channels' in dataset.toml), or give the names in the file's order.",
        )
    return given


def _usable(pixels: np.ndarray, name: str) -> np.ndarray:
    """`pixels` as native numbers: booleans as 0 and 1."""
    if pixels.dtype.kind == "b":
        return pixels.astype(np.uint8)
    if pixels.dtype.kind not in "uif":
        _refuse(
            "unusable values",
            f"{name}: holds {pixels.dtype} values; expected integers or floats.",
            "Export it as numbers.",
        )
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def _spacing(raw: Raw, spatial: str, given: Spacing | None, name: str) -> Spacing | None:
    if given is None:
        own = tuple(raw.sizes_um.get(letter, 0.0) for letter in spatial)
        return own if all(math.isfinite(size) and size > 0 for size in own) else None
    if len(given) == 1:
        given = given * len(spatial)
    if len(given) != len(spatial) or not all(math.isfinite(size) and size > 0 for size in given):
        _refuse(
            "wrong option",
            f"{name}: has the axes {spatial}, but the pixel size given is {given}.",
            f"Give one positive number of micrometres, or {len(spatial)} in the order {' '.join(spatial)}.",
        )
    return given


def show(paths: tuple[PathLike, ...]) -> str:
    """`paths` as they stand in messages: the first and how many more."""
    return str(paths[0]) + (f" (and {len(paths) - 1} more)" if len(paths) > 1 else "")
