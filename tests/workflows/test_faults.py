"""Images that cannot be read, and disks that cannot be written: nothing finished is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from patchmill.reader import open_store
from patchmill.reader.errors import PatchmillError
from patchmill.workflows import prepare, verify
from patchmill.workflows.info import describe_store
from patchmill.workflows.ledger import Ledger

SKIP = {"on_error": "skip"}


def corrupt_strip(path: Path, strip: int = -1) -> None:
    """Damage the bytes of one compressed strip; the file's size and its metadata stay."""
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[0]
        offset, count = page.dataoffsets[strip], page.databytecounts[strip]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xff" * count)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 2 // 3)


@pytest.fixture
def zlib_plate(tmp_path, plate):
    return plate("ABCDEF", compression="zlib")


def expected_rows(plan, image: str) -> int:
    number = [one.id for one in plan.images].index(image)
    return int((plan.rows.columns["image"] == number).sum())


# Found at the survey


def test_an_image_that_the_survey_refuses_stops_the_run(tmp_path, cut, zlib_plate, plate_tables):
    truncate(tmp_path / "C01_w2.tif")
    with pytest.raises(PatchmillError) as caught:
        cut(plate_tables())
    assert "1 of 6 images cannot be used" in str(caught.value)
    assert "C01_w2.tif" in str(caught.value)
    assert "images.on_error" in str(caught.value)
    assert not (tmp_path / "s.zarr").exists()


def test_an_image_that_the_survey_refuses_is_skipped(
    tmp_path, cut, zlib_plate, plate_tables, check_store
):
    truncate(tmp_path / "C01_w2.tif")
    outcome = cut(plate_tables(images=SKIP))
    ((name, reason),) = outcome.failed
    assert name == "well=C01"
    assert "C01_w2.tif" in reason
    rest = {name: pixels for name, pixels in zlib_plate.items() if name != "well=C01"}
    store = check_store(outcome.store, rest)
    assert store.attributes["void"] == 0
    assert store.images["id"].tolist() == [*rest, "well=C01"]
    assert store.images["status"].tolist() == [0] * 5 + [1]
    assert store.images["reason"].tolist() == [""] * 5 + [reason]
    assert describe_store(outcome.store)["failed"] == [{"image": name, "reason": reason}]
    assert verify(outcome.store).damage == ()
    again = cut(plate_tables(images=SKIP))
    assert (again.cut, again.failed) == (0, outcome.failed)


# Found at the cut


def test_raise_names_the_image_and_keeps_what_is_finished(
    tmp_path, cut, zlib_plate, plate_tables, same_files
):
    cut(plate_tables(), "whole.zarr")
    good = (tmp_path / "F01_w1.tif").read_bytes()
    corrupt_strip(tmp_path / "F01_w1.tif")
    with pytest.raises(PatchmillError) as caught:
        cut(plate_tables())
    text = str(caught.value)
    assert text.startswith("well=F01: ")
    assert "F01_w1.tif" in text
    assert "what is finished stays finished" in text
    image = tmp_path / "s.zarr/image"
    finished = {path: path.stat().st_ino for path in image.glob("c.*")}
    # As the message says: the file is mended, and the same command goes on.
    (tmp_path / "F01_w1.tif").write_bytes(good)
    outcome = cut(plate_tables())
    assert outcome.kept >= 1
    assert outcome.kept + outcome.cut == outcome.plan.n_shards
    kept = [path for path, inode in finished.items() if path.stat().st_ino == inode]
    assert len(kept) >= outcome.kept
    cut(plate_tables(), "clean.zarr")
    same_files(tmp_path / "clean.zarr", tmp_path / "s.zarr")


def test_raise_raises_again_as_long_as_the_file_is_damaged(tmp_path, cut, zlib_plate, plate_tables):
    corrupt_strip(tmp_path / "B01_w1.tif")
    for _ in range(2):
        with pytest.raises(PatchmillError, match=r"^well=B01: "):
            cut(plate_tables())
    with pytest.raises(FileNotFoundError, match="not complete"):
        open_store(tmp_path / "s.zarr")


@pytest.mark.parametrize("strip", [0, -1])
def test_skip_makes_every_row_of_the_image_void(
    tmp_path, cut, zlib_plate, plate_tables, check_store, same_files, strip
):
    corrupt_strip(tmp_path / "C01_w2.tif", strip)
    tables = plate_tables(images=SKIP, split={"fractions": {"train": 0.5, "val": 0.5}})
    outcome = cut(tables)
    ((name, reason),) = outcome.failed
    assert name == "well=C01"
    assert "C01_w2.tif" in reason
    store = check_store(outcome.store, zlib_plate, void=("well=C01",))
    plan = outcome.plan
    rows = expected_rows(plan, "well=C01")
    assert store.attributes["void"] == rows == 20
    assert len(store) == len(plan.rows) - rows
    loaded = [
        row for batch in store.loader(7, shuffle=True) for row in batch["index"][batch["valid"]]
    ]
    assert sorted(loaded) == store.index["valid"].nonzero()[0].tolist()
    assert store.images["status"][store.images["id"] == "well=C01"].tolist() == [1]
    found = verify(outcome.store)
    assert found.damage == ()
    assert found.patches == len(store)
    # The same again, whether in one go or resumed: a clean run gives the same bytes.
    cut(tables, "again.zarr")
    same_files(tmp_path / "again.zarr", outcome.store)
    again = cut(tables)
    assert (again.cut, again.kept, again.failed) == (0, plan.n_shards, outcome.failed)


