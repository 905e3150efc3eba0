"""The house rules that a test can hold."""

import ast
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "morula"
MODULES = sorted(SOURCE.rglob("*.py"))
BANNED = {"util", "utils", "helper", "helpers", "common", "manager", "handler", "misc", "gt", "groundtruth"}
TORCH_FREE = [
    "data",
    "decoding",
    "evaluation",
    "labels",
    "planning",
    "preprocessing",
    "representations",
    "targets",
]


def name_of(module: Path) -> str:
    return module.relative_to(SOURCE).as_posix()


def tree_of(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"))


def defined_names(module: Path) -> Iterator[str]:
    yield from module.relative_to(SOURCE).with_suffix("").parts
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def words(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)}


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_names_hold_no_banned_word(module: Path):
    banned = {
        name for name in defined_names(module) if words(name) & BANNED or re.search(r"_(old|v\d+)$", name)
    }
    assert not banned


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_module_is_at_most_400_lines(module: Path):
    assert len(module.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("module", [m for m in MODULES if not name_of(m).startswith("cli/")], ids=name_of)
def test_only_the_command_line_prints(module: Path):
    calls = [node.func for node in ast.walk(tree_of(module)) if isinstance(node, ast.Call)]
    assert not [call for call in calls if isinstance(call, ast.Name) and call.id == "print"]


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_no_attribute_is_probed(module: Path):
    """Complete or not at all: nothing starts unfinished to be filled in later."""
    calls = [node.func for node in ast.walk(tree_of(module)) if isinstance(node, ast.Call)]
    assert not [call for call in calls if isinstance(call, ast.Name) and call.id == "hasattr"]


def test_importing_the_lower_floors_pulls_in_no_torch():
    names = [
        info.name
        for package in TORCH_FREE
        for info in pkgutil.walk_packages([str(SOURCE / package)], f"morula.{package}.")
    ]
    code = f"""
import importlib, sys
for name in {names}:
    importlib.import_module(name)
    assert "torch" not in sys.modules, name
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_morula_imports_nothing_heavy():
    code = "import sys, morula; assert not {'numpy', 'torch', 'pydantic', 'typer'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there():
    import morula

    for name in morula.__all__:
        assert getattr(morula, name).__name__ == name
    assert set(morula.__all__) <= set(dir(morula))
    with pytest.raises(AttributeError, match="nonsense"):
        morula.nonsense  # noqa: B018


def test_tests_mirror_the_source():
    tests = Path(__file__).parent
    stray = [
        path.relative_to(tests).as_posix()
        for path in tests.glob("*/test_*.py")
        if path.parent.name not in ("contracts", "cli")
        and not (SOURCE / path.parent.name / f"{path.stem.removeprefix('test_')}.py").exists()
    ]
    assert not stray
