"""The examples in the docstrings, run on modules imported by their installed name.

`--doctest-modules` imports them by path, as `reader.format`, where relative imports to other
rooms fail.
"""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(
    f"patchmill.{room}" + ("" if path.stem == "__init__" else f".{path.stem}")
    for room in ("reader", "tasks", "workflows", "cluster")
    for path in (ROOT / room).glob("*.py")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if ".reader.torch" in name:
        pytest.importorskip("torch", reason="torch is not installed: the extra `torch` brings it")
    module = importlib.import_module(name)
    assert doctest.testmod(module, optionflags=doctest.ELLIPSIS).failed == 0


def test_examples_are_found():
    finder = doctest.DocTestFinder(exclude_empty=True)
    module = importlib.import_module("patchmill.reader.format")
    assert sum(len(test.examples) for test in finder.find(module)) > 0
