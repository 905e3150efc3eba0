"""What the sections of `performance_page.py` are made of."""

from collections.abc import Sequence
from typing import Any


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def facts(found: dict[str, Any]) -> str:
    """Date, machine, versions and commands of a file of figures."""
    parts = [found["date"]]
    if "machine" in found:
        parts += [found["machine"], f"{found.get('threads', found['cores'])} threads"]
        parts.append(", ".join(f"{name} {number}" for name, number in found["libraries"].items()))
    made_by = found["command"]
    shown = f"\n\n```bash\n{made_by}\n```" if "\n" in made_by else f" `{made_by}`"
    return f"\n{'; '.join(parts)}.{shown}\n\n"
