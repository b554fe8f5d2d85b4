"""The wheel: what it holds, a job run from it, and the reader on the base dependencies alone."""

from __future__ import annotations

import email
import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("reader", "tasks", "workflows", "cluster")
RECIPE = """
seed = 0
[images]
paths = ["*.tif"]
[patches]
size = [32, 32]
stride = [32, 32]
edge = "drop"
[store]
codec = "lz4"
shard_bytes = "64 kB"
"""


def run(command, cwd, timeout=200, **environment):
    """Run a command with nothing of this checkout in its environment."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def test_the_wheel_holds_the_package_alone_and_all_of_it(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    (info,) = {name.partition("/")[0] for name in names if not name.startswith("patchmill/")}
    assert info.endswith(".dist-info")
    assert f"{info}/licenses/LICENSE" in names
    # Everything that lies in a room travels, but its guides: modules, py.typed, profiles, scripts.
    in_rooms = {
        f"patchmill/{path.relative_to(ROOT).as_posix()}"
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".md"
    }
    assert {name for name in names if name.startswith("patchmill/")} == in_rooms
    assert {f"patchmill/{room}/py.typed" for room in ROOMS} <= names


def test_only_prepare_pulls_an_opencv(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        required = email.message_from_bytes(archive.read(metadata)).get_all("Requires-Dist")
    pulls: dict[str, set[str]] = {}
    for line in required:
        extra = re.search(r'extra == "([^"]+)"', line)
        name = re.match(r"[\w-]+(\[[\w-]+\])?", line)
        pulls.setdefault(extra[1] if extra else "", set()).add(name[0])
    assert pulls[""] == {"numpy", "numcodecs", "google-crc32c", "zarr"}
    assert pulls["prepare"] == {"patchmill[prepare-core]", "opencv-python"}
    assert pulls["prepare-headless"] == {"patchmill[prepare-core]", "opencv-python-headless"}
    others = set().union(*(pulls[e] for e in pulls.keys() - {"prepare", "prepare-headless", "all"}))
    assert not [name for name in others if "opencv" in name or "prepare" in name]


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The Python of an environment that has the wheel, and this environment's dependencies."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    library = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", library]
    done = run([*command, wheel], cwd=folder)
    assert done.returncode == 0, done.stderr
    # On sys.path behind the wheel, as a plain entry: .pth files found there are not read, so the
    # editable install of this checkout stays unknown.
    ours = dict.fromkeys(sysconfig.get_path(scheme) for scheme in ("purelib", "platlib"))
    (library / "dependencies.pth").write_text("\n".join(ours), encoding="utf-8")
    return python


def test_a_job_runs_from_the_wheel_in_another_folder(installed, tmp_path):
    where = "import patchmill.workflows.main as m; print(m.__file__)"
    found = run([installed, "-c", where], cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert not found.stdout.startswith(str(ROOT))

    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        image = rng.integers(0, 65535, (64, 96), np.uint16)
        tifffile.imwrite(tmp_path / f"{name}.tif", image)
    (tmp_path / "recipe.toml").write_text(RECIPE, encoding="utf-8")

    # Like the console script: `-P` keeps the working folder off sys.path. Dask's processes are
    # started anew, and must find the wheel as well.
    patchmill = [installed, "-P", "-m", "patchmill.workflows.main"]
    for arguments in (
        ["prepare", "recipe.toml", "-o", "out.zarr", "--workers", "1"],
        ["verify", "out.zarr"],
        ["info", "out.zarr", "--json"],
    ):
        done = run([*patchmill, *arguments], cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)

    read = "from patchmill.reader import open_store; print(len(open_store('out.zarr')))"
    done = run([installed, "-P", "-c", read], cwd=tmp_path)
    assert done.stdout == "12\n", done.stderr


@pytest.fixture(scope="module")
def base(wheel, tmp_path_factory):
    """The bin folder of an environment with the wheel and the base dependencies, from PyPI."""
    if os.environ.get("PIP_NO_INDEX"):
        pytest.skip("PIP_NO_INDEX is set: the base dependencies cannot be fetched")
    folder = tmp_path_factory.mktemp("base")
    venv.create(folder, with_pip=False, symlinks=True)
    command = [sys.executable, "-m", "pip", "--python", folder, "install", "--quiet", wheel]
    done = run(command, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "bin"


def test_the_reader_works_on_the_base_dependencies(base, tmp_path):
    code = (
        "import importlib, pkgutil, patchmill.reader as r\n"
        "names = [m.name for m in pkgutil.iter_modules(r.__path__)]\n"
        "for name in names:\n"
        "    if not name.startswith('torch'):\n"
        "        importlib.import_module('patchmill.reader.' + name)\n"
        "print(len(names))"
    )
    done = run([base / "python", "-W", "error", "-c", code], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(list((ROOT / "reader").glob("[!_]*.py")))


def test_patchmill_on_a_base_install_says_what_to_install(base, tmp_path):
    done = run([base / "patchmill"], cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert 'pip install "patchmill[prepare-headless]"' in done.stderr
