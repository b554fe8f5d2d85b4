"""The command line, in processes of its own: what users type, see and get as a status."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner

from patchmill.workflows.cli import cli


@pytest.fixture
def recipe(tmp_path, plate, plate_tables, write_toml):
    plate("ABCD")
    return write_toml(tmp_path / "r.toml", plate_tables())


def test_prepare_info_verify(tmp_path, recipe, command, same_files):
    text = command(
        "prepare",
        "r.toml",
        "-o",
        "s.zarr",
        "--workers",
        "2",
        "--threads",
        "2",
        "--memory-limit",
        "1 GB",
        "--performance-report",
        "report.html",
    ).finish()
    assert "dashboard: http://127.0.0.1:" in text
    assert "s.zarr: complete, 20 shards cut, 0 were finished before" in text
    assert "Traceback" not in text
    assert "warning" not in text.lower()
    assert "<html" in (tmp_path / "report.html").read_text()[:2000].lower()
    text = command("prepare", "r.toml", "-o", "s.zarr").finish()
    assert "0 shards cut, 20 were finished before" in text
    assert "dashboard" not in text  # nothing to do: no cluster
    text = command("info", "s.zarr").finish()
    assert "s.zarr: complete" in text
    assert "patches   80 of 2 c x 16 y x 16 x, uint16" in text
    assert "80 patches are what was written" in command("verify", "s.zarr").finish()
    text = command("prepare", "r.toml", "-o", "s.zarr", "--overwrite", "--workers", "1").finish()
    assert "20 shards cut" in text
    assert sorted(path.name for path in tmp_path.glob("s.zarr*")) == ["s.zarr", "s.zarr.run"]


def test_info_as_json(tmp_path, recipe, cut, plate_tables):
    outcome = cut(plate_tables())
    said = json.loads(CliRunner().invoke(cli, ["info", str(outcome.store), "--json"]).output)
    assert (said["complete"], said["patches"], said["void"], said["shards"]) == (True, 80, 0, 20)
    assert said["bytes"] == sum(f.stat().st_size for f in outcome.store.rglob("*") if f.is_file())
    assert said["splits"] == {"train": 80}
    assert set(said["statistics"]["train"]) == {"1", "2"}
    assert (said["images"], said["failed"]) == (4, [])
    root = outcome.store / "zarr.json"
    own = json.loads(root.read_text())
    attributes = own["attributes"]["patchmill"]
    attributes["complete"] = False
    for name in ("void", "statistics", "sha256"):
        del attributes[name]
    root.write_text(json.dumps(own))
    done = CliRunner().invoke(cli, ["info", str(outcome.store), "--json"])
    said = json.loads(done.output)
    assert done.exit_code == 0
    assert (said["complete"], said["patches"], said["void"]) == (False, 80, None)
    text = CliRunner().invoke(cli, ["info", str(outcome.store)]).output
    assert "not complete" in text
    assert "run the same `patchmill prepare` again" in text


@pytest.mark.parametrize("command_name", ["info", "verify"])
def test_what_is_no_store(tmp_path, command_name):
    for content in (None, "{}", "rubbish"):
        folder = tmp_path / f"{content}.zarr"
        folder.mkdir()
        if content:
            (folder / "zarr.json").write_text(content)
        done = CliRunner().invoke(cli, [command_name, str(folder)])
        assert done.exit_code == 1
        assert done.output.startswith(f"Error: {folder}")
        assert isinstance(done.exception, SystemExit)


@pytest.mark.parametrize(
    "options",
    [
        ["-o", "s.zarr", "--memory-limit", "lots"],
        ["-o", "s.zarr", "--workers", "0"],
        ["-o", "/"],
        ["-o", "s.zarr", "--performance-report", "absent/report.html"],
    ],
)
def test_options_that_make_no_sense_are_one_message(tmp_path, recipe, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["prepare", str(recipe), *options])
    assert done.exit_code in (1, 2), done.output
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.output.count("Error: ") == 1
    assert not (tmp_path / "s.zarr").exists()


def test_a_plan_that_does_not_fit_is_refused_before_anything_is_cut(tmp_path, command, write_toml):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5000, 5000), np.uint16), compression="zlib")
    tables = {"images": {"paths": ["a.tif"]}, "patches": {"size": [100, 100], "stride": [25, 25]}}
    write_toml(tmp_path / "r.toml", tables | {"store": {"shard_bytes": "1 GB"}})
    options = ("--workers", "1", "--memory-limit", "400 MB")
    text = command("prepare", "r.toml", "-o", "s.zarr", *options).finish(status=1)
    assert "Traceback" not in text
    assert "needs up to" in text
    assert "store.shard_bytes" in text
    assert list((tmp_path / "s.zarr/image").glob("c.*")) == []


def test_a_worker_that_has_no_memory_to_start_in_is_no_hang(recipe, command):
    options = ("--workers", "1", "--memory-limit", "20 MB")
    text = command("prepare", "r.toml", "-o", "s.zarr", *options).finish(status=1, seconds=40)
    assert "Traceback" not in text
    assert "--memory-limit" in text


GUARDED = """
from patchmill.workflows import Recipe, plan, prepare

if __name__ == "__main__":
    recipe = Recipe.load("r.toml")
    assert plan(recipe).n_shards == 20
    outcome = prepare(recipe, "s.zarr", workers=2)
    print(outcome.store, outcome.cut)
"""
UNGUARDED = """
from patchmill.workflows import prepare

prepare("r.toml", "s.zarr", workers=2)
"""


def script(tmp_path, text):
    path = tmp_path / "script.py"
    path.write_text(text)
    return subprocess.run(
        [sys.executable, str(path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=90,
        env=dict(os.environ),
    )


def test_from_python(tmp_path, recipe):
    done = script(tmp_path, GUARDED)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("s.zarr 20\n")


@pytest.mark.parametrize("surveyed", [False, True])
def test_a_script_without_a_main_guard_is_told_so(tmp_path, recipe, cut, plate_tables, surveyed):
    if surveyed:
        cut(plate_tables(), "other.zarr")
    done = script(tmp_path, UNGUARDED)
    assert done.returncode != 0
    assert 'if __name__ == "__main__":' in done.stderr.splitlines()[-1], done.stderr
    assert "another run" not in done.stderr
    assert len(done.stderr.splitlines()) < 40
    # With the guard the same call works: nothing is left locked or half-made.
    assert script(tmp_path, GUARDED).returncode == 0


def test_only_local_stores_are_staged(tmp_path):
    done = CliRunner().invoke(cli, ["stage", "s3://bucket/train.zarr", str(tmp_path)])
    assert done.exit_code != 0
    assert "s3://bucket/train.zarr is no folder: this command reads local stores" in done.output