def test_void_rows_have_no_chunk(tmp_path, cut, zlib_plate, plate_tables):
    corrupt_strip(tmp_path / "C01_w2.tif")
    outcome = cut(plate_tables(images=SKIP))
    image = zarr.open_group(outcome.store, mode="r")["image"]
    void = ~open_store(outcome.store).index["valid"]
    assert void.any()
    assert not image[:][void].any()  # noise, were it there
    assert image[:][~void].any(axis=(1, 2, 3)).all()


class StopHere(Exception):
    """Stands for a crash of the driver."""


def crash_once_failed(monkeypatch, cut, tables) -> None:
    """Cut, and have the driver crash just after it has noted an image that cannot be cut."""
    add = Ledger.add_failed

    def add_failed(self, *args):
        add(self, *args)
        raise StopHere

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "add_failed", add_failed)
        with pytest.raises(StopHere):
            cut(tables)


@pytest.fixture
def late_fault(tmp_path, plate, plate_tables):
    """One image over many shards whose last strip is damaged, among others; and it mended."""
    images = plate("ABC", shape=(64, 80), compression="zlib")
    corrupt_strip(tmp_path / "B01_w1.tif", -1)
    mended = 60000 - images["well=B01"] // 2
    tables = plate_tables(images=SKIP, store={"shard_bytes": 1024})

    def mend():
        for channel in range(2):
            path = tmp_path / f"B01_w{channel + 1}.tif"
            tifffile.imwrite(path, mended[0, channel, 0], rowsperstrip=16, compression="zlib")
        return {**images, "well=B01": mended}

    return tables, images, mend


def test_a_mended_file_is_cut_and_nothing_else(tmp_path, cut, late_fault, check_store, same_files):
    tables, images, mend = late_fault
    outcome = cut(tables)
    check_store(outcome.store, images, void=("well=B01",))
    inodes = {path: path.stat().st_ino for path in (outcome.store / "image").glob("c.*")}
    mended = mend()
    again = cut(tables)
    own = np.flatnonzero(again.plan.rows.columns["image"] == 1)
    assert again.failed == ()
    assert again.cut == len(own)  # one row per shard
    assert again.kept == again.plan.n_shards - len(own)
    changed = {path.name for path, inode in inodes.items() if path.stat().st_ino != inode}
    assert changed == {f"c.{row}.0.0.0" for row in own}
    check_store(again.store, mended)
    assert verify(again.store).damage == ()
    cut(tables, "clean.zarr")
    same_files(tmp_path / "clean.zarr", again.store)


def test_a_crash_between_a_fault_and_its_mending_leaves_no_old_pixels(
    tmp_path, cut, late_fault, check_store, same_files, monkeypatch
):
    tables, _, mend = late_fault
    crash_once_failed(monkeypatch, cut, tables)
    mended = mend()
    outcome = cut(tables)
    check_store(outcome.store, mended)
    cut(tables, "clean.zarr")
    same_files(tmp_path / "clean.zarr", outcome.store)


def test_a_crash_after_a_fault_and_no_mending(
    tmp_path, cut, late_fault, check_store, same_files, monkeypatch
):
    tables, images, _ = late_fault
    crash_once_failed(monkeypatch, cut, tables)
    outcome = cut(tables)
    check_store(outcome.store, images, void=("well=B01",))
    cut(tables, "clean.zarr")
    same_files(tmp_path / "clean.zarr", outcome.store)


def test_every_image_void(tmp_path, cut, plate, plate_tables):
    plate("AB", compression="zlib")
    for well in "AB":
        corrupt_strip(tmp_path / f"{well}01_w1.tif", 0)
    outcome = cut(plate_tables(images=SKIP))
    assert len(outcome.failed) == 2
    store = open_store(outcome.store)
    assert len(store) == 0
    assert store.attributes["statistics"]["train"]["1"]["count"] == 0
    assert verify(outcome.store).damage == ()


