"""The cache of shards: each downloaded once, checked, never old, never half, within a limit."""

import os
import re
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from patchmill.reader import (
    DamagedStoreError,
    PatchmillError,
    RemoteStoreError,
    StoreError,
    open_store,
)
from patchmill.reader.format import index_nbytes

GB = 1 << 30


@pytest.fixture
def served(make_store, consolidate, server):
    """Return a function that makes a store, and gives it and its URL on an HTTP server."""

    def make(**options):
        written = make_store(**options)
        consolidate(written.path)
        return written, f"{server.url}/train.zarr"

    return make


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def kept(cache):
    """Return the sizes of what is in a cache, which is nothing but whole shards and a lock."""
    names = {path.name for path in cache.iterdir()} - {"room.lock"}
    assert all(re.fullmatch(r"[0-9a-f]{32}\.shard", name) for name in names)
    return sorted((cache / name).stat().st_size for name in names)


def sizes(written, *numbers):
    return sorted(written.shard(number).stat().st_size for number in numbers)


@pytest.mark.parametrize("codec", ["lz4", "none"])
@pytest.mark.parametrize("io", [None, "map", "pread"])
def test_a_shard_is_downloaded_once(served, server, cache, codec, io):
    written, url = served(codec=codec)
    store = open_store(url, cache=cache, cache_bytes=GB, io=io)
    assert store.io == "cache"
    assert not cache.exists()
    server.requests.clear()
    np.testing.assert_array_equal(store.read([9, 1])["image"], written.pixels[[9, 1]])
    # Its size, its index, its bytes.
    assert len(server.requests) == 6
    assert kept(cache) == sizes(written, 0, 1)
    server.requests.clear()
    np.testing.assert_array_equal(store.read(range(16))["image"], written.pixels[:16])
    assert server.requests == []
    other = open_store(url, cache=cache, cache_bytes=GB)  # as another process would
    np.testing.assert_array_equal(other.read([3, 12])["image"], written.pixels[[3, 12]])
    assert server.asked("/c.") == []


