"""The bytes of a store depend on sources, recipe and software, and not on how it was made."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from patchmill.cluster import local_cluster
from patchmill.reader import open_store
from patchmill.reader.errors import PatchmillError, StoreError
from patchmill.reader.format import MISSING, index_nbytes, unpack_index
from patchmill.tasks.records import record_dtype
from patchmill.workflows import Recipe, job, prepare, verify
from patchmill.workflows.ledger import Ledger

FRACTIONS = {"train": 0.5, "val": 0.25, "test": 0.25}
RECORD = record_dtype(np.dtype(np.uint16), 2, ())


@pytest.fixture
def tables(plate, plate_tables):
    plate("ABCDEFGH", compression="zlib")
    return plate_tables(split={"fractions": FRACTIONS}, patches={"stride": [11, 13]})


@pytest.mark.parametrize(("workers", "threads"), [(1, 1), (1, 2), (4, 1), (2, 2)])
def test_any_number_of_workers_and_threads(tmp_path, cut, tables, same_files, workers, threads):
    cut(tables, "two.zarr")
    with local_cluster(workers, threads, dashboard="127.0.0.1:0") as other:
        outcome = prepare(Recipe.from_dict(tables, tmp_path), tmp_path / "other.zarr", client=other)
    assert outcome.cut == outcome.plan.n_shards >= 50
    same_files(tmp_path / "two.zarr", tmp_path / "other.zarr")


def test_a_complete_store_is_left_alone(tmp_path, cut, tables, files_of):
    first = cut(tables)
    before = {p: p.stat().st_mtime_ns for p in first.store.rglob("*")}
    again = cut(tables)
    assert (again.cut, again.kept) == (0, first.cut)
    assert {p: p.stat().st_mtime_ns for p in first.store.rglob("*")} == before


class StopHere(Exception):
    """Stands for a crash of the driver."""


def stop_after(monkeypatch, shards: int) -> None:
    """Let the driver crash once that many shards are in the ledger."""
    add = Ledger.add_shard

    def add_shard(self, result):
        add(self, result)
        if len(self.shards) >= shards:
            raise StopHere

    monkeypatch.setattr(Ledger, "add_shard", add_shard)


def test_interrupted_again_and_again(tmp_path, cut, tables, same_files, monkeypatch):
    whole = cut(tables, "whole.zarr")
    finished: dict[Path, int] = {}
    for shards in (1, 9, 10, 40):
        with monkeypatch.context() as patch:
            stop_after(patch, shards)
            with pytest.raises(StopHere):
                cut(tables)
        image = tmp_path / "s.zarr/image"
        for path, inode in finished.items():
            assert path.stat().st_ino == inode, f"{path} was cut again"
        with Ledger(tmp_path / "s.zarr.run/ledger", RECORD) as ledger:
            assert len(ledger.shards) == shards
            names = [image / f"c.{shard}.0.0.0" for shard in ledger.shards]
        finished = {path: path.stat().st_ino for path in names}
        with pytest.raises(FileNotFoundError, match="not complete"):
            open_store(tmp_path / "s.zarr")
    outcome = cut(tables)
    assert (outcome.kept, outcome.cut) == (40, whole.cut - 40)
    for path, inode in finished.items():
        assert path.stat().st_ino == inode
    same_files(tmp_path / "whole.zarr", tmp_path / "s.zarr")
    assert list((tmp_path / "s.zarr.run/tmp").iterdir()) == []


#: What moves, removes or writes names in the driver: a crash may come before or after each.
STEPS = ("replace", "rename", "unlink", "mkdir", "write_text")


def crash_at(monkeypatch, number: int, after: bool) -> list[str]:
    """Let the driver crash at its n-th step on the file system; return what it has done."""
    done: list[str] = []

    def wrap(name):
        original = getattr(Path, name)

        def step(self, *args, **kwargs):
            # zarr's own threads and the cache of surveys write, too: not what is meant here.
            caller = sys._getframe(1).f_globals["__name__"]
            if not caller.startswith("patchmill.") or ".zarr" not in str(self):
                return original(self, *args, **kwargs)
            done.append(f"{name} {self.name}")
            if len(done) == number and not after:
                raise StopHere
            found = original(self, *args, **kwargs)
            if len(done) == number:
                raise StopHere
            return found

        monkeypatch.setattr(Path, name, step)

    for name in STEPS:
        wrap(name)
    return done


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_every_step_of_create_and_finish(
    tmp_path, cut, plate, plate_tables, same_files, monkeypatch, after
):
    plate("AB", shape=(32, 32))
    tables = plate_tables(split={"fractions": {"train": 0.5, "val": 0.5}})
    with monkeypatch.context() as patch:
        steps = crash_at(patch, 0, after)
        cut(tables, "whole.zarr")
    assert {step.split()[0] for step in steps} >= {"replace", "mkdir", "write_text"}
    for number in range(1, len(steps) + 1):
        store = f"{number}.zarr"
        with monkeypatch.context() as patch:
            done = crash_at(patch, number, after)
            with pytest.raises(StopHere):
                cut(tables, store)
            assert len(done) == number
        cut(tables, store)
        same_files(tmp_path / "whole.zarr", tmp_path / store)
        assert list((tmp_path / f"{store}.run/tmp").iterdir()) == [], done
        shutil.rmtree(tmp_path / store)
        shutil.rmtree(tmp_path / f"{store}.run")


def test_a_crash_at_every_step_of_overwriting(
    tmp_path, cut, plate, plate_tables, same_files, monkeypatch
):
    plate("AB", shape=(32, 32))
    old, new = plate_tables(patches={"size": 8}), plate_tables()
    cut(new, "whole.zarr")
    cut(old, "old.zarr")

    def copy_old(store):
        shutil.copytree(tmp_path / "old.zarr", tmp_path / store)
        shutil.copytree(tmp_path / "old.zarr.run", tmp_path / f"{store}.run")

    copy_old("count.zarr")
    with monkeypatch.context() as patch:
        steps = crash_at(patch, 0, after=True)
        cut(new, "count.zarr", overwrite=True)
    same_files(tmp_path / "whole.zarr", tmp_path / "count.zarr")
    for number in range(1, len(steps) + 1):
        store = f"{number}.zarr"
        copy_old(store)
        with monkeypatch.context() as patch:
            crash_at(patch, number, after=True)
            with pytest.raises(StopHere):
                cut(new, store, overwrite=True)
        cut(new, store, overwrite=True)
        same_files(tmp_path / "whole.zarr", tmp_path / store)


FIELDS = ("image", "masks/cells", "masks/bright", "labels/nuclei")


def shard_files(store: Path, shard: int) -> list[Path]:
    """Return the files of a shard, one for each field."""
    image, *others = FIELDS
    return [store / image / f"c.{shard}.0.0.0", *(store / f / f"c.{shard}.0.0" for f in others)]


def test_interrupted_with_steps_masks_and_statistics(
    tmp_path, cut, annotated, same_files, monkeypatch
):
    tables = annotated(tmp_path)
    whole = cut(tables, "whole.zarr")
    store = open_store(whole.store)
    assert set(FIELDS) == set(store.fields)
    assert 0 < len(store) < len(whole.plan.rows.candidates["image"])
    assert whole.plan.n_shards >= 30
    finished: dict[Path, int] = {}
    for shards in (1, 9, 20):
        with monkeypatch.context() as patch:
            stop_after(patch, shards)
            with pytest.raises(StopHere):
                cut(tables)
        assert {path: path.stat().st_ino for path in finished} == finished
        ledger_record = record_dtype(np.dtype(np.uint16), 2, whole.plan.annotations)
        with Ledger(tmp_path / "s.zarr.run/ledger", ledger_record) as ledger:
            there = [path for n in ledger.shards for path in shard_files(tmp_path / "s.zarr", n)]
        assert len(there) == shards * len(FIELDS)
        finished = {path: path.stat().st_ino for path in there}
    outcome = cut(tables)
    assert (outcome.kept, outcome.cut) == (20, whole.cut - 20)
    assert {path: path.stat().st_ino for path in finished} == finished
    same_files(tmp_path / "whole.zarr", tmp_path / "s.zarr")


@pytest.mark.parametrize("blocked", FIELDS[1:])
def test_stopped_between_the_files_of_one_shard(tmp_path, cut, annotated, same_files, blocked):
    tables = annotated(tmp_path, wells="ABCD")
    whole = cut(tables, "whole.zarr")
    shard = whole.plan.n_shards // 2
    files = dict(zip(FIELDS, shard_files(tmp_path / "s.zarr", shard), strict=True))
    # A folder in the place of a file: the image's is written before that, and is not finished.
    create = job.create_store

    def create_blocked(plan, run):
        create(plan, run)
        files[blocked].mkdir()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "create_store", create_blocked)
        with pytest.raises(PatchmillError, match=f"shard {shard}: cannot write"):
            cut(tables)
    assert files["image"].is_file()
    files[blocked].rmdir()
    image = files["image"].stat().st_ino
    outcome = cut(tables)
    assert outcome.kept + outcome.cut == whole.cut
    assert outcome.cut > 0
    assert files["image"].stat().st_ino != image
    same_files(tmp_path / "whole.zarr", tmp_path / "s.zarr")


@pytest.mark.parametrize("field", FIELDS)
def test_a_file_of_any_field_that_is_gone_or_short_is_cut_again(
    tmp_path, cut, annotated, same_files, field
):
    tables = annotated(tmp_path, wells="ABCD")
    whole = cut(tables, "whole.zarr")
    store = cut(tables).store
    gone, short = (
        dict(zip(FIELDS, shard_files(store, shard), strict=True))[field] for shard in (1, 3)
    )
    gone.unlink()
    os.truncate(short, 100)
    again = cut(tables)
    assert (again.cut, again.kept) == (2, whole.cut - 2)
    same_files(tmp_path / "whole.zarr", store)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("m/flat_c1.tif", "the step illumination .* has changed"),
        ("m/C_mask.tif", "C: has changed"),
        ("m/C_labels.tif", "C: has changed"),
        ("C.tif", "C: has changed"),
    ],
)
def test_what_changes_in_between_is_refused_until_it_is_back(
    tmp_path, cut, annotated, same_files, monkeypatch, name, said
):
    tables = annotated(tmp_path, wells="ABCD")
    whole = cut(tables, "whole.zarr")
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        with pytest.raises(StopHere):
            cut(tables)
    path = tmp_path / name
    shutil.copy2(path, tmp_path / "kept")
    pixels = tifffile.imread(path)
    tifffile.imwrite(path, pixels[..., ::-1].copy(), compression="zlib", rowsperstrip=16)
    os.utime(path, ns=(1, 1))
    with pytest.raises(StoreError, match=said):
        cut(tables)
    with pytest.raises(FileNotFoundError, match="not complete"):
        open_store(tmp_path / "s.zarr")
    shutil.copy2(tmp_path / "kept", path)
    outcome = cut(tables)
    assert (outcome.kept, outcome.cut) == (5, whole.cut - 5)
    same_files(tmp_path / "whole.zarr", tmp_path / "s.zarr")


@pytest.mark.parametrize("name", ["m/C_mask.tif", "m/C_labels.tif"])
def test_an_image_whose_mask_is_damaged_is_void_in_all_fields(
    tmp_path, cut, annotated, same_files, name
):
    tables = annotated(tmp_path, wells="ABCD")
    whole = cut(tables, "whole.zarr")
    number = [image.id for image in whole.plan.images].index("well=C")
    path = tmp_path / name
    shutil.copy2(path, tmp_path / "kept")
    with tifffile.TiffFile(path) as tif:
        offset, count = tif.pages[0].dataoffsets[1], tif.pages[0].databytecounts[1]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * count)
    with pytest.raises(PatchmillError, match=f"{name}.*mend"):
        cut(tables, "raise.zarr")
    tables["images"]["on_error"] = "skip"
    outcome = cut(tables)
    ((failed, reason),) = outcome.failed
    assert failed == "well=C"
    assert reason.startswith(name)
    store = open_store(outcome.store)
    void = np.flatnonzero(store.index["image"] == number)
    np.testing.assert_array_equal(np.flatnonzero(~store.index["valid"]), void)
    assert len(void) > 0
    group = zarr.open_group(outcome.store, mode="r")
    for field in FIELDS:
        assert not group[field][void].any()
        for row in void.tolist():
            shard, at = divmod(row, store.fields[field].rows_per_shard)
            data = shard_files(outcome.store, shard)[FIELDS.index(field)].read_bytes()
            index = unpack_index(
                np.frombuffer(data, np.uint8)[-index_nbytes(store.fields[field].rows_per_shard) :]
            )
            assert index[at, 0] == MISSING
    assert verify(outcome.store).damage == ()
    with local_cluster(1, 1, dashboard="127.0.0.1:0") as other:
        prepare(Recipe.from_dict(tables, tmp_path), tmp_path / "other.zarr", client=other)
    same_files(outcome.store, tmp_path / "other.zarr")
    # Mended, only the shards that have patches of it are cut.
    shutil.copy2(tmp_path / "kept", path)
    again = cut(tables)
    shards = np.unique(void // store.fields["image"].rows_per_shard)
    assert (again.cut, again.failed) == (len(shards), ())
    tables["images"]["on_error"] = "raise"
    clean = cut(tables, "clean.zarr")
    same_files(clean.store / "image", again.store / "image")
    same_files(clean.store / "statistics", again.store / "statistics")


def test_a_shard_that_is_gone_or_short_is_cut_again(tmp_path, cut, tables, same_files):
    whole = cut(tables, "whole.zarr")
    store = cut(tables).store
    (store / "image/c.3.0.0.0").unlink()
    os.truncate(store / "image/c.5.0.0.0", 100)
    again = cut(tables)
    assert (again.cut, again.kept) == (2, whole.cut - 2)
    same_files(tmp_path / "whole.zarr", store)


def test_the_store_deleted_and_the_run_folder_left(tmp_path, cut, tables, same_files):
    whole = cut(tables, "whole.zarr")
    store = cut(tables).store
    shutil.rmtree(store)
    again = cut(tables)
    assert (again.cut, again.kept) == (whole.cut, 0)
    same_files(tmp_path / "whole.zarr", store)


def test_the_run_folder_deleted(tmp_path, cut, tables, same_files, monkeypatch, client, eventually):
    whole = cut(tables, "whole.zarr")
    shutil.rmtree(tmp_path / "whole.zarr.run")
    again = cut(tables, "whole.zarr")
    assert (again.cut, again.kept, again.failed) == (0, whole.cut, ())
    with monkeypatch.context() as patch:
        stop_after(patch, 7)
        with pytest.raises(StopHere):
            cut(tables)
    eventually(lambda: not any(client.processing().values()), "no task writes any more")
    shutil.rmtree(tmp_path / "s.zarr.run")
    recut = cut(tables)
    assert (recut.cut, recut.kept) == (whole.cut, 0)
    same_files(tmp_path / "whole.zarr", tmp_path / "s.zarr")


def test_a_torn_ledger_costs_only_what_it_lost(tmp_path, cut, tables, same_files, monkeypatch):
    whole = cut(tables, "whole.zarr")
    with monkeypatch.context() as patch:
        stop_after(patch, 20)
        with pytest.raises(StopHere):
            cut(tables)
    ledger = tmp_path / "s.zarr.run/ledger"
    os.truncate(ledger, ledger.stat().st_size - 5)
    outcome = cut(tables)
    assert (outcome.kept, outcome.cut) == (19, whole.cut - 19)
    same_files(tmp_path / "whole.zarr", tmp_path / "s.zarr")


def test_a_changed_source_is_refused_with_its_name(tmp_path, cut, plate, tables, files_of):
    store = cut(tables).store
    before = files_of(store)
    os.utime(tmp_path / "C01_w1.tif", ns=(1, 1))
    (tmp_path / "D01_w2.tif").write_bytes((tmp_path / "E01_w2.tif").read_bytes())
    with pytest.raises(StoreError) as caught:
        cut(tables)
    text = str(caught.value)
    assert "well=C01: has changed" in text
    assert "well=D01: has changed" in text
    assert "well=A01" not in text
    assert "--overwrite" in text
    assert files_of(store) == before


def test_images_that_come_and_go_are_refused(tmp_path, cut, plate, tables):
    cut(tables)
    plate("K")
    for channel in "12":
        (tmp_path / f"B01_w{channel}.tif").unlink()
    with pytest.raises(StoreError) as caught:
        cut(tables)
    assert "well=K01: is new" in str(caught.value)
    assert "well=B01: is no longer there" in str(caught.value)


def test_a_changed_recipe_is_refused_with_the_key_and_both_values(tmp_path, cut, tables):
    cut(tables)
    other = tables | {"seed": 4, "patches": {"size": [16, 16], "stride": [11, 12]}}
    with pytest.raises(StoreError) as caught:
        cut(other)
    assert "patches.stride: was [11, 13], is [11, 12]" in str(caught.value)
    assert "seed: was 0, is 4" in str(caught.value)
    assert "images." not in str(caught.value)
    shutil.rmtree(tmp_path / "s.zarr.run")
    with pytest.raises(StoreError, match=r"patches\.stride: was \[11, 13\], is \[11, 12\]"):
        cut(other)


def test_overwrite_begins_anew(tmp_path, cut, tables, same_files):
    cut(tables)
    other = {**tables, "seed": 4}
    cut(other, "whole.zarr")
    outcome = cut(other, overwrite=True)
    assert (outcome.cut, outcome.kept) == (outcome.plan.n_shards, 0)
    same_files(tmp_path / "whole.zarr", tmp_path / "s.zarr")
    assert list((tmp_path / "s.zarr.run/tmp").iterdir()) == []


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", ["folder", "file", "zarr", "dangling"])
def test_what_is_no_store_is_never_touched(tmp_path, cut, tables, files_of, kind, overwrite):
    target = tmp_path / "s.zarr"
    if kind == "file":
        target.write_text("precious")
    elif kind == "dangling":
        target.symlink_to(tmp_path / "nowhere")
    else:
        target.mkdir()
        (target / "precious.txt").write_text("precious")
        if kind == "zarr":
            (target / "zarr.json").write_text('{"node_type": "group", "attributes": {}}')
    before = files_of(target) if target.is_dir() else None
    with pytest.raises(PatchmillError, match="is not a patchmill store"):
        cut(tables, overwrite=overwrite)
    if before is not None:
        assert files_of(target) == before
    elif kind == "file":
        assert target.read_text() == "precious"
    else:
        assert target.is_symlink()
    assert not (tmp_path / "nowhere").exists()


def test_overwrite_follows_no_link(tmp_path, cut, tables, files_of):
    real = cut(tables, "real.zarr").store
    before = files_of(real)
    (tmp_path / "s.zarr").symlink_to(real)
    with pytest.raises(StoreError, match="deletes nothing else"):
        cut({**tables, "seed": 4}, overwrite=True)
    assert files_of(real) == before
    assert (tmp_path / "s.zarr").is_symlink()


def test_an_empty_folder_is_nothing(tmp_path, cut, tables, same_files):
    (tmp_path / "s.zarr").mkdir()
    cut(tables, "whole.zarr")
    cut(tables)
    same_files(tmp_path / "whole.zarr", tmp_path / "s.zarr")


def test_a_second_run_at_once_is_refused(tmp_path, cut, tables, monkeypatch, same_files):
    cut(tables, "whole.zarr")
    add, seen = Ledger.add_shard, []

    def add_shard(self, result):
        add(self, result)
        if not seen:
            seen.append(True)
            for overwrite in (False, True):
                with pytest.raises(PatchmillError, match="another run is at work on this store"):
                    cut(tables, overwrite=overwrite)
                seen.append("refused")

    monkeypatch.setattr(Ledger, "add_shard", add_shard)
    cut(tables)
    assert seen == [True, "refused", "refused"]
    same_files(tmp_path / "whole.zarr", tmp_path / "s.zarr")


def test_statistics_of_floats_do_not_depend_on_the_order_of_completion(
    tmp_path, cut, noise, same_files, monkeypatch
):
    for number in range(6):
        pixels = noise(96, 96, seed=number, dtype="float32") * np.float32(10.0) ** (number * 3)
        tifffile.imwrite(tmp_path / f"{number}.tif", pixels)
    tables = {"images": {"paths": "*.tif"}, "patches": {"size": 16}, "store": {"shard_bytes": 3000}}
    cut(tables, "whole.zarr")
    for shards in (3, 11, 30):
        with monkeypatch.context() as patch:
            stop_after(patch, shards)
            with pytest.raises(StopHere):
                cut(tables)
    cut(tables)
    same_files(tmp_path / "whole.zarr", tmp_path / "s.zarr")


def test_skipped_images_say_the_same_wherever_the_sources_lie(
    tmp_path, client, plate, plate_tables, same_files
):
    """A reason is part of the store: it may not hold the folder of the sources."""
    plate("ABC", folder=tmp_path / "one", compression="zlib")
    with tifffile.TiffFile(tmp_path / "one/B01_w1.tif") as tif:
        offset, count = tif.pages[0].dataoffsets[0], tif.pages[0].databytecounts[0]
    with (tmp_path / "one/B01_w1.tif").open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * count)
    os.truncate(tmp_path / "one/C01_w1.tif", 500)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    tables = plate_tables(images={"on_error": "skip"})
    for name in ("one", "two"):
        recipe = Recipe.from_dict(tables, tmp_path / name)
        failed = prepare(recipe, tmp_path / f"{name}.zarr", client=client).failed
        assert [image for image, _ in failed] == ["well=B01", "well=C01"]
    same_files(tmp_path / "one.zarr", tmp_path / "two.zarr")
