"""A pool leaves no thread, process, descriptor or shared memory, however it ends."""

from __future__ import annotations

import gc
import importlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from patchmill.reader import WorkerError, WorkerPool

BACKENDS = ["thread", "process"]
HERE = Path(__file__).parent


@pytest.fixture
def work(monkeypatch):
    """What the workers run; in a folder that they look in too."""
    monkeypatch.syspath_prepend(str(HERE))
    return importlib.import_module("pool_work")


@pytest.fixture(autouse=True)
def _no_descriptor_left():
    """Fail where a descriptor of any kind is left, beside those of the interpreter itself."""
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    yield
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208


ITEMS = [np.full((100, 100), number) for number in range(50)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("end", ["with", "break", "raise", "terminate", "close", "forget", "cycle"])
def test_every_end_leaves_nothing(work, nothing_left, reader_threads, backend, end):
    pool = WorkerPool(2, backend)
    assert reader_threads()
    results = pool.imap(work.same, itertools.cycle(ITEMS), 2)
    assert (next(results) == ITEMS[0]).all()
    if end == "with":
        with pool:
            assert (next(results) == ITEMS[1]).all()
    elif end == "break":
        with pool:
            for result in pool.imap_unordered(work.same, itertools.cycle(ITEMS)):
                del result
                break
    elif end == "raise":
        with pytest.raises(ZeroDivisionError), pool:
            raise ZeroDivisionError
    elif end == "terminate":
        pool.terminate()
        pool.terminate()
    elif end == "close":
        pool.close()
        pool.join()
    elif end == "cycle":
        cycle = [pool, results]
        cycle.append(cycle)
        del cycle
    del pool, results
    gc.collect()
    nothing_left()


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_iterator_keeps_its_pool(work, nothing_left, reader_threads, backend):
    results = WorkerPool(1, backend).imap(work.square, range(30), buffer_size=2)
    later = WorkerPool(1, backend).map_async(work.square, range(30), buffer_size=2)
    gc.collect()
    assert list(results) == [number**2 for number in range(30)]
    assert later.get(60) == [number**2 for number in range(30)]
    del results, later
    deadline = time.monotonic() + 60  # the thread that collected them ends the pool, just now
    while reader_threads() and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.parametrize("backend", BACKENDS)
def test_leaving_a_loop_drops_what_has_not_begun(work, nothing_left, backend):
    with WorkerPool(1, backend) as pool:
        first = threading.Event()
        results = pool.imap(work.same, range(1000), 1, 1000)
        next(results)
        del results
        result = pool.map_async(work.same, [1], callback=lambda _: first.set())
        assert first.wait(60)
        assert result.get() == [1]
        source = iter(range(10))
        results = pool.imap(work.same, source, 1, 3)
        results.close()
        assert [*results] == []
        assert [*source] == [*range(3, 10)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_many_pools_one_after_another(work, nothing_left, backend):
    for number in range(5):
        assert WorkerPool(2, backend).map(work.square, [number]) == [number**2]
    gc.collect()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_fork_ends_nothing_and_may_not_use_the_pool(work, nothing_left, backend):
    with WorkerPool(2, backend) as pool:
        results = pool.imap(work.same, range(100), 1, 5)
        next(results)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                pool.map(work.same, [1])
            except WorkerError as error:
                status = 0 if "this is a fork" in str(error) else 2
            results.close()
            pool.terminate()
            os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert [*results] == [*range(1, 100)]


SCRIPT = """
import sys
import pool_work
from patchmill.reader import WorkerPool

pool = WorkerPool(2, sys.argv[1])
print(pool.map(pool_work.square, range(5)), flush=True)
results = pool.imap(pool_work.same, range(1000), 5)
print(next(results), flush=True)
later = pool.map_async(pool_work.same, iter(int, 1), buffer_size=4)
if sys.argv[2] == "wait":
    import psutil
    print(*[child.pid for child in psutil.Process().children()], flush=True)
    sys.stdin.read()
if sys.argv[2] == "interrupted":
    import itertools
    print("ready", flush=True)
    for _ in pool.imap_unordered(pool_work.same, itertools.count()):
        pass
"""


def script(tmp_path, *arguments, **options):
    file = tmp_path / "script.py"  # without a main guard
    file.write_text(SCRIPT)
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(file), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HERE)},
        **options,
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_script_that_ends_without_closing(tmp_path, backend):
    with script(tmp_path, backend, "end") as process:
        out, errors = process.communicate(timeout=60)
    assert (process.returncode, out, errors) == (0, "[0, 1, 4, 9, 16]\n0\n", "")


@pytest.mark.parametrize("backend", BACKENDS)
def test_ctrl_c_ends_at_once(tmp_path, backend):
    with script(tmp_path, backend, "interrupted") as process:
        for line in ("[0, 1, 4, 9, 16]\n", "0\n", "ready\n"):
            assert process.stdout.readline() == line
        children = psutil.Process(process.pid).children()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert "Exception ignored" not in errors
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_do_not_outlive_a_killed_consumer(tmp_path, number):
    with script(tmp_path, "process", "wait") as process:
        process.stdout.readline()
        process.stdout.readline()
        children = [psutil.Process(int(pid)) for pid in process.stdout.readline().split()]
        assert len(children) == 2
        process.send_signal(number)
        assert process.wait(60) != 0
        _, alive = psutil.wait_procs(children, timeout=30)
        assert alive == []
        process.stdin.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_callback_may_end_the_pool(work, nothing_left, backend):
    pool = WorkerPool(1, backend)
    result = pool.map_async(work.same, range(3), callback=lambda _, end=pool.terminate: end())
    assert result.get(60) == [0, 1, 2]
    pool.join()
    del pool, result
