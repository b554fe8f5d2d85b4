"""A store travels to another process as its path and options, and is opened again there."""

import gc
import multiprocessing
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from patchmill.reader import StoreError, open_store


def descriptors():
    return sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208


def read(view, rows):
    return view.read(rows)["image"]


def test_a_view_is_small_and_reads_the_same(plain):
    view = open_store(plain.path).select(split=["train", "val"])
    view.read([0])  # with shards open
    data = pickle.dumps(view)
    assert len(data) < 1000
    again = pickle.loads(data)
    assert again.rows == view.rows
    assert (again.splits, len(again)) == (("train", "val"), 27)
    np.testing.assert_array_equal(read(again, range(27)), plain.pixels[:27])


def test_options_travel(make_store):
    written = make_store(complete=False)
    store = pickle.loads(pickle.dumps(open_store(written.path, allow_incomplete=True)))
    assert not store.is_complete
    file = written.shard(0)
    data = bytearray(file.read_bytes())
    data[30] ^= 1
    file.write_bytes(data)
    unverified = open_store(written.path, allow_incomplete=True, verify=False)
    for _ in range(2):
        assert unverified.read([0])["image"].shape == (1, 2, 12, 10)
        unverified = pickle.loads(pickle.dumps(unverified))


def test_a_relative_path_travels(plain, monkeypatch, tmp_path):
    monkeypatch.chdir(plain.path.parent)
    data = pickle.dumps(open_store("train.zarr"))
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(pickle.loads(data)[3]["image"], plain.pixels[3])


def test_rows_apart_and_void_rows_travel(make_store):
    written = make_store(void=[3, 30], splits={"train": 20, "val": 5, "test": 12})
    view = open_store(written.path).select(split=["train", "test"])
    again = pickle.loads(pickle.dumps(view))
    np.testing.assert_array_equal(again.rows, view.rows)
    np.testing.assert_array_equal(
        read(again, range(len(again))), written.pixels[np.asarray(view.rows)]
    )


@pytest.mark.parametrize("change", [{"plan": "1" * 64}, {"void": 1}])
def test_another_store_at_the_same_place_is_refused(make_store, change):
    written = make_store()
    data = pickle.dumps(open_store(written.path))
    if "void" in change:
        written = make_store(void=[4])
    else:
        written.edit(lambda own: own.update(change))
    with pytest.raises(StoreError, match="it was made again in between: open it anew"):
        pickle.loads(data)


def test_nothing_is_open_until_it_is_read(plain):
    gc.collect()
    before = descriptors()
    store = pickle.loads(pickle.dumps(open_store(plain.path)))
    assert descriptors() == before
    store.read([0])


def _send(view, rows, connection):
    connection.send(read(view, rows))
    connection.close()


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_another_process_reads_the_same(plain, method):
    view = open_store(plain.path).select(split="test")
    view.read(range(5))  # with shards open
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(view, list(range(10)), theirs))
    process.start()
    theirs.close()
    assert ours.poll(60)
    np.testing.assert_array_equal(ours.recv(), plain.pixels[27:37])
    process.join(60)
    assert process.exitcode == 0
    np.testing.assert_array_equal(read(view, range(10)), plain.pixels[27:37])


def test_a_view_with_void_rows_travels_without_zarr(make_store, tmp_path):
    """Which takes half a second to import, in each worker process."""
    written = make_store(void=[3, 30])
    (tmp_path / "view").write_bytes(pickle.dumps(open_store(written.path).select(split="train")))
    script = (
        "import pickle, sys\n"
        "view = pickle.load(open('view', 'rb'))\n"
        "print(view.read([3])['index'][0], 'zarr' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "4 False\n"
