"""Few shards are kept open, whatever the store's size, and from any number of threads."""

import gc
import os
import resource
import threading
from pathlib import Path

import numpy as np
import pytest

from patchmill.reader import open_store
from patchmill.reader.shards import ShardMaps, most_open_maps


def descriptors():
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def test_the_least_recently_used_is_dropped(make_store):
    written = make_store(rows=24)
    maps = ShardMaps(limit=2)
    files = [str(written.shard(number)) for number in range(3)]
    zero = maps.get(files[0], 8)
    one = maps.get(files[1], 8)
    assert maps.get(files[0], 8) is zero
    maps.get(files[2], 8)
    assert len(maps) == 2
    assert maps.get(files[0], 8) is zero
    assert maps.get(files[1], 8) is not one
    assert one.data[0] == written.shard(1).read_bytes()[0]  # still mapped for who holds it


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_descriptors_are_bounded_and_given_back(make_store, monkeypatch):
    monkeypatch.setattr("patchmill.reader.store.most_open_maps", lambda: 3)
    written = make_store(rows=40, rows_per_shard=1)
    gc.collect()
    before = descriptors()
    store = open_store(written.path)
    np.testing.assert_array_equal(store.read(range(40))["image"], written.pixels)
    assert descriptors() <= before + 3
    del store
    assert descriptors() == before


def test_the_bound_follows_the_limit_of_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        assert most_open_maps() in (128, 8192)  # the latter from Python 3.13 on
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_out_of_descriptors_it_makes_do_with_few(make_store, monkeypatch):
    monkeypatch.setattr("patchmill.reader.store.most_open_maps", lambda: 1000)
    written = make_store(rows=40, rows_per_shard=1)
    store = open_store(written.path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = descriptors()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 12, hard))
        block = store.read(range(40))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    np.testing.assert_array_equal(block["image"], written.pixels)


def test_many_threads_read_one_store(make_store, monkeypatch):
    monkeypatch.setattr("patchmill.reader.store.most_open_maps", lambda: 2)
    written = make_store(rows=60, rows_per_shard=4, shape=(1, 4, 4))
    store = open_store(written.path)
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
