"""The rules of the house: who imports whom, what the reader loads, what lies where."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "reader": set(),
    "tasks": {"reader"},
    "workflows": {"tasks", "cluster", "reader"},
    "cluster": set(),
}
READER_DEPENDENCIES = {"numpy", "numcodecs", "google_crc32c", "zarr"}
HEAVY = {"dask", "distributed", "tifffile", "cv2", "pydantic", "torch"}
TOP_LEVEL = {
    *(".ci", ".github", ".gitignore", ".pre-commit-config.yaml"),
    *("LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "pyproject.toml"),
    *("reader", "tasks", "workflows", "cluster", "tests", "notebooks", "docs"),
}
FILES = sorted(path.relative_to(ROOT) for room in MAY_IMPORT for path in (ROOT / room).glob("*.py"))


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield the absolute name of what a module of a room imports, lazily or not."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield f"{node.module}"
        elif isinstance(node, ast.ImportFrom) and node.level == 2:
            if node.module:
                yield f"patchmill.{node.module}"
            else:  # from .. import tasks
                yield from (f"patchmill.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level > 2:
            yield "above the root"


def rooms_imported(source: str) -> set[str]:
    """Return the other rooms that a module's source names in its imports."""
    names = [name.split(".") for name in imports(ast.parse(source))]
    if ["above the root"] in names or ["patchmill"] in names:
        return {"the root"}
    return {parts[1] for parts in names if parts[0] == "patchmill"}


@pytest.mark.parametrize(
    ("source", "rooms"),
    [
        ("from ..tasks.cut import cut", {"tasks"}),
        ("from .. import cluster, reader as r", {"cluster", "reader"}),
        ("def f():\n    import patchmill.workflows.planning", {"workflows"}),
        ("from patchmill.reader import open_store", {"reader"}),
        ("from patchmill import tasks", {"the root"}),
        ("from ... import tasks", {"the root"}),
        ("from .format import FORMAT\nimport numpy.typing", set()),
    ],
)
def test_the_parser_sees_every_way_to_import_a_room(source, rooms):
    assert rooms_imported(source) == rooms


@pytest.mark.parametrize("file", FILES, ids=str)
def test_rooms_import_only_what_they_may(file):
    room = file.parts[0]
    found = rooms_imported((ROOT / file).read_text(encoding="utf-8"))
    assert found <= MAY_IMPORT[room] | {room}, f"{file} imports {found - MAY_IMPORT[room]}"


@pytest.mark.parametrize("file", [f for f in FILES if f.parts[0] == "reader"], ids=str)
def test_the_reader_needs_the_base_dependencies_alone(file):
    allowed = sys.stdlib_module_names | READER_DEPENDENCIES | {"patchmill"}
    if file.name == "torch.py" or file.name.startswith("torch_"):
        allowed |= {"torch"}
    if file.name == "remote_client.py":
        allowed |= {"obstore"}
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    found = {name.partition(".")[0] for name in imports(tree)}
    assert found <= allowed, f"{file} imports {found - allowed}"


@pytest.mark.parametrize("file", [f for f in FILES if f.parts[0] == "tasks"], ids=str)
def test_tasks_know_no_scheduler(file):
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    found = {name.partition(".")[0] for name in imports(tree)} & {"dask", "distributed"}
    assert not found, f"{file} imports {found}; what a worker runs must run in a plain loop too"


def test_importing_the_reader_loads_nothing_heavy(tmp_path):
    code = f"import sys, patchmill.reader; print(sorted(set(sys.modules) & {HEAVY!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_the_docstring_of_a_room_lists_its_files(room):
    docstring = ast.get_docstring(
        ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8"))
    )
    assert docstring is not None
    there = {path.name for path in (ROOT / room).glob("*.py")} - {"__init__.py"}
    # A line each: the name at the beginning of a line, perhaps behind a bullet or a tick.
    listed = set(re.findall(r"^[\s*|`-]*(\w+\.py)\b", docstring, flags=re.MULTILINE))
    assert listed == there
    assert "import" in docstring, f"{room}/__init__.py does not say what the room may import"


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_rooms_are_flat_and_typed(room):
    assert (ROOT / room / "py.typed").is_file()
    nested = [p for p in (ROOT / room).glob("*/**/*.py") if "__pycache__" not in p.parts]
    assert nested == []


def test_nothing_at_the_root_shadows_the_package():
    assert not (ROOT / "patchmill").exists()
    assert not (ROOT / "__init__.py").exists()


def test_tests_have_no_init():
    # It would give test modules package names, and importlib mode needs none.
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_the_top_level_stays_as_it_is():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: what is tracked is unknown")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {Path(line).parts[0] for line in files.splitlines()} <= TOP_LEVEL
