"""Nothing is left behind and nothing that somebody holds is overwritten."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from patchmill.reader import DamagedStoreError, open_store
from patchmill.reader.buffers import BufferPool
from patchmill.reader.prefetch import prefetched


def test_break_leaves_no_thread(plain, reader_threads):
    loader = open_store(plain.path).loader(2, num_workers=3, prefetch=4)
    for _ in loader:
        assert reader_threads()
        break
    assert reader_threads() == []


def test_the_end_leaves_no_thread(plain, reader_threads):
    assert sum(1 for _ in open_store(plain.path).loader(2, num_workers=3)) == 19
    assert reader_threads() == []


def test_an_exception_in_the_loop_leaves_no_thread(plain, reader_threads):
    loader = open_store(plain.path).loader(2, num_workers=2)

    def train():
        for _ in loader:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train()
    assert reader_threads() == []


def test_closing_and_forgetting_leave_no_thread(plain, reader_threads):
    loader = open_store(plain.path).loader(2, num_workers=2)
    batches = iter(loader)
    next(batches)
    batches.close()
    assert reader_threads() == []
    batches = iter(loader)
    next(batches)
    assert reader_threads()
    del batches
    assert reader_threads() == []


def test_a_cycle_is_collected_with_its_threads(plain, reader_threads):
    batches = iter(open_store(plain.path).loader(2, num_workers=2))
    next(batches)
    cycle = [batches]
    cycle.append(cycle)
    del batches, cycle
    gc.collect()
    assert reader_threads() == []


def test_collection_on_one_of_its_own_threads_does_not_hang(reader_threads):
    """The garbage collector may run on any thread, thus on one that the loader would join."""
    dropped = threading.Event()
    holder = []

    def work(job):
        if job == 1:
            assert dropped.wait(10)
            holder.clear()  # the last reference: closes the generator on this thread
        return job

    results = prefetched(work, iter(range(9)), num_workers=1, prefetch=lambda: 2)
    assert next(results) == 0
    holder.append(results)
    del results
    dropped.set()
    deadline = time.monotonic() + 10
    while reader_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert holder == []
    assert reader_threads() == []


def test_filling_starts_with_the_iterator_and_ends_with_it(plain, reader_threads):
    batches = iter(open_store(plain.path).loader(2))
    assert reader_threads()
    del batches
    assert reader_threads() == []


def test_an_error_in_a_thread_reaches_the_consumer_in_its_turn(make_store, reader_threads):
    written = make_store()
    written.shard(2).unlink()
    batches = iter(open_store(written.path).loader(4, num_workers=2, prefetch=4))
    seen = [row for _ in range(4) for row in next(batches)["index"].tolist()]
    with pytest.raises(DamagedStoreError, match=r"c\.2\.0\.0\.0, patch 16: the file is missing"):
        next(batches)
    assert seen == list(range(16))
    assert reader_threads() == []


def test_at_most_prefetch_are_ahead():
    begun = []

    def jobs():
        for job in range(20):
            begun.append(job)
            yield job

    for result in prefetched(lambda job: job, jobs(), num_workers=2, prefetch=lambda: 3):
        assert len(begun) == min(result + 1 + 3, 20)


def test_ctrl_c_ends_at_once(plain, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        "import sys\n"
        "from patchmill.reader import open_store\n"
        "loader = open_store(sys.argv[1]).loader(2, num_workers=2)\n"
        "while True:\n"
        "    for batch in loader:\n"
        "        print('.', flush=True)\n"
    )
    with subprocess.Popen(
        [sys.executable, str(script), str(plain.path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout.read(2) == b".\n"
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode != 0
    assert errors.rstrip().endswith(b"KeyboardInterrupt")
    assert b"Exception ignored" not in errors


@pytest.mark.parametrize("num_workers", [0, 2])
def test_held_batches_are_never_overwritten(plain, num_workers):
    loader = open_store(plain.path).loader(2, shuffle=True, num_workers=num_workers, prefetch=2)
    with pytest.warns(RuntimeWarning, match="fresh memory") as warned:
        kept = list(loader) + list(loader)
    assert len(warned) == 1
    assert loader.stats().extra_batches == len(kept) - 4  # prefetch and two
    for batch in kept:
        good = batch["valid"]
        np.testing.assert_array_equal(batch["image"][good], plain.pixels[batch["index"][good]])
    assert len({batch["image"].ctypes.data for batch in kept}) == len(kept)


@pytest.mark.parametrize("hold", [lambda a: a[1:, 0], memoryview, lambda a: a.reshape(-1)[3:][::2]])
def test_whatever_is_made_on_a_batch_holds_it(plain, hold):
    loader = open_store(plain.path).loader(2, prefetch=1)
    kept, expected = [], []

    def train():
        for batch in loader:
            kept.append(hold(batch["image"]))
            expected.append(np.array(kept[-1]))

    with pytest.warns(RuntimeWarning, match="fresh memory"):
        train()
    for one, two in zip(kept, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(one), two)


@pytest.mark.parametrize(("num_workers", "prefetch"), [(0, 1), (1, 2), (2, 3)])
def test_memory_is_used_again(plain, num_workers, prefetch):
    loader = open_store(plain.path).loader(2, num_workers=num_workers, prefetch=prefetch)
    places = {batch["image"].ctypes.data for _ in range(3) for batch in loader}
    assert len(places) <= prefetch + 2


def test_the_pool_takes_fresh_memory_where_all_is_held():
    pool = BufferPool(limit=2)
    held = [pool.take(3) for _ in range(5)]
    assert len({id(array) for array in held}) == 5
    assert (len(pool), pool.extra) == (2, 3)
    first = held[0].ctypes.data
    view = held[0].view()[1:]
    del held[0]
    assert pool.take(3).ctypes.data != first
    del view
    assert pool.take(3).ctypes.data == first


def test_the_pool_changes_with_the_size_of_batches():
    pool = BufferPool(limit=2)
    for nbytes in (3, 3, 700, 3, 700):
        assert len(pool.take(nbytes)) == nbytes
    assert len(pool) == 2
    assert pool.extra == 0
