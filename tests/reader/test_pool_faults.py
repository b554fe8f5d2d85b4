"""Workers are killed, and the results come, each once."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import threading
import warnings
from collections import Counter
from pathlib import Path

import psutil
import pytest

from patchmill.reader import MemoryLimitError, WorkerError, WorkerPool

pytestmark = pytest.mark.filterwarnings("ignore:worker process .* was killed:RuntimeWarning")


@pytest.fixture
def work(monkeypatch):
    """What the workers run; in a folder that they look in too."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return importlib.import_module("pool_work")


def collected(results):
    """Return results, and the errors in their places."""
    found = []
    while True:
        try:
            found.append(next(results))
        except StopIteration:
            return found
        except WorkerError as error:
            found.append(str(error))


@pytest.mark.parametrize("way", ["imap", "imap_unordered"])
@pytest.mark.parametrize("chunksize", [1, 16])
def test_workers_killed_at_random_lose_and_repeat_nothing(work, nothing_left, way, chunksize):
    with WorkerPool(3, "process") as pool:
        seen = Counter()
        results = getattr(pool, way)(work.square_here, range(4000), chunksize)
        for number, (result, pid) in enumerate(results):
            seen[result] += 1
            if way == "imap":
                assert result == number**2
            if number % 500 == 250:  # one that could work: else three in a row may not
                with contextlib.suppress(ProcessLookupError):  # killed last time already
                    os.kill(pid, signal.SIGKILL)
        assert pool.map(work.square, range(20)) == [number**2 for number in range(20)]
    assert seen == Counter(number**2 for number in range(4000))


def test_idle_workers_that_are_killed_are_replaced(work, workers, nothing_left):
    with WorkerPool(2, "process") as pool:
        for _ in range(2):
            assert pool.map(work.square, range(20)) == [number**2 for number in range(20)]
            for worker in workers():
                os.kill(worker.pid, signal.SIGKILL)


@pytest.mark.parametrize("way", ["imap", "imap_unordered"])
@pytest.mark.parametrize("chunksize", [1, 5, 50])
def test_an_item_that_kills_every_worker_is_one_error_that_names_it(
    work, nothing_left, way, chunksize
):
    with WorkerPool(2, "process") as pool:
        found = collected(getattr(pool, way)(work.killed_by_seven, range(30), chunksize))
        (error,) = [each for each in found if isinstance(each, str)]
        assert error.startswith("3 worker processes died on item 7, 7; the last worker process ")
        assert error.endswith("was killed by SIGKILL")
        if way == "imap":
            assert found.index(error) == 7
        found.remove(error)
        assert sorted(found) == [*range(7), *range(8, 30)]
        with pytest.raises(WorkerError, match="died on item 7, 7"):
            pool.map(work.killed_by_seven, range(30), chunksize)


def test_a_death_is_warned_of_and_no_result_is_lost_where_warnings_are_errors(work, nothing_left):
    with warnings.catch_warnings(), WorkerPool(1, "process") as pool:
        warnings.simplefilter("error")
        results = pool.imap(work.killed_by_seven, range(12), 4)
        found = []
        while len(found) < 16:
            try:
                found.append(next(results))
            except (RuntimeWarning, WorkerError) as said:
                found.append(type(said))
        assert found.count(RuntimeWarning) == 4  # one for the chunk, three for the item
        assert [each for each in found if each is not RuntimeWarning] == [
            *range(7),
            WorkerError,
            *range(8, 12),
        ]
        assert [*results] == []


@pytest.mark.timeout(100)
def test_workers_that_cannot_start_are_an_error_for_all(work, monkeypatch, nothing_left):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    pool = WorkerPool(2, "process")
    with pytest.raises(WorkerError, match="before it could work, 3 times in a row"):
        pool.map(work.square, range(5))
    with pytest.raises(WorkerError, match=r"workers are gone: .* before it could work"):
        pool.map(work.square, range(5))
    pool.terminate()
    del pool


def test_a_program_that_cannot_be_started_is_an_error(monkeypatch, nothing_left):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(FileNotFoundError):
        WorkerPool(2, "process")


@pytest.mark.parametrize("chunksize", [1, 3])
def test_an_item_too_large_to_send_is_that_items_error(work, monkeypatch, nothing_left, chunksize):
    def check(nbytes, purpose):
        if nbytes > 10_000:
            raise MemoryLimitError(f"{purpose} needs {nbytes} bytes")

    with WorkerPool(2, "process", max_tasks_per_worker=2) as pool:
        assert pool.map(work.same, [0]) == [0]  # which also starts them with the true check
        monkeypatch.setattr("patchmill.reader.segments.check_memory", check)
        results = pool.imap(work.same, [b"a", bytes(3000), bytes(20_000), b"d"], chunksize)
        assert [len(next(results)) for _ in range(2)] == [1, 3000]
        with pytest.raises(MemoryLimitError, match="needs 20480 bytes") as caught:
            next(results)
        assert caught.value.__notes__[0].startswith("in item 2, b'")
        assert len(next(results)) == 1
        del caught, results


def test_terminating_ends_whoever_waits(work, workers, nothing_left):
    pool = WorkerPool(2, "process")
    later = pool.map_async(work.forever, range(100))
    failed = []

    def use(pool):
        try:
            pool.map(work.forever, range(4))
        except WorkerError as error:
            failed.append(str(error))

    thread = threading.Thread(target=use, args=(pool,))
    thread.start()
    pids = [worker.pid for worker in workers()]
    assert len(pids) == 2
    pool.terminate()
    assert not any(psutil.pid_exists(pid) for pid in pids)
    thread.join(60)
    assert failed == ["the pool was closed; make another"]
    with pytest.raises(WorkerError, match="the pool was closed"):
        later.get(60)
    with pytest.raises(WorkerError, match="the pool was closed"):
        pool.map(work.square, [1])
    pool.join()
    del later, pool
