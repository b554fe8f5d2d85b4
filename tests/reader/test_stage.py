"""Staging: the same files, only those asked for, through kills, crowds, damage and full disks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import zarr

from patchmill.reader import (
    DamagedStoreError,
    IncompleteStoreError,
    PatchmillError,
    StoreError,
    open_store,
    stage_copy,
    stage_run,
)
from patchmill.reader.stage import StageProgress, main, stage

SPLITS = {"train": 21, "val": 6, "test": 10}  # shards of 8: the third has train and val, …


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def shards(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("image/c.*"))


@pytest.fixture
def written(make_store):
    return make_store(splits=SPLITS)


@pytest.fixture
def dest(tmp_path):
    return tmp_path / "scratch" / "copy.zarr"


def python(script: str, *arguments: object, **options: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finished(process: subprocess.Popen) -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out


def test_the_same_files(written, dest):
    done = stage(written.path, dest)
    expected = contents(written.path)
    assert contents(dest) == expected
    assert (done.path, done.kept) == (dest, 0)
    assert done.copied == len(expected) - 1  # all but the root's zarr.json, the mark
    assert done.nbytes == sum(map(len, expected.values())) - len(expected["zarr.json"])
    store = open_store(dest)
    np.testing.assert_array_equal(store.read(range(37))["image"], written.pixels)
    assert store.index["x"].tolist() == open_store(written.path).index["x"].tolist()


def test_what_is_there_is_not_copied_again(written, dest):
    first = stage(written.path, dest)
    before = {path: path.stat().st_mtime_ns for path in dest.rglob("*")}
    again = stage(written.path, dest, verify=True)
    assert (again.copied, again.kept, again.nbytes) == (0, first.copied, 0)
    assert stage(written.path, dest).copied == 0
    changed = {p for p in dest.rglob("*") if before[p] != p.stat().st_mtime_ns} - {dest}
    assert changed == set()


@pytest.mark.parametrize("codec", ["lz4", "zstd", "none"])
@pytest.mark.parametrize("block", [1, 7, 480, 481, 1 << 20])
def test_blocks_of_any_size(make_store, dest, monkeypatch, codec, block):
    written = make_store(codec=codec, shape=(1, 12, 10), void=(2, 3, 12))
    monkeypatch.setattr(stage_copy, "BLOCK_BYTES", block)
    stage(written.path, dest)
    assert contents(dest) == contents(written.path)
    flip(written.shard(1), 300)
    with pytest.raises(DamagedStoreError, match=r"c\.1\.0\.0\.0: the checksum of patch \d+ is wro"):
        stage(written.path, dest.with_name("other.zarr"))


def test_the_shards_of_one_split(written, dest):
    stage(written.path, dest, split="train")
    assert shards(dest) == ["c.0.0.0.0", "c.1.0.0.0", "c.2.0.0.0"]
    store = open_store(dest)
    assert dict(store.splits) == dict(open_store(written.path).splits)
    train = store.select(split="train")
    np.testing.assert_array_equal(train.read(range(21))["image"], written.pixels[:21])
    batches = train.loader(batch_size=4, shuffle=True, seed=1)
    assert sorted(row for b in batches for row in b["index"][b["valid"]].tolist()) == [*range(21)]
    assert train.statistics["count"].tolist() == [21 * 120] * 2
    # The first rows of val are in the last shard of train.
    val = store.select(split="val")
    np.testing.assert_array_equal(val.read([0, 1, 2])["image"], written.pixels[21:24])
    with pytest.raises(IncompleteStoreError) as error:
        val.read([0, 3])
    assert str(error.value) == (
        f"{dest}: patch 24 is in image/c.3.0.0.0, which was not staged, only train was; select "
        f"that, or run `patchmill stage {written.path} {dest}` with the --split of this patch"
    )
    with pytest.raises(IncompleteStoreError, match="not staged"):
        list(val.loader(batch_size=6))


def test_one_split_after_the_other(written, dest):
    stage(written.path, dest, split="test")
    inode = (dest / "image/c.4.0.0.0").stat().st_ino
    assert json.loads((dest / "staged.json").read_text())["splits"] == ["test"]
    second = stage(written.path, dest, split=["train"])
    assert json.loads((dest / "staged.json").read_text())["splits"] == ["train", "test"]
    assert second.copied == 3
    assert stage(written.path, dest, split=["test", "train"]).copied == 0
    assert len(shards(dest)) == 5  # val lies in shards of its neighbours
    stage(written.path, dest)
    assert contents(dest) == contents(written.path)
    assert (dest / "image/c.4.0.0.0").stat().st_ino == inode
    # All of it is there: asking for less takes nothing away.
    assert stage(written.path, dest, split="val").copied == 0
    assert not (dest / "staged.json").exists()


def test_an_empty_split_has_no_shards(make_store, dest):
    written = make_store(splits={"train": 37, "val": 0})
    stage(written.path, dest, split="val")
    assert shards(dest) == []
    assert len(open_store(dest).select(split="val")) == 0


def test_a_field_of_another_layout_is_copied_whole(written, dest):
    """There an absent chunk is no error to zarr, but full of zeros."""
    shutil.rmtree(written.path / "image")
    group = zarr.open_group(str(written.path), mode="r+")
    chunks = (4, *written.pixels.shape[1:])
    names = ["patch", "c", "y", "x"]
    array = group.create_array(
        "image", shape=written.pixels.shape, dtype="uint16", chunks=chunks, dimension_names=names
    )
    array[:] = written.pixels
    stage(written.path, dest, split="val")
    copy = open_store(dest)
    assert not copy.fields["image"].is_fast
    np.testing.assert_array_equal(copy.read(range(37))["image"], written.pixels)


KILLED = """
import os, signal, sys
from patchmill.reader import stage_copy
from patchmill.reader.stage import stage
flushed = 0
fsync = os.fsync
def kill_itself(fd):
    global flushed
    flushed += 1
    if flushed == int(sys.argv[3]):  # a file is written, and not yet in its place
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(fd)
stage_copy.os.fsync = kill_itself
stage(sys.argv[1], sys.argv[2], num_workers=2)
"""


@pytest.mark.parametrize("after", [1, 2, 9, 14])
def test_killed_in_the_middle(written, dest, after):
    process = python(KILLED, written.path, dest, after)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    there = {
        p: p.stat().st_ino for p in dest.rglob("*") if p.is_file() and ".staging" not in p.parts
    }
    left = [path.name for path in (dest / ".staging").iterdir()]
    if after > 1:  # the first that is flushed is the root that waits
        assert set(left) > {"lock", "zarr.json"}
    for options in ({}, {"allow_incomplete": True}):
        with pytest.raises(IncompleteStoreError, match="run the same `patchmill stage` again"):
            open_store(dest, **options)
    done = stage(written.path, dest)
    assert done.kept == len(there)
    assert contents(dest) == contents(written.path)
    assert {path: path.stat().st_ino for path in there} == there


HOLDER = """
import sys
from patchmill.reader.stage import stage
def show(progress):
    if progress.is_waiting:
        print("waiting", flush=True)
    elif sys.argv[3] == "hold" and progress.done_bytes > progress.all_bytes // 2:
        print("half", flush=True)
        sys.stdin.read()
