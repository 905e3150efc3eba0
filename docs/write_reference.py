"""Writes the reference pages that follow from the code: ``python docs/write_reference.py``."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from pydantic_core import PydanticUndefined

from morula import networks, representations
from morula.cli import app
from morula.planning.plan import Plan
from morula.planning.planner import recipes
from morula.spec import Spec, Tunable

FOLDER = Path(__file__).parent / "reference"
NOTE = "Written by `python docs/write_reference.py`."


def command_line() -> str:
    """Every verb with its arguments and options."""
    lines = [
        "# Command line",
        "",
        f"{NOTE} `morula VERB --help` shows the same.",
        "",
        "Exit codes: 0 all done; 1 some files failed (they are named, the others are done); 2 nothing could",
        "be done (one message says why); 130 interrupted (the same command goes on).",
    ]
    for name, command in typer.main.get_command(app).commands.items():  # pyright: ignore[reportAttributeAccessIssue]
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        needed = [p for p in command.params if p.param_type_name == "option" and p.required]
        usage = ["morula", name, *(_argument(p) for p in arguments), *(f"-o {p.metavar}" for p in needed)]
        lines += ["", f"## `{' '.join(usage)}`", "", command.help]
        if command.params:
            lines += ["", "| | |", "|---|---|"]
            lines += [f"| {_spelling(p)} | {_meaning(p)} |" for p in command.params]
    return "\n".join(lines) + "\n"


def _argument(parameter: Any) -> str:
    return f"{parameter.metavar}..." if parameter.nargs == -1 else parameter.metavar


def _spelling(parameter: Any) -> str:
    metavar = parameter.metavar or ""
    names = [] if parameter.param_type_name == "argument" else parameter.opts
    return "`" + " ".join([", ".join(names), metavar]).strip().replace("|", "\\|") + "`"


def _meaning(parameter: Any) -> str:
    default = parameter.default
    if parameter.required or default is None or default is False:
        return parameter.help
    return f"{parameter.help} Default: `{default}`."


def plan() -> str:
    """Every key of ``plan.toml``."""
    lines = [
        "# Plan",
        "",
        f"{NOTE} These are the keys of `plan.toml` and of `--set key=value`. Keys without a default are",
        "decided by the planner from the data. `representation.kind` and `network.kind` name one of those",
        "below.",
        "",
        *_table(Plan),
        "",
        "## Recipes",
        "",
        "| recipe | what |",
        "|---|---|",
        *(f"| `{name}` | {what} |" for name, what in recipes().items()),
    ]
    for title, known in (("Representations", representations.BUILT_IN), ("Networks", networks.BUILT_IN)):
        lines += ["", f"## {title}", "", "Keys marked * may change after training; tuning does so."]
        for kind, home in known.items():
            cls = _class_at(home)
            lines += [
                "",
                f"### `{kind}`",
                "",
                (cls.__doc__ or "").partition("\n\n")[0].strip(),
                "",
                *_table(cls),
            ]
    return "\n".join(lines) + "\n"


def _class_at(home: str) -> type[Spec]:
    module, name = home.split(":")
    return getattr(import_module(module), name)


def _table(cls: type[Spec]) -> list[str]:
    return ["| key | default | meaning |", "|---|---|---|", *_rows(cls, "")]


def _rows(cls: type[Spec], prefix: str) -> Iterator[str]:
    for name, field in cls.model_fields.items():
        if name in ("kind", "representation", "network") and not prefix:
            continue  # listed below, each kind under its own heading
        kind = field.annotation
        if (
            isinstance(kind, type)
            and issubclass(kind, Spec)
            and kind.__name__ not in ("Representation", "Network")
        ):
            yield from _rows(kind, f"{prefix}{name}.")
            continue
        star = " *" if any(isinstance(item, Tunable) for item in field.metadata) else ""
        known = field.default is not PydanticUndefined
        meaning = " ".join((field.description or "").replace("|", "\\|").split()).replace("``", "`")
        yield f"| `{prefix}{name}`{star} | {f'`{field.default}`' if known else ''} | {meaning} |"


PAGES = {"command-line.md": command_line, "plan.md": plan}


def main() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
