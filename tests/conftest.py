"""Fixtures that tests of every room may use."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real images to test with; the tests that ask for them skip where there are none."""
    folder = os.environ.get("PATCHMILL_TEST_DATA")
    if not folder:
        pytest.skip("PATCHMILL_TEST_DATA is not set: no folder of real images to test with")
    if not Path(folder).is_dir():
        pytest.fail(f"PATCHMILL_TEST_DATA is {folder}, which is no folder")
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    """The wheel of this checkout, built once from a copy: a build leaves `build/` behind."""
    tree = tmp_path_factory.mktemp("tree")
    hidden_or_built = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, tree, ignore=hidden_or_built, dirs_exist_ok=True)
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(tree)]
    done = subprocess.run(command, cwd=out, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("*.whl")
    return built
