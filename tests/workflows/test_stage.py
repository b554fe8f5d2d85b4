"""`patchmill stage` of a prepared store: every byte of it is checked, columns and metadata too."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from patchmill.reader import DamagedStoreError, open_store
from patchmill.reader.root import read_root
from patchmill.reader.stage import stage
from patchmill.reader.stage_files import store_files
from patchmill.workflows import verify
from patchmill.workflows.cli import cli


@pytest.fixture
def store(cut, plate, plate_tables):
    plate("ABCDEF")
    return cut(plate_tables(split={"fractions": {"train": 0.5, "val": 0.5}})).store


def test_the_command(store, tmp_path, command, same_files):
    text = command("stage", "s.zarr", "here/t.zarr", "--split", "train").finish()
    assert "here/t.zarr: complete, " in text
    assert "Traceback" not in text
    part = tmp_path / "here/t.zarr"
    shards = (
        open_store(store).splits["train"][1] // open_store(store).fields["image"].rows_per_shard
    )
    assert len(list(part.glob("image/c.*"))) == shards
    assert verify(part).damage == ()
    assert verify(part).patches == open_store(store).splits["train"][1]
    text = command("stage", "s.zarr", "here/t.zarr", "--threads", "2", "--verify").finish()
    same_files(store, part)
    assert verify(part).damage == ()


def test_damage_of_what_is_staged_is_found(store, tmp_path):
    part = tmp_path / "part.zarr"
    stage(store, part, split="val")
    shard = sorted(part.glob("image/c.*"))[1]
    data = bytearray(shard.read_bytes())
    data[50] ^= 1
    shard.write_bytes(data)
    found = verify(part)
    assert len(found.damage) == 1
    assert shard.name in found.damage[0]
    (part / "notes").write_text("mine")
    assert f"{part}/notes: does not belong to the store" in verify(part).damage


@pytest.fixture
def annotated_store(tmp_path, annotated, cut):
    """A store with masks, label maps and statistics."""
    return cut(annotated(tmp_path, wells="ABCD")).store


def test_masks_and_statistics_are_staged_too(annotated_store, tmp_path, same_files):
    whole = open_store(annotated_store)
    part = tmp_path / "part.zarr"
    stage(annotated_store, part, split="val")
    names = {path.relative_to(part).as_posix() for path in part.rglob("c.*")}
    shards = {name.rsplit("/", 1)[0] for name in names}
    assert shards == {"image", "masks/cells", "masks/bright", "labels/nuclei"}
    assert len(names) < len(list(annotated_store.rglob("c.*")))
    found = verify(part)
    start, stop = whole.splits["val"]
    assert (found.damage, found.patches) == ((), stop - start)
    store = open_store(part).select(split="val")
    ours, theirs = (each.read(range(len(store))) for each in (store, whole.select(split="val")))
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])
    np.testing.assert_array_equal(
        open_store(part).percentiles([1, 99], "val"), whole.percentiles([1, 99], "val")
    )
    stage(annotated_store, part)
    same_files(annotated_store, part)


@pytest.mark.parametrize("field", ["masks/cells", "labels/nuclei", "statistics/count"])
def test_damage_of_masks_and_statistics_is_found_while_they_are_copied(
    annotated_store, tmp_path, field
):
    files = (p for p in (annotated_store / field).rglob("*") if p.is_file())
    path = min(p for p in files if p.name != "zarr.json")
    good = path.read_bytes()
    path.write_bytes(good[:30] + bytes([good[30] ^ 1]) + good[31:])
    with pytest.raises(DamagedStoreError, match=field):
        stage(annotated_store, tmp_path / "copy")
    path.write_bytes(good)
    stage(annotated_store, tmp_path / "copy")
    # And in the copy.
    staged = tmp_path / "copy" / path.relative_to(annotated_store)
    staged.write_bytes(good[:30] + bytes([good[30] ^ 1]) + good[31:])
    assert field in verify(tmp_path / "copy").damage[0]
    stage(annotated_store, tmp_path / "copy", verify=True)
    assert verify(tmp_path / "copy").damage == ()


def test_every_file_has_a_checksum_that_is_compared(store, tmp_path):
    root = read_root(store, allow_incomplete=False)
    files = store_files(root, tuple(root.splits))
    found = {p.relative_to(store).as_posix() for p in store.rglob("*") if p.is_file()}
    assert {file.name for file in files} == found - {"zarr.json"}
    assert all(file.rows_per_shard or file.has_checksum or file.sha256 for file in files)
    chosen = {file.name.split("/")[0]: file for file in files}  # one of each group
    chosen |= {"column": next(f for f in files if f.has_checksum and f.name.startswith("images"))}
    for number, file in enumerate(chosen.values()):
        path = store / file.name
        good = path.read_bytes()
        bad = bytearray(good)
        bad[len(bad) // 2] ^= 1
        path.write_bytes(bad)
        with pytest.raises(DamagedStoreError, match=file.name.rsplit("/", 1)[-1]):
            stage(store, tmp_path / f"copy-{number}")
        path.write_bytes(good)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["absent.zarr", "d"], "is not a folder"),
        (["s.zarr", "s.zarr/d"], "one lies in the other"),
        (["s.zarr", "d", "--split", "tain"], "is not among 'train', 'val'"),
        (["s.zarr", "d", "--threads", "0"], "--threads"),
    ],
)
def test_errors_are_one_message(store, tmp_path, monkeypatch, arguments, expected):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["stage", *arguments])
    assert done.exit_code in (1, 2)
    assert expected in done.output
    assert done.output.count("Error: ") == 1
    assert not (tmp_path / "d").exists()
