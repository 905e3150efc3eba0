"""Fields that may change after training, and `tuned.toml`, the file that holds them.

Its table ``default`` mirrors the fields of the representation and holds only the tunable ones.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from morula.errors import InputError
from morula.representations.base import Representation
from morula.spec import Tunable, nearest, read_toml


@dataclass(frozen=True)
class TunableField:
    """One field that may change after training."""

    path: tuple[str, ...]
    """Where it lies: names of fields and keys from the outermost representation inwards."""

    value: float | int
    """What it is now."""

    low: float | int
    """Smallest value worth trying."""

    high: float | int
    """Largest value worth trying."""

    whole: bool
    """Whether only whole numbers are allowed."""


def tunable_fields(representation: Representation) -> tuple[TunableField, ...]:
    """Every field with a `Tunable` in its type, also inside the parts of a union, in order of definition."""
    found = []
    for name, info in type(representation).model_fields.items():
        value = getattr(representation, name)
        for mark in (item for item in info.metadata if isinstance(item, Tunable)):
            found.append(TunableField((name,), value, mark.low, mark.high, isinstance(value, int)))
        for path, part in _parts(name, value):
            found += [
                TunableField((*path, *inner.path), inner.value, inner.low, inner.high, inner.whole)
                for inner in tunable_fields(part)
            ]
    return tuple(found)


def decoder_choices(representation: Representation) -> tuple[str, ...]:
    """Names of the parts whose decoder may run, for a union; empty for every other representation."""
    parts = getattr(representation, "parts", None)
    if "decoder" not in type(representation).model_fields or not isinstance(parts, Mapping):
        return ()
    return tuple(parts)


def tunable_values(representation: Representation) -> dict[str, Any]:
    """The tunable fields as a table, and for a union the choice of its decoder."""
    table: dict[str, Any] = {}
    if decoder_choices(representation):
        table["decoder"] = representation.model_dump()["decoder"]
    for item in tunable_fields(representation):
        node = table
        for key in item.path[:-1]:
            node = node.setdefault(key, {})
        node[item.path[-1]] = item.value
    return table


def with_values(representation: Representation, table: Mapping[str, Any]) -> Representation:
    """A copy of `representation` with the fields in `table` (nested like its own) replaced.

    Raises:
        InputError: A key is unknown or a value is out of range; the message names it.
    """
    fields = type(representation).model_fields
    values = {name: getattr(representation, name) for name in fields}
    for key, value in table.items():
        if key not in fields:
            msg = f"unknown field of {representation.kind!r}: {nearest(key, list(fields))}"
            raise InputError(msg)
        values[key] = _replaced(values[key], value)
    try:
        return type(representation).model_validate(values)
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        msg = f"a tuned value of {representation.kind!r} is out of range: {found}."
        raise InputError(msg) from None


def read_tuned(path: Path, representation: Representation) -> Representation:
    """`representation` with the values of a ``tuned.toml``.

    Raises:
        InputError: The file is missing or broken, or holds a key or value that does not fit.
    """
    table = read_toml(path)
    for key in table.keys() - {"default"}:
        msg = f"{path}: unknown table {nearest(key, ['default'])}"
        raise InputError(msg)
    return with_values(representation, table.get("default", {}))


def _parts(name: str, value: Any) -> Iterator[tuple[tuple[str, ...], Representation]]:
    """Representations held by a field: itself, or the values of a table."""
    if isinstance(value, Representation):
        yield (name,), value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            if isinstance(part, Representation):
                yield (name, str(key)), part


def _replaced(old: Any, new: Any) -> Any:
    """`new` in place of `old`; tables go down into the representations they name."""
    if not isinstance(new, Mapping):
        return new
    if isinstance(old, Representation):
        return with_values(old, new)
    if not isinstance(old, Mapping):
        msg = f"a tuned table {dict(new)!r} stands where the plan holds {old!r}."
        raise InputError(msg)
    unknown = [str(key) for key in new if key not in old]
    if unknown:
        msg = f"unknown part {nearest(unknown[0], [str(key) for key in old])}"
        raise InputError(msg)
    return {key: _replaced(value, new[key]) if key in new else value for key, value in old.items()}
