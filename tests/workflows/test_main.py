"""The console entry says how to mend an install, and hides no bug of ours."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest

from patchmill.workflows.main import main

LIBGL = "libGL.so.1: cannot open shared object file: No such file or directory"


def command_line_that_raises(error: Exception) -> types.ModuleType:
    """A stand-in for `workflows/cli.py` whose import fails as a real one would."""

    class Module(types.ModuleType):
        @property
        def cli(self) -> None:
            raise error

    return Module("patchmill.workflows.cli")


@pytest.fixture
def failing_import(monkeypatch):
    def fail(error: Exception) -> None:
        module = command_line_that_raises(error)
        monkeypatch.setitem(sys.modules, "patchmill.workflows.cli", module)

    return fail


def test_a_missing_dependency_is_one_sentence_with_the_command(failing_import):
    failing_import(ModuleNotFoundError("No module named 'dask.base'", name="dask.base"))
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == (
        'patchmill: dask is missing; to prepare data: pip install "patchmill[prepare-headless]"'
    )


def test_a_missing_libgl_asks_for_the_headless_opencv(failing_import):
    failing_import(ImportError(LIBGL, name="cv2"))
    with pytest.raises(SystemExit) as stop:
        main()
    assert "libGL" in stop.value.code
    assert "patchmill[prepare-headless]" in stop.value.code
    assert "libgl1" in stop.value.code


@pytest.mark.parametrize(
    "error",
    [
        ModuleNotFoundError("No module named 'patchmill.tasks.typo'", name="patchmill.tasks.typo"),
        ImportError("cannot import name 'typo' from 'patchmill.tasks'", name="patchmill.tasks"),
        ImportError("cannot import name 'typo' from 'click'", name="click"),
    ],
)
def test_other_import_errors_come_through(failing_import, error):
    failing_import(error)
    with pytest.raises(ImportError) as caught:
        main()
    assert caught.value is error


def test_the_command_runs_when_all_is_there(monkeypatch):
    module = types.ModuleType("patchmill.workflows.cli")
    called = []
    module.cli = lambda prog_name: called.append(prog_name)
    monkeypatch.setitem(sys.modules, "patchmill.workflows.cli", module)
    main()
    assert called == ["patchmill"]


def test_a_process_without_click_prints_the_sentence_and_fails():
    code = (
        "import sys; sys.modules['click'] = None\nfrom patchmill.workflows.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "click is missing" in done.stderr
