"""Every example in a docstring of the installed package is run."""

import doctest
import importlib
import pkgutil

import pytest

import morula

NAMES = [
    info.name for info in pkgutil.walk_packages(morula.__path__, "morula.") if "__main__" not in info.name
]


@pytest.mark.parametrize("name", NAMES)
def test_examples_in_docstrings(name: str):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0
