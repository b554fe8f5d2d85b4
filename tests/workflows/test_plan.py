"""The plan: what it says is what `prepare` makes, and it writes nothing."""

from __future__ import annotations

import json
import os

import pytest
from click.testing import CliRunner

from patchmill.workflows import Recipe, plan
from patchmill.workflows.cli import cli
from patchmill.workflows.errors import RecipeError
from patchmill.workflows.info import describe_plan


def listing(folder):
    return {
        (path.relative_to(folder).as_posix(), path.stat().st_mtime_ns, path.stat().st_size)
        for path in [folder, *folder.rglob("*")]
    }


@pytest.fixture
def surveyed(tmp_path, client, plate, plate_tables, write_toml):
    """A recipe whose images are in the cache, so that commands need no cluster."""
    from contextlib import nullcontext

    plate("ABCDEFGH", shape=(70, 81), compression="zlib")
    tables = plate_tables(split={"fractions": {"train": 0.5, "val": 0.5}})
    plan(Recipe.from_dict(tables, tmp_path), lambda: nullcontext(client))
    return write_toml(tmp_path / "r.toml", tables), tables


def test_it_writes_nothing_and_says_what_prepare_makes(tmp_path, surveyed, cut):
    path, tables = surveyed
    before = listing(tmp_path)
    done = CliRunner().invoke(cli, ["plan", str(path), "--json"])
    assert done.exit_code == 0, done.output
    assert listing(tmp_path) == before
    said = json.loads(done.output)
    outcome = cut(tables)
    store = outcome.store
    root = json.loads((store / "zarr.json").read_text())["attributes"]["patchmill"]
    assert said["plan"] == root["plan"]
    shards = list((store / "image").glob("c.*"))
    assert said["shards"] == said["files"] == len(shards)
    rows = max(stop for _, stop in root["splits"].values())
    assert said["patches"] == rows == 8 * 4 * 5
    assert said["candidates"] == 8 * 5 * 6
    assert said["rejected"] == {"edge": 8 * (5 * 6 - 4 * 5)}
    assert said["patch_bytes"] == rows * 2 * 16 * 16 * 2
    shape = {"axes": ["c", "y", "x"], "shape": [2, 16, 16], "margin_px": 0}
    assert said["patch"] == shape | {"dtype": "uint16"}
    assert said["channels"] == root["channels"]
    for name, (start, stop) in root["splits"].items():
        assert said["splits"][name]["patches"] == stop - start
        assert said["splits"][name]["groups"] == 4
        assert said["splits"][name]["reached"] == said["splits"][name]["wanted"] == 0.5
    # Strips of 16 rows, which shards share: each under a patch is decoded at least once.
    assert said["needed_bytes"] == 8 * 2 * 64 * 81 * 2
    assert said["needed_bytes"] <= said["decoded_bytes"] <= 3 * said["needed_bytes"]
    assert said["peak_bytes_per_thread"] > 2 * 16 * 16 * 2
    assert said == describe_plan(outcome.plan)


def test_what_it_prints_for_people(surveyed):
    done = CliRunner().invoke(cli, ["plan", str(surveyed[0])])
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert lines[0] == "images      8, channels 1, 2"
    assert "candidates  240" in lines
    assert "  rejected  80 (edge)" in lines
    assert "patches     160 of 2 c x 16 y x 16 x, uint16" in lines
    assert "  train     80 in 4 groups: 50.0%, wanted 50.0%" in lines
    assert "shards      40 of 4 patches, 40 files, 163.8 kB uncompressed" in lines


def test_its_digest_covers_what_decides_the_bytes(tmp_path, surveyed, plate_tables, client):
    from contextlib import nullcontext

    def digest(**tables):
        recipe = Recipe.from_dict(plate_tables(**tables), tmp_path)
        return plan(recipe, lambda: nullcontext(client)).digest

    first = digest()
    assert digest() == first
    assert digest(patches={"stride": [16, 15]}) != first
    assert digest(store={"codec": "zstd"}) != first
    assert digest(seed=1) != first
    assert digest(images={"channels": {"1": "a", "2": "b"}}) != first
    assert digest(images={"channels": {"2": "2", "1": "1"}}) != first
    os.utime(tmp_path / "A01_w1.tif", ns=(3, 3))
    assert digest() != first


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"patches": {"sizes": 3}}, "patches.sizes"),
        ({"patches": {"size": "big"}}, "patches.size"),
        ({"patches": {"size": [999, 999]}}, "patches.size: [999, 999] fits into no image"),
        ({"images": {"paths": ["absent/*.tif"]}}, "absent/*.tif"),
        ({"images": {"group": ["plate"]}}, "images.group"),
        ({"images": {"pattern": "(?P<well>x)"}}, "images.pattern"),
        ({"images": {"channels": {"1": "a", "7": "b"}}}, "images.channels"),
        ({"store": {"dtype": "uint8"}}, "store.dtype"),
        ({"patches": {"edge": "pad", "pad": 70000}}, "patches.pad"),
        ({"split": {"fractions": {"a": 0.5, "b": 0.6}}}, "split.fractions"),
        ({"split": {"folds": 50}}, "8 groups"),
        ({"split": {"from": "absent.csv"}}, "absent.csv"),
        ({"images": {"dtype": "uint8"}}, "images.dtype is uint8"),
    ],
)
def test_errors_are_one_message(tmp_path, surveyed, plate_tables, write_toml, change, expected):
    path = write_toml(tmp_path / "wrong.toml", plate_tables(**change))
    before = listing(tmp_path)
    for command in (["plan", str(path)], ["prepare", str(path), "-o", str(tmp_path / "s.zarr")]):
        done = CliRunner().invoke(cli, command)
        assert done.exit_code == 1, done.output
        assert done.output.startswith("Error: ")
        assert done.output.count("Error: ") == 1
        assert expected in done.output
        assert isinstance(done.exception, SystemExit)  # nothing that would print a traceback
        assert listing(tmp_path) == before


def test_a_plan_that_leaves_images_out_says_so_and_fails(
    tmp_path, plate_tables, write_toml, surveyed
):
    (tmp_path / "Z01_w1.tif").write_bytes(b"no tiff at all")
    (tmp_path / "Z01_w2.tif").write_bytes(b"no tiff at all")
    path = write_toml(tmp_path / "skip.toml", plate_tables(images={"on_error": "skip"}))
    done = CliRunner().invoke(cli, ["plan", str(path), "--json"])
    assert done.exit_code == 1
    said = json.loads(done.stdout)
    assert said["images"] == 8
    (failed,) = said["failed"]
    assert failed["image"] == "well=Z01"
    assert "Z01_w1.tif" in failed["reason"]
    (tmp_path / "Z01_w2.tif").unlink()
    images = {"on_error": "skip", "missing_channel": "skip"}
    path = write_toml(tmp_path / "skip.toml", plate_tables(images=images))
    done = CliRunner().invoke(cli, ["plan", str(path), "--json"])
    assert done.exit_code == 0
    (left_out,) = json.loads(done.stdout)["left_out"]
    assert left_out["image"] == "well=Z01"
    assert "lacks channel 2" in left_out["reason"]


def test_a_patch_too_large_for_a_chunk(tmp_path, surveyed, plate_tables):
    huge = plate_tables(patches={"size": 40_000, "edge": "pad"})
    with pytest.raises(
        RecipeError, match=r"patches\.size: a patch of \[2, 40000, 40000\] holds 64000"
    ):
        plan(Recipe.from_dict(huge, tmp_path))