def test_a_shard_larger_than_a_request(served, server, cache, monkeypatch):
    monkeypatch.setattr("patchmill.reader.remote.REQUEST_BYTES", 1000)
    written, url = served()
    size = written.shard(0).stat().st_size
    store = open_store(url, cache=cache, cache_bytes=GB)
    np.testing.assert_array_equal(store[3]["image"], written.pixels[3])
    assert len(server.asked("/c.")) == 2 + -(-size // 1000)
    assert kept(cache) == [size]


@pytest.mark.parametrize("backend", ["thread", "process"])
def test_loaders(served, server, cache, backend):
    written, url = served()
    store = open_store(url, cache=cache, cache_bytes=GB)
    options = {"shuffle": True, "seed": 1, "num_workers": 2, "backend": backend}
    local = open_store(written.path).loader(5, **options)
    for _ in range(2):
        for ours, theirs in zip(store.loader(5, **options), local, strict=True):
            np.testing.assert_array_equal(ours["image"], theirs["image"])
        local.set_epoch(0)
    assert kept(cache) == sizes(written, *range(5))
    suffixes = [asked for asked in server.asked("/c.") if asked == f"bytes=-{index_nbytes(8)}"]
    assert len(suffixes) == 5  # each was downloaded by one of them, whoever it was


def test_the_limit_holds_and_the_least_recently_used_go(served, server, cache):
    written, url = served(codec="none")
    limit = sum(sizes(written, 0, 1, 2)) + 10
    store = open_store(url, cache=cache, cache_bytes=limit)
    for row in (0, 8, 16, 0, 24):  # of shards 0, 1, 2, 0 and 3
        np.testing.assert_array_equal(store[row]["image"], written.pixels[row])
        assert sum(kept(cache)) <= limit
    server.requests.clear()
    store.read([0, 16, 24])
    assert server.requests == []
    store[8]
    assert server.asked("c.1.0.0.0") == server.asked("")
    rows = np.random.default_rng(1).permutation(37)
    np.testing.assert_array_equal(store.read(rows)["image"], written.pixels[rows])
    assert sum(kept(cache)) <= limit


def test_what_others_delete_stays_readable(served, server, cache):
    written, url = served()
    store = open_store(url, cache=cache, cache_bytes=GB)
    store.read([0, 8])
    file, other = sorted(cache.glob("*.shard"))
    with file.open("rb") as stream:
        whole = stream.read()
        file.unlink()
        other.unlink()
        server.requests.clear()
        np.testing.assert_array_equal(store.read([0, 8])["image"], written.pixels[[0, 8]])
        assert len(server.requests) == 6  # so that the limit holds for what is on the disk
        assert file.read_bytes() == whole
    assert len(kept(cache)) == 2


def test_a_limit_below_a_shard(served, cache):
    _, url = served()
    store = open_store(url, cache=cache, cache_bytes=100)
    with pytest.raises(PatchmillError, match=r"c.0.0.0.0 has \d+ bytes and cache_bytes is 100"):
        store[0]


def test_a_store_made_again_gives_no_old_bytes(served, cache):
    written, url = served()
    store = open_store(url, cache=cache, cache_bytes=GB)
    np.testing.assert_array_equal(store[3]["image"], written.pixels[3])
    again, _ = served(seed=8, plan="1" * 64)
    store = open_store(url, cache=cache, cache_bytes=GB)
    np.testing.assert_array_equal(store[3]["image"], again.pixels[3])
    assert (written.pixels[3] != again.pixels[3]).any()
    assert len(kept(cache)) == 2


def flip(file, position):
    data = bytearray(file.read_bytes())
    data[position] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("position", [40, -1, None])
def test_a_damaged_shard_is_not_kept(served, cache, position):
    """The error is that of the store itself, and other patches can be read."""
    written, url = served()
    if position is None:
        written.shard(0).unlink()
    else:
        flip(written.shard(0), position)
    store = open_store(url, cache=cache, cache_bytes=GB)
    for _ in range(2):
        with pytest.raises(DamagedStoreError) as remote:
            store[0]
        with pytest.raises(DamagedStoreError) as local:
            open_store(written.path)[0]
        assert str(remote.value) == str(local.value).replace(str(written.path), url)
    if position == 40:
        np.testing.assert_array_equal(store.read([5, 9])["image"], written.pixels[[5, 9]])
    np.testing.assert_array_equal(store[10]["image"], written.pixels[10])
    assert kept(cache) == sizes(written, 1)


@pytest.mark.parametrize("change", [lambda file: flip(file, 40), lambda file: os.truncate(file, 9)])
def test_what_a_disk_has_changed_is_downloaded_again(served, server, cache, change):
    written, url = served()
    open_store(url, cache=cache, cache_bytes=GB)[3]
    (file,) = cache.glob("*.shard")
    whole = file.read_bytes()
    change(file)
    store = open_store(url, cache=cache, cache_bytes=GB)
    np.testing.assert_array_equal(store[0]["image"], written.pixels[0])
    np.testing.assert_array_equal(store[0]["image"], written.pixels[0])
    assert file.read_bytes() == whole
    server.requests.clear()
    store[0]
    assert server.requests == []


def test_a_server_that_fails_is_not_held_against_the_shard(served, server, cache):
    written, url = served()
    options = {"retry_config": {"max_retries": 0}}
    store = open_store(url, cache=cache, cache_bytes=GB, storage_options=options)
    path = "/train.zarr/image/c.0.0.0.0"
    for fault in ([500], [0, 500], [0, 0, 500]):  # at its size, its index, its bytes
        server.faults[path] = fault
        with pytest.raises(RemoteStoreError, match=rf"{path} cannot be read"):
            store[0]
        assert kept(cache) == []
    del server.faults[path]
    np.testing.assert_array_equal(store[0]["image"], written.pixels[0])
    assert kept(cache) == sizes(written, 0)


READ_ALL = """
import sys
import numpy as np
from patchmill.reader import open_store

store = open_store(sys.argv[1], cache=sys.argv[2], cache_bytes=int(sys.argv[3]))
rows = np.random.default_rng(int(sys.argv[4])).permutation(37)
for part in np.array_split(rows, 5):
    block = store.read(part)["image"]
    assert (block == np.load(sys.argv[5])[part]).all()
print("read", flush=True)
"""


def reader_process(url, cache, limit, seed, pixels):
    command = [sys.executable, "-c", READ_ALL, url, str(cache), str(limit), str(seed), str(pixels)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("shards", [99, 2])
def test_several_processes_on_one_cache(served, server, cache, tmp_path, shards):
    """With room for all, each shard is downloaded once; with little, they only stay right."""
    written, url = served()
    np.save(tmp_path / "pixels.npy", written.pixels)
    limit = shards * max(sizes(written, *range(5)))
    processes = [
        reader_process(url, cache, limit, seed, tmp_path / "pixels.npy") for seed in range(3)
    ]
    for process in processes:
        assert process.communicate(timeout=60) == ("read\n", "")
    assert sum(kept(cache)) <= limit
    if shards == 99:
        assert kept(cache) == sizes(written, *range(5))
        assert len(server.asked("/c.")) == 5 * 3


def test_a_killed_downloader_leaves_nothing_that_counts(
    served, server, cache, tmp_path, monkeypatch
):
    written, url = served()
    np.save(tmp_path / "pixels.npy", written.pixels)
    arrived, answer = threading.Event(), threading.Event()
    path = "/train.zarr/image/c.1.0.0.0"

    def stall():
        if len(server.asked("c.1.0.0.0")) == 3:  # the bytes themselves
            arrived.set()
            answer.wait(60)

    server.faults[path] = stall
    process = reader_process(url, cache, GB, 0, tmp_path / "pixels.npy")
    try:
        assert arrived.wait(60)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    finally:
        answer.set()
    del server.faults[path]
    (part,) = cache.glob("*.part")
    assert not part.with_suffix(".shard").exists()
    store = open_store(url, cache=cache, cache_bytes=GB)
    np.testing.assert_array_equal(store[2]["image"], written.pixels[2])
    np.testing.assert_array_equal(store[9]["image"], written.pixels[9])
    assert set(sizes(written, 0, 1)) <= set(kept(cache))


def test_what_a_killed_one_left_goes_with_any_download(served, cache):
    """Also where nobody ever asks for that shard again."""
    _, url = served()
    cache.mkdir()
    for name in ("a.part", "a.lock", "b.part"):
        (cache / name).write_bytes(b"?" * 100)
    open_store(url, cache=cache, cache_bytes=GB)[0]
    assert len(kept(cache)) == 1


def test_a_cache_that_cannot_be_written(served, tmp_path):
    _, url = served()
    (tmp_path / "file").write_text("")
    store = open_store(url, cache=tmp_path / "file/cache", cache_bytes=GB)
    with pytest.raises(PatchmillError, match=r"the cache .*file/cache cannot be written"):
        store[0]


def test_a_full_disk(served, cache, monkeypatch):
    _, url = served()
    store = open_store(url, cache=cache, cache_bytes=GB)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(PatchmillError, match=r"cannot be written \(No space left.*; give it room"):
        store[0]
    assert kept(cache) == []


@pytest.mark.parametrize(
    "given", [{"cache": "x"}, {"cache_bytes": 5}, {"cache": "x", "cache_bytes": 0}]
)
def test_a_cache_needs_a_limit(served, given):
    _, url = served()
    with pytest.raises(ValueError, match="give both: a folder of this machine, and how many bytes"):
        open_store(url, **given)


def test_an_unfinished_store_is_not_cached(served, cache):
    _, url = served(complete=False)
    with pytest.raises(StoreError, match="shards of finished stores alone"):
        open_store(url, allow_incomplete=True, cache=cache, cache_bytes=GB)
