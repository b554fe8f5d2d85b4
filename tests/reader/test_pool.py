"""A pool gives every item's result once, in either backend."""

from __future__ import annotations

import importlib
import itertools
import os
import sys
import threading
import time
import weakref
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from patchmill.reader import WorkerError, WorkerPool
from patchmill.reader.outcome import RemoteTraceback
from patchmill.reader.pool_items import Call, Task, encode, packed_item

BACKENDS = ["thread", "process"]


@pytest.fixture
def work(monkeypatch):
    """What the workers run; in a folder that they look in too."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return importlib.import_module("pool_work")


@pytest.fixture(params=BACKENDS)
def pool(request, work, nothing_left):
    with WorkerPool(2, request.param) as pool:
        yield pool


def collected(results):
    """Return results, and the errors in their places."""
    found = []
    while True:
        try:
            found.append(next(results))
        except StopIteration:
            return found
        except Exception as error:
            found.append(error)


@pytest.mark.parametrize("chunksize", [1, 3, 100])
def test_all_ways_give_each_result_once(pool, work, chunksize):
    items = [*range(40)]
    squares = [number**2 for number in items]
    assert pool.map(work.square, items, chunksize) == squares
    assert list(pool.imap(work.square, iter(items), chunksize)) == squares
    assert sorted(pool.imap_unordered(work.square, set(items), chunksize)) == squares
    assert pool.map_async(work.square, (n for n in items), chunksize).get(60) == squares
    assert pool.map(work.square, []) == []
    assert list(pool.imap_unordered(work.square, {})) == []


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", ["imap", "imap_unordered"])
def test_32768_items_each_exactly_once(work, backend, way):
    """A shared counter that is read and raised in two steps gave seven of these twice."""
    with WorkerPool(3, backend) as pool:
        seen = Counter(getattr(pool, way)(work.same, range(32_768), chunksize=32))
    assert len(seen) == 32_768
    assert set(seen.values()) == {1}


def test_the_order_is_that_of_the_items_or_of_their_ends(pool, work, tmp_path):
    assert list(pool.imap(work.Relay(tmp_path / "one"), range(2))) == [0, 1]
    assert list(pool.imap_unordered(work.Relay(tmp_path / "two"), range(2))) == [1, 0]


@pytest.mark.parametrize("way", ["imap", "imap_unordered"])
@pytest.mark.parametrize(("chunksize", "buffer_size"), [(1, 1), (1, 5), (2, 5), (4, 4)])
def test_the_source_is_not_drawn_ahead_of_the_buffer(pool, work, way, chunksize, buffer_size):
    drawn = 0

    def source():
        nonlocal drawn
        for drawn in range(1, 31):  # noqa: UP028
            yield drawn

    results = getattr(pool, way)(work.same, source(), chunksize, buffer_size)
    seen = []
    for received, result in enumerate(results):
        seen.append(result)
        assert drawn <= received + buffer_size
        assert drawn >= min(30, received + buffer_size - chunksize)
    assert sorted(seen) == [*range(1, 31)]
    assert drawn == 30


def test_filling_starts_at_once_and_the_buffer_has_a_default(pool, work):
    source = itertools.count()
    results = pool.imap(work.same, source)
    assert next(source) == 4 * 2
    results.close()


def test_an_infinite_source(pool, work):
    results = pool.imap(work.square, itertools.count(), chunksize=5)
    assert list(itertools.islice(results, 100)) == [number**2 for number in range(100)]
    for number in pool.imap_unordered(work.same, itertools.count()):
        if number > 20:
            break


def test_calls_interleave(pool, work):
    calls = [pool.imap(work.square, range(n, n + 50), buffer_size=2) for n in range(4)]
    calls.append(pool.imap_unordered(work.same, itertools.repeat(3), chunksize=7))
    for number, found in enumerate(zip(*calls, strict=False)):
        assert found == (*((number + n) ** 2 for n in range(4)), 3)
        assert pool.map(work.same, [number]) == [number]


def test_several_threads_at_once(pool, work):
    found = {}
    shared = pool.imap_unordered(work.same, range(200))

    def use(name):
        found[name] = pool.map(work.square, range(name, name + 50))
        found[-1 - name] = list(shared)

    threads = [threading.Thread(target=use, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in range(4):
        assert found[name] == [number**2 for number in range(name, name + 50)]
    shares = [number for name in range(4) for number in found[-1 - name]]
    assert sorted(shares) == [*range(200)]


def test_map_async(pool, work, tmp_path):
    said, failed = [], []
    relay = work.Relay(tmp_path / "mark")
    result = pool.map_async(relay, [0], callback=said.append, error_callback=failed.append)
    assert not result.ready()
    with pytest.raises(ValueError, match="not there yet"):
        result.successful()
    with pytest.raises(TimeoutError):
        result.get(0.01)
    result.wait(0.01)
    assert said == []
    (tmp_path / "mark").touch()
    result.wait()
    assert (result.get(), result.ready(), result.successful(), said) == ([0], True, True, [[0]])
    assert failed == []


def test_an_error_in_map_async(pool, work):
    said, failed = [], []
    result = pool.map_async(
        work.no_seven, range(20), callback=said.append, error_callback=failed.append
    )
    result.wait(60)
    assert result.ready()
    assert not result.successful()
    with pytest.raises(ValueError, match="no seven here"):
        result.get()
    assert said == []
    assert [str(error) for error in failed] == ["no seven here"]
    del result, failed


@pytest.mark.parametrize("chunksize", [1, 4])
def test_an_error_says_which_item_and_the_others_still_come(pool, work, chunksize):
    with pytest.raises(ValueError, match="no seven here") as caught:
        pool.map(work.no_seven, range(20), chunksize)
    assert caught.value.__notes__ == ["in item 7, 7"]
    if pool.backend == "process":
        assert isinstance(caught.value.__cause__, RemoteTraceback)
        assert "pool_work.py" in str(caught.value.__cause__)
    else:
        assert "no_seven" in [entry.name for entry in caught.traceback]
    del caught
    ordered = collected(pool.imap(work.no_seven, range(20), chunksize))
    assert isinstance(ordered[7], ValueError)
    assert ordered[:7] + ordered[8:] == [*range(7), *range(8, 20)]
    found = collected(pool.imap_unordered(work.no_seven, range(20), chunksize))
    assert sorted(map(str, found)) == sorted(map(str, ordered))
    del ordered, found


def test_an_error_of_the_source_comes_in_its_turn(pool, work):
    def source():
        yield from range(5)
        raise ZeroDivisionError

    assert pool.map(work.same, itertools.islice(source(), 5)) == [*range(5)]
    for chunksize in (1, 3):
        *numbers, error = collected(pool.imap(work.same, source(), chunksize))
        assert numbers == [*range(5)]
        assert isinstance(error, ZeroDivisionError)
    del error


def test_an_interrupt_of_the_source_loses_no_item(pool, work):
    class Source:
        number = -1

        def __iter__(self):
            return self

        def __next__(self):
            self.number += 1
            if self.number == 21:
                raise StopIteration
            if self.number == 17:
                self.number = 1000
                raise KeyboardInterrupt
            if self.number == 1001:
                self.number = 17
            return self.number

    results = pool.imap(work.same, Source(), 3, 6)
    seen = []
    with pytest.raises(KeyboardInterrupt):
        seen.extend(results)
    seen.extend(results)
    assert seen == [*range(21)]


def test_what_would_end_the_loop_or_the_program_is_an_error(pool, work):
    with pytest.raises(WorkerError, match=r"the function raised StopIteration\(1\)"):
        list(pool.imap(work.stops, [1]))
    with pytest.raises(WorkerError, match="SystemExit: 3"):
        pool.map(work.exits, [1])


def test_generators_depend_on_seed_epoch_and_item_alone(work):
    def drawn(backend, num_workers, seed=5, **options):
        with WorkerPool(num_workers, backend, seed=seed) as pool:
            return pool.map(work.draw, "abcdefgh", **options)

    reference = drawn("thread", 1)
    assert [item for item, _ in reference] == [*"abcdefgh"]
    assert len({number for _, numbers in reference for number in numbers}) == 24
    assert drawn("thread", 3, chunksize=3) == reference
    assert drawn("process", 2) == reference
    assert drawn("process", 3, chunksize=5) == reference
    others = [drawn("thread", 1, seed=6), drawn("process", 1, epoch=1), drawn("thread", 1, epoch=2)]
    numbers = {number for each in [reference, *others] for _, three in each for number in three}
    assert len(numbers) == 4 * 24


def test_arrays_travel_both_ways(pool, work):
    rng = np.random.default_rng(0)

    def arrays(number):
        large = rng.integers(0, 1000, (3, 200, 301)).astype(np.uint16)
        frozen = np.arange(5000) + number
        frozen.flags.writeable = False
        return {
            "large": large,
            "big-endian": large[0].astype(">i4"),
            "part": large[:, ::2, 5:],
            "fortran": np.asfortranarray(large[0]),
            "small": np.arange(number),
            "none": np.zeros((0, 7)),
            "scalar": np.array(number),
            "complex": np.full(4000, 1j * number),
            "frozen": frozen,
            **{f"many{n}": np.full(600, n + number) for n in range(40)},
        }

    items = [arrays(number) for number in range(12)]
    for item, same in zip(items, pool.map(work.same, items, 2), strict=True):
        assert list(same) == list(item)
        for name, array in same.items():
            assert array.dtype == item[name].dtype
            assert array.flags.writeable == item[name].flags.writeable
            np.testing.assert_array_equal(array, item[name])
    del same, array
    for item, doubled in zip(items, pool.imap(work.doubled, items), strict=True):
        for name, array in doubled.items():
            np.testing.assert_array_equal(array, item[name] + item[name])
    del doubled, array


def test_results_that_are_kept_need_few_memory_maps(pool, work):
    results = pool.map(work.zeros, [(50, 100)] * 300)
    assert len(results) == 300
    assert all(result.sum() == 0 for result in results)
    assert Path("/proc/self/maps").read_text().count("memfd:patchmill") < 40
    kept = list(pool.imap(work.zeros, [(n + 1, 100) for n in range(100)]))
    assert [result.shape for result in kept] == [(n + 1, 100) for n in range(100)]
    assert Path("/proc/self/maps").read_text().count("memfd:patchmill") < 40
    del results, kept


def test_pixels_do_not_go_through_the_socket(work, monkeypatch, nothing_left):
    sent = []
    monkeypatch.setattr(
        "patchmill.reader.channel.socket.send_fds",
        lambda sock, parts, fds: sent.append(sum(map(len, parts))) or _send_fds(sock, parts, fds),
    )
    with WorkerPool(1, "process") as pool:
        array = np.zeros(50_000_000, np.uint8)
        assert pool.map(work.same, [array])[0].nbytes == array.nbytes
    assert len(sent) >= 2
    assert max(sent) < 5000


_send_fds = __import__("socket").send_fds


def test_an_item_or_a_result_that_cannot_travel_is_that_items_error(work, nothing_left):
    with WorkerPool(2, "process") as pool:
        items = [0, 1, lambda: None, 3, work.Unloadable(), 5]
        found = collected(pool.imap(work.same, items, 3))
        assert [found[n] for n in (0, 1, 3, 5)] == [0, 1, 3, 5]
        assert "pickle" in str(found[2]) or "lambda" in str(found[2])
        assert isinstance(found[4], ValueError)
        assert found[4].__notes__ == [
            "in item 4, which cannot be unpickled (ValueError: invalid literal for int() with base "
            "10: 'this is no number')"
        ]
        found = collected(pool.imap(work.returns_lambda, range(6), 3))
        assert [found[n] for n in (0, 1, 2, 4, 5)] == [0, 1, 2, 4, 5]
        assert found[3].__notes__ == ["in item 3, 3"]
        found = collected(pool.imap(work.unloadable, range(6), 3))
        assert [found[n] for n in (0, 1, 2, 4, 5)] == [0, 1, 2, 4, 5]
        assert isinstance(found[3], ValueError)
        del found


def test_a_function_that_workers_cannot_import_is_one_error_at_once(monkeypatch, nothing_left):
    def local(item):
        return item

    only_here = ModuleType("only_here")
    only_here.local = local
    local.__module__, local.__qualname__ = "only_here", "local"
    with WorkerPool(1, "process") as pool:
        drawn = itertools.count()
        with pytest.raises(WorkerError, match="put it into a module of its own"):
            pool.map(lambda item: item, drawn)
        assert next(drawn) == 0
        monkeypatch.setitem(sys.modules, "only_here", only_here)
        with pytest.raises(ModuleNotFoundError, match="only_here"):
            pool.map(local, [1, 2])
        monkeypatch.setattr(local, "__module__", "__main__")
        monkeypatch.setattr(sys.modules["__main__"], "local", local, raising=False)
        with pytest.raises(WorkerError, match="'local' lies in the script that was started"):
            pool.map(local, [1])
        assert pool.map(abs, [-1]) == [1]


def test_a_worker_gets_a_function_once_and_forgets_it(work, nothing_left):
    with WorkerPool(2, "process") as pool:
        loaded = set(pool.imap_unordered(work.Heavy(), range(50)))
        assert len({pid for pid, _ in loaded}) == len(loaded)
        assert {times for _, times in loaded} == {1}
    known: dict[int, weakref.ref[Call]] = {}
    one, two = (Call(number, work.same, b"f", None, 0) for number in range(2))
    task = [packed_item(7)]
    assert encode(Task(one, 0, task), known)[:3] == (0, b"f", [])
    assert encode(Task(one, 1, task), known)[:3] == (0, None, [])
    assert encode(Task(two, 0, task), known)[:3] == (1, b"f", [])
    del one
    assert encode(Task(two, 1, task), known)[:3] == (1, None, [0])
    assert list(known) == [1]


def test_workers_are_replaced_after_so_many_tasks(work, nothing_left):
    with WorkerPool(2, "process", max_tasks_per_worker=3) as pool:
        tasks = Counter(pool.imap(work.which_process, range(20)))
        chunks = Counter(pool.imap(work.which_process, range(60), chunksize=5))
    assert sum(tasks.values()) == 20
    assert max(tasks.values()) <= 3
    assert sum(chunks.values()) == 60
    assert max(chunks.values()) <= 15


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"num_workers": 0}, "num_workers is 0; give a whole number of at least 1"),
        ({"num_workers": 1.5}, "num_workers is 1.5"),
        ({"backend": "fibre"}, "backend is 'fibre'; give one of 'thread', 'process'"),
        ({"max_tasks_per_worker": 5}, "max_tasks_per_worker is 5 for threads"),
        ({"max_tasks_per_worker": 0, "backend": "process"}, "max_tasks_per_worker is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_arguments_of_a_pool_are_checked(options, text, nothing_left):
    with pytest.raises(ValueError, match=text):
        WorkerPool(**{"num_workers": 1, **options})


def test_arguments_of_a_call_are_checked(work):
    with WorkerPool(1) as pool:
        with pytest.raises(ValueError, match="chunksize is 0"):
            pool.imap(work.same, [], 0)
        with pytest.raises(ValueError, match="buffer_size is 3; give a whole number of at least 4"):
            pool.imap(work.same, [], 4, 3)
        with pytest.raises(ValueError, match="epoch is -1"):
            pool.map(work.same, [], epoch=-1)
        with pytest.raises(TypeError, match="not iterable"):
            pool.map(work.same, 3)


def test_one_core_is_left_free():
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with WorkerPool(-1) as pool:
        assert pool.num_workers == max(1, cores - 1)
    with WorkerPool(-2) as pool:
        assert pool.num_workers == max(1, cores - 2)


def test_a_closed_pool_finishes_what_was_asked(pool, work):
    result = pool.map_async(work.square, range(100), buffer_size=2)
    short = pool.imap(work.square, range(5))
    long = pool.imap(work.square, range(50), buffer_size=5)
    with pytest.raises(ValueError, match="call `close` or `terminate` before `join`"):
        pool.join()
    pool.close()
    with pytest.raises(WorkerError, match="the pool was closed"):
        pool.map(work.square, [1])
    assert next(long) == 0
    pool.join()
    assert result.ready()
    assert result.get() == [number**2 for number in range(100)]
    assert list(short) == [0, 1, 4, 9, 16]
    # One more was drawn for the one that was received.
    *drawn, error = collected(long)
    assert drawn == [1, 4, 9, 16]
    assert isinstance(error, WorkerError)
    assert collected(long) == []
    pool.join()  # again


def test_joining_waits_for_a_map_in_another_thread(pool, work, tmp_path):
    found = []
    relay = work.Relay(tmp_path / "mark")
    thread = threading.Thread(target=lambda: found.extend(pool.map(relay, [0, 2, 3, 0], 1, 1)))
    thread.start()
    deadline = time.monotonic() + 60
    while not pool._maps and time.monotonic() < deadline:
        time.sleep(0.001)
    pool.close()
    joined = threading.Thread(target=pool.join)
    joined.start()
    (tmp_path / "mark").touch()
    joined.join(60)
    assert found == [0, 2, 3, 0]
    thread.join()
