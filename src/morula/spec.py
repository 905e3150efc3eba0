"""The frozen base of everything configurable: look-up by `kind`, TOML in and out."""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar, get_args

import tomlkit
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from morula.errors import InputError


class Spec(BaseModel, frozen=True, extra="forbid"):
    """A frozen, complete configuration: unknown keys are errors. Write ``frozen=True`` on subclasses."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: Any) -> Any:
        annotation = cls.model_fields[info.field_name].annotation
        if isinstance(value, bool) and not _holds_bool(annotation):
            # Else Python would take true for 1.
            msg = "true and false do not fit here; give a value of the key's own type"
            raise ValueError(msg)
        return value


def _holds_bool(annotation: Any) -> bool:
    return annotation in (bool, Any) or any(_holds_bool(part) for part in get_args(annotation))


@dataclass(frozen=True)
class Tunable:
    """Marks a numeric field that may change after training: ``Annotated[float, Tunable(0.2, 0.8)]``."""

    low: float | int
    high: float | int


SpecType = TypeVar("SpecType", bound=Spec)


def nearest(name: str, known: list[str]) -> str:
    """``name`` with the nearest known name and all of them, for an error message."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{name!r}.{hint} Known: {', '.join(sorted(known))}."


def build(value: Any, known: Mapping[str, str], base: type[SpecType], what: str) -> SpecType:
    """Build a `base` from a plan's table by its `kind`.

    Args:
        value: A `base` already, or a table with the key ``kind``.
        known: ``kind`` to ``"module:Class"``, imported on demand.
        base: The class that every kind must derive from.
        what: The noun for messages, such as "representation".

    Raises:
        InputError: An unknown kind, key or value; the message names the nearest right one.
    """
    if isinstance(value, base):
        return value
    if not isinstance(value, Mapping):
        msg = f"a {what} is a table with the key 'kind'; found {value!r}."
        raise InputError(msg)
    return validate(look_up(str(value.get("kind", "")), known, base, what), value)


def look_up(kind: str, known: Mapping[str, str], base: type[SpecType], what: str) -> type[SpecType]:
    """The class of a `kind`; see `build`.

    Raises:
        InputError: The kind is unknown or cannot be imported.
    """
    target = kind if ":" in kind else known.get(kind)
    if target is None:
        msg = f"unknown {what} {nearest(kind, list(known))}"
        raise InputError(msg)
    module, _, name = target.partition(":")
    try:
        cls = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        msg = f"{what} {kind!r} cannot be imported: {error}. Install the package that holds it."
        raise InputError(msg) from error
    if not (isinstance(cls, type) and issubclass(cls, base)):
        msg = f"{kind!r} is no {what}; expected 'module:Class' of a subclass of {base.__name__}."
        raise InputError(msg)
    return cls


def validate(cls: type[SpecType], table: Any) -> SpecType:
    """`cls` from a plain table, with errors that name the key and the remedy.

    Raises:
        InputError: A key is unknown, missing or has a bad value.
    """
    try:
        return cls.model_validate(table)
    except ValidationError as error:
        msg = "; ".join(explain(cls, item) for item in error.errors())
        raise InputError(msg) from None


def explain(cls: type[Spec], item: Any, prefix: str = "") -> str:
    """One error of pydantic for `cls` in words; `prefix` is the dotted key of its table, with a dot."""
    key = prefix + ".".join(str(part) for part in item["loc"]) or cls.__name__
    if item["type"] == "extra_forbidden":
        owner = _owner(cls, item["loc"])
        return f"unknown key {key!r}: {nearest(str(item['loc'][-1]), list(owner.model_fields))}"
    given, message = item.get("input"), item["msg"].removeprefix("Value error, ")
    # A whole table would bury the message.
    return f"{key}: {message}" if isinstance(given, Mapping) else f"{key} = {given!r}: {message}"


def _owner(cls: type[Spec], location: tuple[Any, ...]) -> type[Spec]:
    """The class whose table holds the last key of `location`."""
    for part in location[:-1]:
        field = cls.model_fields.get(str(part))
        if field is None or not isinstance(field.annotation, type):
            break
        if not issubclass(field.annotation, Spec):
            break
        cls = field.annotation
    return cls


def read_toml(path: Path) -> dict[str, Any]:
    """The table in a TOML file.

    Raises:
        InputError: The file is missing or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        msg = f"{path} does not exist."
        raise InputError(msg) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"{path} is not a TOML file: {error}. Mend or delete it."
        raise InputError(msg) from error


def load(cls: type[SpecType], path: Path) -> SpecType:
    """`cls` from a TOML file; errors name the file.

    Raises:
        InputError: The file is missing or no TOML, or a key is unknown, missing or has a bad value.
    """
    table = read_toml(path)
    try:
        return validate(cls, table)
    except InputError as error:
        msg = f"{path}: {error}"
        raise InputError(msg) from error


def dump_toml(table: Mapping[str, Any], reasons: Mapping[str, str] | None = None) -> str:
    """`table` as TOML text; each key of `reasons` (dotted) is printed as a comment above its key."""
    document = tomlkit.document()
    _fill(document, table, "", reasons or {})
    return tomlkit.dumps(document)


def _fill(node: Any, table: Mapping[str, Any], prefix: str, reasons: Mapping[str, str]) -> None:
    # TOML wants a table's plain keys before its sub-tables.
    for key, value in sorted(table.items(), key=lambda item: isinstance(item[1], Mapping)):
        if value is None:
            continue
        dotted = f"{prefix}{key}"
        reason = reasons.get(dotted)
        if isinstance(value, Mapping):
            child = tomlkit.table()
            if reason:
                child.add(tomlkit.comment(reason))
            _fill(child, value, f"{dotted}.", reasons)
            node.add(key, child)
            continue
        if reason:
            node.add(tomlkit.comment(reason))
        node.add(key, value)


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested tables by dotted key.

    >>> flat({"seed": 0, "network": {"kind": "csp_unet"}})
    {'seed': 0, 'network.kind': 'csp_unet'}
    """
    values: dict[str, Any] = {}
    for key, value in table.items():
        values |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return values


def read_reasons(text: str) -> dict[str, str]:
    r"""The comments that `dump_toml` wrote above keys, by dotted key.

    A comment at the top of a table is that of its first key.

    >>> read_reasons("[training]\n# fits the budget\nsteps = 300\n")
    {'training.steps': 'fits the budget'}
    >>> read_reasons('[classes]\n# from the data\n"left kidney" = 1\n')
    {'classes.left kidney': 'from the data'}
    >>> read_reasons('[training]\n# mine\naugmentation.zoom = [\n1, 2]\n# so\n"a = b" = 1\n')
    {'training.augmentation.zoom': 'mine', 'training.a = b': 'so'}
    """
    reasons: dict[str, str] = {}
    prefix, pending = "", ""
    for line in text.splitlines():
        key, sign, _ = line.partition(" = ")
        if line.startswith("#"):
            pending = line.removeprefix("#").strip()
        elif line.startswith("["):
            prefix = line.strip("[] ") + "."
        elif sign and pending:
            reasons[prefix + _key_of(line, key)] = pending
            pending = ""
    return reasons


def _key_of(line: str, bare: str) -> str:
    """The dotted key of a line of TOML, without quotes; `bare` where the value goes on in the next line."""
    try:
        return next(iter(flat(tomllib.loads(line))))
    except (tomllib.TOMLDecodeError, StopIteration):
        return bare.strip()