print(stage(sys.argv[1], sys.argv[2], progress=show).kept)
"""


def test_who_waits_takes_over_from_who_is_killed(written, dest):
    holder = python(HOLDER, written.path, dest, "hold")
    assert holder.stdout.readline() == "half\n"
    waiting = [python(HOLDER, written.path, dest, "wait") for _ in range(2)]
    for process in waiting:
        assert process.stdout.readline() == "waiting\n"
        assert process.poll() is None
    with pytest.raises(IncompleteStoreError):
        open_store(dest)
    holder.kill()
    holder.communicate(timeout=60)
    kept = [int(finished(process)) for process in waiting]
    files = len(contents(written.path)) - 1
    assert files // 2 < min(kept) + 1  # what the killed one had done
    assert max(kept) == files  # and the last one found everything there
    assert contents(dest) == contents(written.path)


CROWD = """
import sys
import numpy as np
from patchmill.reader import open_store
from patchmill.reader.stage import stage
sys.stdin.readline()
copied = stage(sys.argv[1], sys.argv[2], split=sys.argv[3:] or None).copied
view = open_store(sys.argv[2])
if sys.argv[3:]:
    view = view.select(split=sys.argv[3:])
print(copied, view.read(range(len(view)))["image"].sum(dtype=np.int64))
"""


def test_many_processes_at_once(written, dest):
    crowd = [python(CROWD, written.path, dest) for _ in range(4)]
    for process in crowd:  # they are all up before the first begins
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [finished(process).split() for process in crowd]
    # Each has all of it when it returns, and no file was copied twice.
    assert {int(total) for _, total in said} == {int(written.pixels.sum(dtype=np.int64))}
    assert sum(int(copied) for copied, _ in said) == len(contents(written.path)) - 1
    assert contents(dest) == contents(written.path)


def test_other_splits_at_once(written, dest):
    crowd = {split: python(CROWD, written.path, dest, split) for split in SPLITS}
    for process in crowd.values():
        process.stdin.write("go\n")
        process.stdin.flush()
    start = 0
    for split, process in crowd.items():
        own = written.pixels[start : start + SPLITS[split]]
        assert int(finished(process).split()[1]) == int(own.sum(dtype=np.int64))
        start += SPLITS[split]
    assert contents(dest) == contents(written.path)


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "fault"),
    [
        (lambda path: flip(path, 700), r"the checksum of patch \d+ is wrong"),
        (lambda path: flip(path, -1), "the checksum of its index is wrong"),
        (lambda path: flip(path, -70), "the checksum of its index is wrong"),
        (lambda path: path.write_bytes(path.read_bytes()[:-3]), "the checksum of its index"),
        (lambda path: path.write_bytes(b"short"), "5 bytes, less than its index needs"),
        (Path.unlink, "missing"),
    ],
    ids=["chunk", "index checksum", "index", "cut off", "short", "missing"],
)
def test_a_damaged_source_is_named_and_nothing_is_complete(written, dest, harm, fault):
    good = written.shard(3).read_bytes()
    harm(written.shard(3))
    with pytest.raises(DamagedStoreError, match=fault) as error:
        stage(written.path, dest)
    assert f"{written.path}: image/c.3.0.0.0" in str(error.value)
    with pytest.raises(PatchmillError):
        open_store(dest)
    assert not (dest / "image/c.3.0.0.0").exists()
    assert not [t for t in threading.enumerate() if t.name.startswith("patchmill-stage")]
    assert {p.name for p in dest.glob(".staging/*")} <= {"lock", "zarr.json"}
    # Other splits do not need that shard; mended, all of it goes on.
    stage(written.path, dest.with_name("other.zarr"), split="train")
    written.shard(3).write_bytes(good)
    stage(written.path, dest)
    assert contents(dest) == contents(written.path)


def test_a_shard_that_shrinks_meanwhile(written, dest, monkeypatch):
    regions = stage_copy._regions

    def shrink(file, stream):
        found = regions(file, stream)
        if file.rows_per_shard:
            os.truncate(written.path / file.name, file.nbytes // 2)
        return found

    monkeypatch.setattr(stage_copy, "_regions", shrink)
    with pytest.raises(DamagedStoreError, match=r"it ends after \d+ bytes"):
        stage(written.path, dest)


def test_a_copy_that_was_cut_off_is_copied_again(written, dest):
    stage(written.path, dest)
    os.truncate(dest / "image/c.1.0.0.0", 100)
    (dest / "index/x/zarr.json").unlink()
    assert stage(written.path, dest).copied == 2
    assert contents(dest) == contents(written.path)


@pytest.mark.parametrize("name", ["image/c.1.0.0.0", "image/zarr.json", "index/x/c/0"])
def test_verify_finds_what_size_does_not_tell(written, dest, name):
    stage(written.path, dest)
    flip(dest / name, 40)
    assert stage(written.path, dest).copied == 0
    assert stage(written.path, dest, verify=True).copied == 1
    assert contents(dest) == contents(written.path)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own; where none can be mounted the test is skipped."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [str(mount), "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if mount is None or os.geteuid() or subprocess.run(command, check=False).returncode:
        pytest.skip("no small file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_too_small(make_store, small_disk):
    written = make_store(shape=(2, 64, 64))
    with pytest.raises(PatchmillError, match=r"[\d,]+ bytes are still to be copied and [\d,]+ are"):
        stage(written.path, small_disk / "copy.zarr")
    assert shards(small_disk / "copy.zarr") == []  # refused before anything was copied


def test_a_disk_that_runs_full(make_store, small_disk, monkeypatch):
    written = make_store(shape=(2, 64, 64))
    dest = small_disk / "copy.zarr"
    usage = shutil.disk_usage
    lie = usage(written.path)  # another process takes the room after the look at it
    monkeypatch.setattr(stage_run.shutil, "disk_usage", lambda _: lie)
    with pytest.raises(PatchmillError, match="bytes are still to be copied and"):
        stage(written.path, dest)
    with pytest.raises(IncompleteStoreError):
        open_store(dest)
    assert {path.name for path in dest.glob(".staging/*")} <= {"lock", "zarr.json"}
    assert not [t for t in threading.enumerate() if t.name.startswith("patchmill-stage")]


def test_what_is_missing_must_fit(written, dest, monkeypatch):
    """Only what is still to be copied counts; on any file system."""
    stage(written.path, dest, split="train")
    free = (written.shard(3).stat().st_size + written.shard(4).stat().st_size) - 1
    monkeypatch.setattr(
        stage_run.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(free, 0, free)
    )
    with pytest.raises(PatchmillError, match=f"{free + 1:,} bytes are still to be copied"):
        stage(written.path, dest)
    assert len(open_store(dest).select(split="train")) == 21  # what was complete still is
    free += 1
    stage(written.path, dest)


def test_places_that_are_refused(written, tmp_path, dest):
    with pytest.raises(StoreError, match="the same folder, or one lies in the other"):
        stage(written.path, written.path)
    with pytest.raises(StoreError, match="one lies in the other"):
        stage(written.path, written.path / "copy")
    with pytest.raises(StoreError, match="one lies in the other"):
        stage(written.path, written.path.parent)
    link = tmp_path / "link"
    link.symlink_to(written.path)
    with pytest.raises(StoreError, match="one lies in the other"):
        stage(written.path, link / "copy")
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(StoreError, match="is no folder"):
        stage(written.path, file)
    full = tmp_path / "full"
    full.mkdir()
    (full / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="is not a patchmill store"):
        stage(written.path, full)
    (full / ".staging").mkdir()
    with pytest.raises(StoreError, match="is not a patchmill store"):
        stage(written.path, full)
    assert (full / "notes.txt").read_text() == "mine"
    empty = tmp_path / "empty"
    empty.mkdir()
    stage(written.path, empty)
    assert contents(empty) == contents(written.path)


def test_another_store_is_kept(written, dest):
    stage(written.path, dest, split="train")
    before = contents(dest)
    written.edit(lambda own: own.update(plan="1" * 64))
    with pytest.raises(StoreError) as error:
        stage(written.path, dest)
    assert f"its plan is {'0' * 12}, that of {written.path} is {'1' * 12}" in str(error.value)
    written.edit(lambda own: own.update(plan="0" * 64, software={"numpy": "9"}))
    with pytest.raises(StoreError, match=r"of the same plan as .*, and its zarr.json differs"):
        stage(written.path, dest)
    assert contents(dest) == before


def test_another_store_that_is_half_staged_is_kept(written, dest):
    process = python(KILLED, written.path, dest, 14)
    process.communicate(timeout=60)
    before = {path: path.stat().st_ino for path in dest.glob("image/*")}
    written.edit(lambda own: own.update(plan="1" * 64))
    with pytest.raises(StoreError, match="holds another store"):
        stage(written.path, dest)
    assert {path: path.stat().st_ino for path in dest.glob("image/*")} == before


def test_sources_that_are_refused(written, tmp_path, dest):
    with pytest.raises(StoreError, match="is not a folder"):
        stage(tmp_path / "absent", dest)
    with pytest.raises(StoreError, match="split 'tain' is not among 'train', 'val', 'test'"):
        stage(written.path, dest, split="tain")
    with pytest.raises(StoreError, match="split none is not among"):
        stage(written.path, dest, split=[])
    with pytest.raises(ValueError, match="num_workers is 0; give at least 1"):
        stage(written.path, dest, num_workers=0)
    written.edit(lambda own: own.update(complete=False))
    with pytest.raises(IncompleteStoreError, match="patchmill prepare"):
        stage(written.path, dest)
    assert not dest.exists()


def test_from_one_that_was_staged_in_part(written, dest, tmp_path):
    stage(written.path, dest, split=["train", "val"])
    with pytest.raises(StoreError, match="has train, val alone"):
        stage(dest, tmp_path / "third")
    stage(dest, tmp_path / "third", split="val")
    val = open_store(tmp_path / "third").select(split="val")
    np.testing.assert_array_equal(val.read(range(6))["image"], written.pixels[21:27])


def test_a_mark_that_is_damaged(written, dest):
    stage(written.path, dest, split="train")
    (dest / "staged.json").write_text('{"splits": 3}')
    with pytest.raises(DamagedStoreError, match="does not say what was staged"):
        open_store(dest).read([30])


def test_progress(written, dest):
    seen: list[StageProgress] = []
    stage(written.path, dest, progress=seen.append)
    done = [each.done_bytes for each in seen]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, seen[0].all_bytes)
    assert len({each.all_bytes for each in seen}) == 1
    assert not any(each.is_waiting for each in seen)


def test_an_error_of_the_progress_ends_it(written, dest):
    def fail(progress):
        if progress.done_bytes:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage(written.path, dest, progress=fail, num_workers=1)
    with pytest.raises(IncompleteStoreError):
        open_store(dest)
    assert not [t for t in threading.enumerate() if t.name.startswith("patchmill-stage")]
    stage(written.path, dest)
    assert contents(dest) == contents(written.path)


def test_the_module_is_a_command(written, dest, capsys):
    code = "from patchmill.reader.stage import main; import sys; main(); print(*sys.modules)"
    out = finished(python(code, written.path, dest, "--split", "train", "--split", "val"))
    assert f"{dest}: complete, " in out
    modules = {name.partition(".")[0] for name in out.splitlines()[1].split()}
    assert not modules & {"click", "dask", "rich", "torch", "zarr"}
    command = [sys.executable, "-m", "patchmill.reader.stage", str(written.path), str(dest)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    assert contents(dest) == contents(written.path)
    with pytest.raises(SystemExit) as error:
        main([str(written.path / "absent"), str(dest)])
    assert str(error.value).startswith("Error: ")
    with pytest.raises(SystemExit):
        main([str(written.path), str(dest), "--threads", "0"])
    assert "give at least 1" in capsys.readouterr().err
