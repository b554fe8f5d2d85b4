"""Epochs that several processes agree on, whoever comes first and whoever dies."""

import fcntl
import gc
import multiprocessing
import os
import pickle
import signal

import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install 'patchmill[torch]'")

from patchmill.reader.torch_epochs import MOST_ITERATIONS, SharedEpochs

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def test_members_of_an_iteration_get_the_same():
    epochs = SharedEpochs(4)
    assert [epochs.take((1,), member) for member in (1, 0, 2)] == [4, 4, 4]
    assert [epochs.take((2,), member) for member in (0, 1)] == [5, 5]
    assert epochs.next_epoch == 6
    assert epochs.take((1,), 3) == 4  # late
    epochs.set_next(0)
    assert epochs.take((2,), 2) == 5  # has begun before
    assert epochs.take((3,), 0) == 0
    assert epochs.next_epoch == 1


def test_a_member_that_comes_again_begins_another():
    epochs = SharedEpochs()
    assert [epochs.take((7,), member) for member in (0, 1, 1, 0, 0, 1)] == [0, 0, 1, 1, 2, 2]


def test_the_notes_stay_small():
    epochs = SharedEpochs()
    for key in range(3 * MOST_ITERATIONS):
        assert epochs.take((2**63 - key, key), 0) == key
    assert epochs.take((2**63 - key, key), 1) == key
    assert os.fstat(epochs._file).st_size < 100 * MOST_ITERATIONS
    epochs.set_next(3)  # shorter than what was there
    assert epochs.next_epoch == 3


def _take(epochs, member, barrier, results):
    barrier.wait(60)
    results.put([epochs.take((number,), member) for number in range(60)])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_agree(method):
    context = multiprocessing.get_context(method)
    epochs = SharedEpochs(10)
    barrier, results = context.Barrier(3), context.Queue()
    workers = [
        context.Process(target=_take, args=(epochs, member, barrier, results))
        for member in range(3)
    ]
    for worker in workers:
        worker.start()
    taken = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(60)
    assert taken[0] == taken[1] == taken[2]
    assert sorted(taken[0]) == list(range(10, 70))
    assert epochs.next_epoch == 70


def test_a_process_that_dies_with_the_lock_blocks_nobody():
    epochs = SharedEpochs()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        fcntl.lockf(epochs._file, fcntl.LOCK_EX)
        os.write(writing, b".")
        signal.pause()
        os._exit(1)
    assert os.read(reading, 1) == b"."
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert epochs.take() == 0
    os.close(reading)
    os.close(writing)


def test_pickled_by_itself_it_counts_on_its_own():
    epochs = SharedEpochs(2)
    again = pickle.loads(pickle.dumps(epochs))
    assert (epochs.take(), epochs.take(), again.take()) == (2, 3, 2)


@pytest.mark.parametrize("has_memfd", [True, False])
def test_nothing_is_left(monkeypatch, tmp_path, has_memfd):
    if not has_memfd:  # as on macOS
        monkeypatch.delattr(os, "memfd_create", raising=False)
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    gc.collect()
    before = sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208
    epochs = SharedEpochs()
    assert (epochs.take(), epochs.take()) == (0, 1)
    assert list(tmp_path.iterdir()) == []
    del epochs
    assert sorted(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
