"""Few shards are kept open, whatever the store's size, and from any number of threads."""

import gc
import os
import resource
import threading
from pathlib import Path

import numpy as np
import pytest

from patchmill.reader import open_store
from patchmill.reader.mapped import map_shard, most_open_maps
from patchmill.reader.pread import most_open_files, open_file
from patchmill.reader.shards import OpenShards, Scratch

OPENERS = {"map": map_shard, "pread": open_file}
pytestmark = pytest.mark.parametrize("io", ["map", "pread"])


@pytest.fixture
def limit(monkeypatch, io):
    """Return a function that bounds the shards that a store keeps open."""
    name = {"map": "most_open_maps", "pread": "most_open_files"}[io]
    return lambda most: monkeypatch.setattr(f"patchmill.reader.ways.{name}", lambda: most)


def descriptors():
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def test_the_least_recently_used_is_dropped(make_store, io):
    written = make_store(rows=24)
    shards = OpenShards(OPENERS[io], limit=2)
    files = [str(written.shard(number)) for number in range(3)]
    zero = shards.get(files[0], 8)
    one = shards.get(files[1], 8)
    assert shards.get(files[0], 8) is zero
    shards.get(files[2], 8)
    assert len(shards) == 2
    assert shards.get(files[0], 8) is zero
    assert shards.get(files[1], 8) is not one
    memory, offset, _ = one.fetch(0, 20, Scratch())  # still open for who holds it
    assert bytes(memory[offset : offset + 20]) == written.shard(1).read_bytes()[:20]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_descriptors_are_bounded_and_given_back(make_store, limit, io):
    limit(3)
    written = make_store(rows=40, rows_per_shard=1)
    gc.collect()
    before = descriptors()
    store = open_store(written.path, io=io)
    np.testing.assert_array_equal(store.read(range(40))["image"], written.pixels)
    assert before < descriptors() <= before + 3 or io == "map"
    assert descriptors() <= before + 3
    del store
    assert descriptors() == before


def test_the_bound_follows_the_limit_of_descriptors(io):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        most = most_open_maps() if io == "map" else most_open_files()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert most == 128 or (io == "map" and most == 8192)  # the latter from Python 3.13 on


def test_out_of_descriptors_it_makes_do_with_few(make_store, limit, io):
    limit(1000)
    written = make_store(rows=40, rows_per_shard=1)
    store = open_store(written.path, io=io)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = descriptors()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 12, hard))
        block = store.read(range(40))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    np.testing.assert_array_equal(block["image"], written.pixels)


@pytest.mark.parametrize("codec", ["lz4", "none"])
def test_many_threads_read_one_store(make_store, limit, io, codec):
    limit(2)
    written = make_store(rows=60, rows_per_shard=4, shape=(1, 4, 4), codec=codec)
    store = open_store(written.path, io=io)
    wrong = []

    def read(seed):
        rng = np.random.default_rng(seed)
        for _ in range(60):
            rows = rng.integers(0, 60, 9)
            if not np.array_equal(store.read(rows)["image"], written.pixels[rows]):
                wrong.append(seed)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_nobody_waits_for_a_thread_that_holds_the_lock(make_store, io):
    """The garbage collector may run in whoever holds it, and join threads that want it."""
    written = make_store(rows=24)
    shards = OpenShards(OPENERS[io], limit=2)
    with shards._lock:
        assert shards.get(str(written.shard(0)), 8).index_start > 0
        assert len(shards) == 0
    shards.get(str(written.shard(0)), 8)
    assert len(shards) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_in_the_midst_of_it_leaves_the_child_a_free_lock(make_store, io):
    written = make_store(rows=24)
    shards = OpenShards(OPENERS[io], limit=2)
    shards.get(str(written.shard(0)), 8)
    with shards._lock:
        child = os.fork()
        if child == 0:
            shards.get(str(written.shard(1)), 8)
            os._exit(len(shards))  # 1: the child began anew, and could note what it opened
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 1
    assert len(shards) == 1