def test_a_file_that_changes_between_survey_and_cut(
    tmp_path, cut, zlib_plate, plate_tables, monkeypatch
):
    job = sys.modules[prepare.__module__]
    planned = job.plan

    def plan_and_change(*args, **kwargs):
        found = planned(*args, **kwargs)
        tifffile.imwrite(tmp_path / "D01_w1.tif", np.zeros((64, 80), np.uint16))
        return found

    monkeypatch.setattr(job, "plan", plan_and_change)
    with pytest.raises(PatchmillError, match=r"D01_w1\.tif: changed since the survey"):
        cut(plate_tables())


def test_a_file_that_goes_away_between_survey_and_cut(
    tmp_path, cut, zlib_plate, plate_tables, monkeypatch, check_store
):
    job = sys.modules[prepare.__module__]
    planned = job.plan

    def plan_and_remove(*args, **kwargs):
        found = planned(*args, **kwargs)
        (tmp_path / "D01_w1.tif").unlink()
        return found

    monkeypatch.setattr(job, "plan", plan_and_remove)
    outcome = cut(plate_tables(images=SKIP))
    ((name, reason),) = outcome.failed
    assert name == "well=D01"
    assert "the file is gone" in reason
    check_store(outcome.store, zlib_plate, void=("well=D01",))


# The same on the command line


def test_faults_on_the_command_line(tmp_path, command, zlib_plate, plate_tables, write_toml):
    truncate(tmp_path / "A01_w1.tif")
    corrupt_strip(tmp_path / "C01_w1.tif")
    write_toml(tmp_path / "raise.toml", plate_tables())
    text = command("prepare", "raise.toml", "-o", "r.zarr", "--workers", "1").finish(status=1)
    assert "A01_w1.tif" in text
    assert "Traceback" not in text
    write_toml(tmp_path / "skip.toml", plate_tables(images=SKIP))
    text = command("prepare", "skip.toml", "-o", "s.zarr", "--workers", "1").finish(status=1)
    assert "Traceback" not in text
    assert "s.zarr: complete" in text
    assert "failed: well=A01: " in text
    assert "failed: well=C01: " in text
    info = command("info", "s.zarr").finish()
    assert "failed    well=A01: " in info
    assert "void      20" in info
    described = json.loads(command("info", "s.zarr", "--json").finish())
    assert [each["image"] for each in described["failed"]] == ["well=C01", "well=A01"]
    assert "80 patches are what was written" in command("verify", "s.zarr").finish()


# The target


@pytest.fixture
def small_disk(tmp_path):
    """Return a folder on a file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a tmpfs can be mounted by root alone")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(
    tmp_path, plate, plate_tables, write_toml, small_disk, command, cut, same_files, check_store
):
    images = plate("ABCDEFGH", shape=(256, 256))
    tables = plate_tables(
        patches={"size": [64, 64]}, store={"codec": "none", "shard_bytes": "64 kB"}
    )
    write_toml(tmp_path / "r.toml", tables)
    run = ("prepare", "r.toml", "-o", small_disk / "s.zarr", "--workers", "2")
    text = command(*run).finish(status=1)
    assert "Traceback" not in text, text
    assert "No space left on device" in text
    assert "run the same command again" in text
    done = len(list((small_disk / "s.zarr/image").glob("c.*")))
    assert done > 2
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    text = command(*run).finish()
    assert " 0 were finished before" not in text
    check_store(small_disk / "s.zarr", images, (64, 64))
    cut(tables, "whole.zarr")
    same_files(tmp_path / "whole.zarr", small_disk / "s.zarr")


@pytest.fixture
def read_only_folder(tmp_path):
    """Return a folder that not even root may write to."""
    folder = tmp_path / "readonly"
    folder.mkdir()
    if os.geteuid() != 0:
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)
        return
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)]).returncode != 0:
        pytest.skip("root may write anywhere, and no tmpfs can be mounted")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_read_only_folder(
    tmp_path, zlib_plate, plate_tables, write_toml, read_only_folder, command
):
    write_toml(tmp_path / "r.toml", plate_tables())
    store = read_only_folder / "s.zarr"
    text = command("prepare", "r.toml", "-o", store, "--workers", "1").finish(status=1)
    assert "Traceback" not in text
    (error,) = [line for line in text.splitlines() if line.startswith("Error")]
    assert str(store) in error
    assert "give permission" in error


def test_what_the_message_advises_can_be_done(
    tmp_path, cut, zlib_plate, plate_tables, check_store, same_files
):
    """A run that "raise" stopped goes on with "skip"; its bytes are those of a clean run."""
    corrupt_strip(tmp_path / "F01_w1.tif")
    with pytest.raises(PatchmillError) as caught:
        cut(plate_tables())
    advises_skip = 'images.on_error = "skip"' in str(caught.value)
    begins_anew = "--overwrite" in str(caught.value)
    assert advises_skip
    outcome = cut(plate_tables(images=SKIP), overwrite=begins_anew)
    check_store(outcome.store, zlib_plate, void=("well=F01",))
    cut(plate_tables(images=SKIP), "clean.zarr")
    same_files(tmp_path / "clean.zarr", outcome.store)
