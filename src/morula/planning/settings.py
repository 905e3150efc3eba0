"""What ``--set`` and a recipe say is checked before any image is read, as far as that can be known then."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from morula import networks, representations
from morula.errors import InputError
from morula.networks import Network
from morula.networks.base import require_weights
from morula.planning.plan import Plan
from morula.representations import Representation
from morula.spec import Spec, explain, look_up

_FAMILIES: dict[str, tuple[Mapping[str, str], type[Spec]]] = {
    "representation": (representations.BUILT_IN, Representation),
    "network": (networks.BUILT_IN, Network),
}
"""Keys of the plan whose tables are of some ``kind``; the kinds and their base."""

_USUAL = ("union", "residual_unet")
"""What the rules decide for objects: meant, as a rule, when no kind is given."""


def check_settings(table: Mapping[str, Any]) -> None:
    """Refuse unknown keys and impossible values in a part of a plan; what is missing, the rules decide later.

    Args:
        table: Nested tables of recipe and overrides, as `morula.planning.planner.merge` makes them.

    Raises:
        InputError: Names every wrong key with the nearest right one, and every bad value; or weights to start
            from are missing.
    """
    wrong = _wrong(Plan, {key: value for key, value in table.items() if key not in _FAMILIES})
    for name, family in _FAMILIES.items():
        if isinstance(table.get(name), Mapping):
            wrong += _wrong_part(name, table[name], *family)
        elif name in table:
            wrong.append(f"{name} = {table[name]!r} must be a table.")
    if wrong:
        raise InputError("; ".join(wrong))
    weights = table.get("network", {}).get("encoder_weights")
    if weights is not None:
        require_weights(weights)


def _wrong_part(key: str, table: Mapping[str, Any], kinds: Mapping[str, str], base: type[Spec]) -> list[str]:
    """What is wrong with the table of a representation or network; without a ``kind`` any kind will do."""
    parts = table.get("parts")
    wrong = []
    for name, part in parts.items() if isinstance(parts, Mapping) else ():
        if isinstance(part, Mapping):
            wrong += _wrong_part(f"{key}.parts.{name}", part, kinds, base)
    if wrong:
        return wrong
    rest = {name: value for name, value in table.items() if name != "parts" or not isinstance(value, Mapping)}
    candidates = [str(rest["kind"])] if "kind" in rest else sorted(kinds, key=lambda kind: kind not in _USUAL)
    classes = [look_up(kind, kinds, base, key) for kind in candidates]
    found = [_wrong(cls, rest, f"{key}.") for cls in classes]
    # The likeliest kind is the one that knows most of the keys.
    known = [len(rest.keys() & cls.model_fields.keys()) for cls in classes]
    return [] if [] in found else found[known.index(max(known))]


def _wrong(cls: type[Spec], table: Mapping[str, Any], prefix: str = "") -> list[str]:
    """One message per unknown key and bad value; tables as a whole are judged when they are complete."""
    try:
        cls.model_validate(table)
    except ValidationError as error:
        return [
            explain(cls, item, prefix)
            for item in error.errors()
            if item["type"] != "missing" and not _is_of_a_table(item)
        ]
    return []


def _is_of_a_table(item: Any) -> bool:
    return item["type"] == "value_error" and isinstance(item["input"], Mapping)
