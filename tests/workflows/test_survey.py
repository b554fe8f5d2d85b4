"""A file is surveyed once, as long as it does not change."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager, nullcontext

import pytest
import tifffile

from patchmill.reader.errors import PatchmillError
from patchmill.workflows import Recipe, plan, prepare
from patchmill.workflows.errors import RecipeError


@contextmanager
def no_cluster():
    pytest.fail("a cluster was started")
    yield


class Counting:
    """Counts how often a cluster was asked for."""

    def __init__(self, client):
        self.client, self.count = client, 0

    def __call__(self):
        self.count += 1
        return nullcontext(self.client)


@pytest.fixture
def counting(client):
    return Counting(client)


def test_the_second_time_nothing_is_started(tmp_path, counting, plate, plate_tables):
    plate("ABC")
    recipe = Recipe.from_dict(plate_tables(), tmp_path)
    first = plan(recipe, counting)
    assert counting.count == 1
    again = plan(recipe, no_cluster)
    assert again.document == first.document
    # Thresholds, sizes and splits are no options of the survey.
    other = plate_tables(patches={"size": 8}, split={"fractions": {"a": 0.5, "b": 0.5}}, seed=3)
    plan(Recipe.from_dict(other, tmp_path), no_cluster)


def test_a_changed_file_is_surveyed_again(tmp_path, counting, plate, plate_tables, noise):
    plate("AB")
    recipe = Recipe.from_dict(plate_tables(), tmp_path)
    plan(recipe, counting)
    for channel in "12":
        tifffile.imwrite(tmp_path / f"B01_w{channel}.tif", noise(32, 32))
    changed = plan(recipe, counting)
    assert counting.count == 2
    assert [image.shape[3:] for image in changed.images] == [(64, 80), (32, 32)]
    os.utime(tmp_path / "B01_w1.tif", ns=(5, 5))
    plan(recipe, counting)
    assert counting.count == 3


def test_a_cache_that_is_damaged_or_cannot_be_written(
    tmp_path, counting, plate, plate_tables, monkeypatch
):
    monkeypatch.setenv("PATCHMILL_CACHE", str(tmp_path / "cache"))
    plate("AB")
    recipe = Recipe.from_dict(plate_tables(), tmp_path)
    first = plan(recipe, counting)
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert len(kept) == 4
    for path, content in zip(kept, (b"", b"{}", b"null", b'{"shape": "far"}'), strict=True):
        path.write_bytes(content)
    assert plan(recipe, counting).document == first.document
    assert counting.count == 2
    assert plan(recipe, no_cluster).document == first.document
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PATCHMILL_CACHE", str(tmp_path / "file"))
    for _ in range(2):
        assert plan(recipe, counting).document == first.document
    assert counting.count == 4


def test_failures_are_not_cached(tmp_path, counting, plate, plate_tables):
    plate("AB")
    good = (tmp_path / "A01_w1.tif").read_bytes()
    times = (tmp_path / "A01_w1.tif").stat()
    (tmp_path / "A01_w1.tif").write_bytes(b"II" + bytes(len(good) - 2))
    os.utime(tmp_path / "A01_w1.tif", ns=(times.st_atime_ns, times.st_mtime_ns))
    recipe = Recipe.from_dict(plate_tables(), tmp_path)
    with pytest.raises(PatchmillError, match="A01_w1"):
        plan(recipe, counting)
    (tmp_path / "A01_w1.tif").write_bytes(good)
    os.utime(tmp_path / "A01_w1.tif", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert len(plan(recipe, counting).images) == 2


@pytest.mark.parametrize("identity", ["mtime", "content"])
def test_copies_with_other_times(tmp_path, client, plate, plate_tables, same_files, identity):
    plate("AB", folder=tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two", copy_function=shutil.copyfile)
    for path in (tmp_path / "two").iterdir():
        os.utime(path, ns=(10**18, 10**18))
    tables = plate_tables(images={"identity": identity})
    plans = []
    for name in ("one", "two"):
        recipe = Recipe.from_dict(tables, tmp_path / name)
        plans.append(prepare(recipe, tmp_path / f"{name}.zarr", client=client).plan)
    if identity == "content":
        same_files(tmp_path / "one.zarr", tmp_path / "two.zarr")
    else:
        assert plans[0].digest != plans[1].digest


def test_content_is_seen_to_change_under_the_same_time(
    tmp_path, client, plate, plate_tables, noise
):
    plate("AB")
    tables = plate_tables(images={"identity": "content"})
    recipe = Recipe.from_dict(tables, tmp_path)
    prepare(recipe, tmp_path / "s.zarr", client=client)
    tifffile.imwrite(tmp_path / "A01_w1.tif", noise(64, 80, seed=99), rowsperstrip=16)
    with pytest.raises(PatchmillError, match="well=A01: has changed"):
        prepare(recipe, tmp_path / "s.zarr", client=client)


def test_a_mixture_of_kinds_lists_them_with_counts(tmp_path, counting, noise):
    for number in range(3):
        tifffile.imwrite(tmp_path / f"a{number}.tif", noise(32, 32))
    tifffile.imwrite(tmp_path / "b.tif", noise(32, 32, dtype="uint8"))
    rgb = noise(32, 32, 3, dtype="uint8")
    for number in range(2):
        tifffile.imwrite(tmp_path / f"c{number}.tif", rgb, photometric="rgb")
    recipe = Recipe.from_dict({"images": {"paths": "*.tif"}, "patches": {"size": 16}}, tmp_path)
    with pytest.raises(RecipeError) as caught:
        plan(recipe, counting)
    text = str(caught.value)
    assert "3 of uint16 with channels c0, for instance a0.tif" in text
    assert "1 of uint8 with channels c0, for instance b.tif" in text
    assert "2 of uint8 with channels R, G, B, for instance c0.tif" in text


def test_a_stated_kind_makes_others_their_own_fault(tmp_path, counting, noise):
    tifffile.imwrite(tmp_path / "a.tif", noise(32, 32))
    tifffile.imwrite(tmp_path / "b.tif", noise(32, 32, dtype="uint8"))
    tables = {"images": {"paths": "*.tif", "dtype": "uint16"}, "patches": {"size": 16}}
    with pytest.raises(PatchmillError, match=r"b\.tif: is uint8, and images\.dtype is uint16"):
        plan(Recipe.from_dict(tables, tmp_path), counting)
    tables["images"]["on_error"] = "skip"
    found = plan(Recipe.from_dict(tables, tmp_path), no_cluster)
    assert [image.id for image in found.images] == ["a.tif"]
    assert [(files.id, reason) for files, reason in found.failed] == [
        ("b.tif", "is uint8, and images.dtype is uint16")
    ]


def test_files_of_an_image_that_differ(tmp_path, counting, noise, plate_tables):
    tifffile.imwrite(tmp_path / "A01_w1.tif", noise(32, 32))
    tifffile.imwrite(tmp_path / "A01_w2.tif", noise(32, 40))
    with pytest.raises(PatchmillError, match=r"its files differ: A01_w1\.tif is 32 x 32 uint16"):
        plan(Recipe.from_dict(plate_tables(), tmp_path), counting)


def test_no_image_left(tmp_path, counting):
    (tmp_path / "a.tif").write_bytes(b"no tiff")
    tables = {"images": {"paths": "*.tif", "on_error": "skip"}, "patches": {"size": 16}}
    with pytest.raises(RecipeError, match="not one image can be used"):
        plan(Recipe.from_dict(tables, tmp_path), counting)
