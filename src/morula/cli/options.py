"""Options that several verbs share, and what their text means."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from morula.errors import InputError

if TYPE_CHECKING:
    from morula.training.run import Request

DataFolder = Annotated[
    Path, typer.Argument(metavar="DATA", help="Folder with images and labels, in any known layout.")
]
RunFolder = Annotated[Path, typer.Option("-o", "--out", metavar="RUN", help="Run folder to write.")]
OutFolder = Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Folder to write.")]
Recipe = Annotated[str, typer.Option(metavar="NAME", help="Recipe to start from; see 'morula recipes'.")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Decide one key of the plan; may be repeated."),
]
Selection = Annotated[
    list[str] | None,
    typer.Option(
        "--select",
        metavar="COLUMN=VALUE[,VALUE]",
        help="Use only rows of index.csv with these values; may be repeated.",
    ),
]
Axes = Annotated[
    str | None,
    typer.Option(metavar="AXES", help="Order of the axes, such as YXC, where files do not say."),
]
Channels = Annotated[
    str | None, typer.Option(metavar="NAME,...", help="Names of the channels, where files do not name them.")
]
PixelSize = Annotated[
    str | None,
    typer.Option(metavar="UM[,UM...]", help="Pixel size in micrometres, one number or one per axis (z,y,x)."),
]
Device = Annotated[str, typer.Option(metavar="NAME", help="cpu, cuda or cuda:1.")]


LEAST_DIAMETER, MOST_DIAMETER = 1.0, 10_000.0
"""Of objects that ``--diameter`` may name, in pixels."""


def request_of(
    data: Path,
    *,
    recipe: str,
    changes: Sequence[str] | None,
    select: Sequence[str] | None,
    **rest: Any,
) -> "Request":
    """The request that the options spell."""
    from morula.training.run import Request

    wanted = {column: tuple(sorted(values)) for column, values in parse_selection(select).items()}
    return Request(
        data=str(data.resolve()), recipe=recipe, overrides=tuple(changes or ()), select=wanted, **rest
    )


def parse_selection(options: Sequence[str] | None) -> dict[str, set[str]]:
    """Columns and the values wanted from ``column=value,value`` options.

    >>> parse_selection(["fold=1,2"]) == {"fold": {"1", "2"}}
    True

    Raises:
        InputError: An option is not of that form.
    """
    wanted: dict[str, set[str]] = {}
    for option in options or ():
        column, _, values = option.partition("=")
        if not column or not values:
            msg = f"--select {option!r}: expected column=value or column=value,value, such as fold=1,2,3."
            raise InputError(msg)
        wanted.setdefault(column, set()).update(values.split(","))
    return wanted


def parse_pixel_size(text: str | None) -> tuple[float, ...] | None:
    """Micrometres per axis from ``0.5`` or ``2,0.5,0.5``.

    >>> parse_pixel_size("2,0.5,0.5")
    (2.0, 0.5, 0.5)

    Raises:
        InputError: Not one to three positive numbers.
    """
    if text is None:
        return None
    try:
        sizes = tuple(float(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    if not 1 <= len(sizes) <= 3 or not all(0 < size < float("inf") for size in sizes):
        msg = f"--pixel-size {text!r}: expected micrometres, one number or one per axis: 0.5 or 2,0.5,0.5."
        raise InputError(msg)
    return sizes


def parse_names(text: str | None) -> tuple[str, ...] | None:
    """Names from ``dapi,actin``.

    >>> parse_names("dapi, actin")
    ('dapi', 'actin')
    """
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else None


def parse_diameter(text: str) -> float | Literal["auto", "trained"]:
    """Pixels, ``auto`` or ``trained``.

    >>> parse_diameter("30"), parse_diameter("auto")
    (30.0, 'auto')

    Raises:
        InputError: Neither a positive number nor one of these words.
    """
    if text == "auto" or text == "trained":
        return text
    try:
        diameter = float(text)
    except ValueError:
        diameter = 0.0
    if not LEAST_DIAMETER <= diameter <= MOST_DIAMETER:
        msg = (
            f"--diameter {text!r}: expected a number of pixels such as 30, from {LEAST_DIAMETER:g} to "
            f"{MOST_DIAMETER:g}, or auto, or trained."
        )
        raise InputError(msg)
    return diameter
