"""What the sections of `performance_page.py` are made of."""

from collections.abc import Sequence
from typing import Any


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def facts(found: dict[str, Any]) -> str:
    """Date, machine, versions and command of a file of figures."""
    parts = [found["date"]]
    if "machine" in found:
        parts += [found["machine"], f"{found.get('threads', found['cores'])} threads"]
        parts.append(", ".join(f"{name} {number}" for name, number in found["libraries"].items()))
    return f"\n{'; '.join(parts)}. `{found['command']}`\n\n"
