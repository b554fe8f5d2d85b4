"""Worker processes give the same batches, exactly once, and survive what is done to them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import types

import numpy as np
import psutil
import pytest

from patchmill.reader import Loader, WorkerError, open_store
from patchmill.reader.outcome import RemoteTraceback


def epoch_of(loader):
    """Return copies of an epoch's batches."""
    return [{name: array.copy() for name, array in batch.items()} for batch in loader]


def assert_same(one, two):
    assert len(one) == len(two)
    for mine, other in zip(one, two, strict=True):
        assert list(mine) == list(other)
        for name in mine:
            assert mine[name].dtype == other[name].dtype
            assert mine[name].shape == other[name].shape
            assert mine[name].tobytes() == other[name].tobytes()


def rows_of(loader, rows):
    """Add an epoch's rows to a list, as they come."""
    for batch in loader:
        rows += batch["index"].tolist()


WAYS = [("thread", 0), ("thread", 1), ("thread", 2), ("process", 1), ("process", 2)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"drop_last": True, "shuffle": False},
        {"crop": (5, 7), "random_crop": True},
        {"crop": (5, 7)},
        {"transform": "noisy"},
        {"transform": "as_float"},
        {"transform": "noisy", "batch_transform": "in_place", "crop": (6, 6), "random_crop": True},
        {"batch_transform": "shuffle_channels"},
    ],
    ids=str,
)
def test_the_same_bytes_whoever_makes_them(plain, reader_work, nothing_left, options):
    functions = {
        name: getattr(reader_work, value) if "transform" in name else value
        for name, value in options.items()
    }
    reference = None
    for backend, num_workers in WAYS:
        for prefetch in (1, 5):
            loader = open_store(plain.path).loader(
                5,
                **{"shuffle": True, "seed": 3, **functions},
                num_workers=num_workers,
                backend=backend,
                prefetch=prefetch,
            )
            epochs = epoch_of(loader) + epoch_of(loader)
            reference = reference or epochs
            assert_same(epochs, reference)
            del loader


def test_eight_workers(plain, reader_work):
    def epochs(**options):
        loader = open_store(plain.path).loader(
            3, shuffle=True, transform=reader_work.noisy, **options
        )
        return epoch_of(loader) + epoch_of(loader)

    assert_same(epochs(num_workers=8, backend="process"), epochs(num_workers=8))


def test_every_sample_once_also_while_workers_start(plain):
    loader = open_store(plain.path).loader(2, shuffle=True, num_workers=2, backend="process")
    for _ in range(20):  # the first epochs are over before the workers are up
        batches = epoch_of(loader)
        rows = np.concatenate([batch["index"] for batch in batches])
        assert sorted(rows.tolist()) == [-1, *range(37)]
        for batch in batches:
            good = batch["valid"]
            np.testing.assert_array_equal(batch["image"][good], plain.pixels[batch["index"][good]])
            assert not batch["image"][~good].any()


def test_the_consumer_decodes_while_the_workers_start(plain, monkeypatch, tmp_path, nothing_left):
    never = tmp_path / "python"
    never.write_text("#!/bin/sh\nexec sleep 1000\n")
    never.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(never))
    loader = open_store(plain.path).loader(5, num_workers=2, backend="process")
    batches = epoch_of(loader)
    np.testing.assert_array_equal(np.concatenate([b["image"] for b in batches])[:37], plain.pixels)
    loader.close()


def test_transforms_never_run_in_the_consumer(plain, reader_work):
    loader = open_store(plain.path).loader(
        2, num_workers=2, backend="process", transform=reader_work.which_process
    )
    pids = {pid for _ in range(2) for batch in loader for pid in batch["pid"][batch["valid"]]}
    assert os.getpid() not in pids
    assert 1 <= len(pids) <= 2


def test_workers_stay_between_epochs_and_end_with_the_loader(plain, workers, nothing_left):
    loader = open_store(plain.path).loader(2, num_workers=2, backend="process")
    for _ in loader:
        pass
    first = {worker.pid for worker in workers()}
    assert len(first) == 2
    for _ in loader:
        pass
    assert {worker.pid for worker in workers()} == first
    loader.close()
    nothing_left()
    for _ in loader:  # which starts new ones
        pass
    assert len(workers()) == 2
    del loader
    nothing_left()
    with open_store(plain.path).loader(2, num_workers=1, backend="process") as loader:
        next(iter(loader))


@pytest.mark.parametrize("end", ["break", "raise", "close", "forget"])
def test_leaving_early_leaves_nothing(plain, reader_work, workers, nothing_left, end):
    loader = open_store(plain.path).loader(
        2, num_workers=2, backend="process", transform=reader_work.noisy
    )
    batches = iter(loader)
    assert len(workers()) == 2  # before anything was asked for
    next(batches)
    if end == "close":
        batches.close()
    elif end == "raise":

        def train(batches):
            for _ in batches:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            train(batches)
        del batches
    elif end == "break":
        for _ in batches:
            break
        del batches
    else:
        del batches, loader
    nothing_left()


def test_an_iterator_never_asked_leaves_nothing(plain, nothing_left):
    batches = iter(open_store(plain.path).loader(2, num_workers=2, backend="process"))
    del batches
    nothing_left()


def test_two_iterations_at_once_have_workers_of_their_own(plain, nothing_left):
    loader = open_store(plain.path).loader(4, shuffle=True, num_workers=1, backend="process")
    for one, two in zip(loader, loader, strict=True):
        for batch in (one, two):
            good = batch["valid"]
            np.testing.assert_array_equal(batch["image"][good], plain.pixels[batch["index"][good]])
    del one, two, batch
    loader.close()


def test_held_batches_are_never_overwritten(plain, reader_work, nothing_left):
    loader = open_store(plain.path).loader(
        5, shuffle=True, num_workers=2, backend="process", transform=reader_work.noisy
    )
    again = open_store(plain.path).loader(5, shuffle=True, transform=reader_work.noisy)
    with pytest.warns(RuntimeWarning, match="fresh memory") as warned:
        kept = [*loader, *loader]
    assert len(warned) == 1
    assert loader.stats().extra_batches > 0
    assert_same(kept, epoch_of(again) + epoch_of(again))
    del kept, loader, again


def test_memory_is_used_again(plain, reader_work, nothing_left):
    loader = open_store(plain.path).loader(
        5, num_workers=2, prefetch=4, backend="process", transform=reader_work.noisy
    )
    places = {batch["image"].ctypes.data for _ in range(5) for batch in loader}
    # Three jobs ahead at a worker, and three more segments.
    assert len(places) <= 2 * (3 + 3)
    assert loader.stats().extra_batches == 0
    del loader


def test_a_killed_worker_is_replaced_and_its_work_done_again(plain, reader_work, tmp_path):
    reference = epoch_of(open_store(plain.path).loader(2))
    loader = open_store(plain.path).loader(
        2,
        num_workers=2,
        backend="process",
        transform=reader_work.DiesOnce(tmp_path / "mark"),
    )
    with pytest.warns(RuntimeWarning, match=r"worker process \d+ was killed by SIGKILL; what it"):
        assert_same(epoch_of(loader), reference)
    assert loader.stats().replaced_workers == 1
    assert_same(epoch_of(loader), reference)


def test_a_kill_is_noticed_at_once(plain, reader_work, workers, nothing_left):
    loader = open_store(plain.path).loader(
        2, num_workers=1, backend="process", transform=reader_work.slow
    )
    batches = iter(loader)
    (worker,) = workers()
    (crew,) = loader._production._crews
    while not crew.is_ready:
        crew.poll(10)
    os.kill(worker.pid, signal.SIGKILL)
    start = time.monotonic()
    with pytest.warns(RuntimeWarning, match=f"worker process {worker.pid} was killed by SIGKILL"):
        crew.poll(60)
    assert time.monotonic() - start < 30  # its socket tells at once; the rest is a loaded machine
    assert [each.pid for each in workers()] == crew.pids != [worker.pid]
    del batches, crew


def test_a_transform_that_kills_every_worker_is_an_error(plain, reader_work, nothing_left):
    loader = open_store(plain.path).loader(
        5, num_workers=2, backend="process", transform=reader_work.deadly
    )
    rows = []
    with (
        pytest.warns(RuntimeWarning, match="killed by SIGKILL"),
        pytest.raises(
            WorkerError, match=r"3 worker processes died on .* rows \[15, 16, 17, 18, 19"
        ),
    ):
        rows_of(loader, rows)
    assert rows == list(range(15))  # what came before is not lost


@pytest.mark.parametrize("backend", ["thread", "process"])
def test_an_error_in_a_transform_says_where(plain, reader_work, nothing_left, backend):
    loader = open_store(plain.path).loader(
        5, num_workers=2, backend=backend, transform=reader_work.failing
    )
    rows = []
    with pytest.raises(ZeroDivisionError, match="all black") as caught:
        rows_of(loader, rows)
    assert rows == list(range(15))
    assert caught.value.__notes__ == ["in the transform of row 18, epoch 0"]
    if backend == "process":
        assert isinstance(caught.value.__cause__, RemoteTraceback)
        assert "reader_work.py" in str(caught.value.__cause__)
    del caught


def test_an_exit_in_a_transform_is_an_error(plain, reader_work):
    loader = open_store(plain.path).loader(
        5, num_workers=1, backend="process", transform=reader_work.exiting
    )
    with pytest.raises(WorkerError, match="raised SystemExit: 3"):
        next(iter(loader))


def test_a_batch_that_cannot_travel_is_an_error(plain, reader_work):
    loader = open_store(plain.path).loader(
        5, num_workers=1, backend="process", collate=reader_work.returns_lambda
    )
    with pytest.raises((AttributeError, TypeError, WorkerError), match=r"[Cc]an't pickle|lambda"):
        next(iter(loader))


def test_damage_is_raised_in_its_turn(make_store, nothing_left):
    written = make_store()
    written.shard(2).unlink()
    loader = open_store(written.path).loader(4, num_workers=2, backend="process")
    for _ in range(2):
        rows = []
        with pytest.raises(OSError, match=r"c\.2\.0\.0\.0, patch 16: the file is missing"):
            rows_of(loader, rows)
        assert rows == list(range(16))


def test_what_workers_cannot_import_is_one_error_before_anything_starts(
    plain, workers, monkeypatch
):
    view = open_store(plain.path).view
    with pytest.raises(WorkerError, match="put it into a module of its own"):
        view.loader(2, num_workers=1, backend="process", transform=lambda sample, rng: sample)

    def local(sample, rng):
        return sample

    local.__module__, local.__qualname__ = "__main__", "local"
    monkeypatch.setattr(sys.modules["__main__"], "local", local, raising=False)
    with pytest.raises(WorkerError, match="'local' lies in the script that was started"):
        view.loader(2, num_workers=1, backend="process", transform=local)
    assert workers() == []


def test_what_only_the_consumer_can_import_is_the_error_of_the_import(
    plain, monkeypatch, nothing_left
):
    module = types.ModuleType("known_here_alone")
    exec("def local(sample, rng): return sample", module.__dict__)
    monkeypatch.setitem(sys.modules, "known_here_alone", module)
    loader = open_store(plain.path).loader(
        2, num_workers=2, backend="process", transform=module.local
    )
    with pytest.raises(ModuleNotFoundError, match="known_here_alone"):
        next(iter(loader))


def test_workers_that_cannot_start_are_an_error(plain, reader_work, monkeypatch, nothing_left):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    loader = open_store(plain.path).loader(
        2, num_workers=2, backend="process", transform=reader_work.noisy
    )
    with (
        pytest.warns(RuntimeWarning, match="ended with status 1 before it could work; another"),
        pytest.raises(WorkerError, match="ended with status 1 before it could work, 3 times"),
    ):
        next(iter(loader))


SCRIPT = """
import sys
from patchmill.reader import open_store
loader = open_store(sys.argv[1]).loader(2, shuffle=True, num_workers=2, backend="process")
for batch in loader:
    pass
print(sum(1 for _ in loader), flush=True)
batches = iter(loader)
next(batches)
if len(sys.argv) > 2:
    import psutil
    print(*[child.pid for child in psutil.Process().children()], flush=True)
    sys.stdin.read()
"""


def test_a_script_without_a_main_guard(plain, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script), str(plain.path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "19\n", "")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_do_not_outlive_a_killed_consumer(plain, tmp_path, number):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, str(script), str(plain.path), "wait"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "19\n"
        children = [psutil.Process(int(pid)) for pid in process.stdout.readline().split()]
        assert len(children) == 2
        process.send_signal(number)
        assert process.wait(30) != 0
        _, alive = psutil.wait_procs(children, timeout=30)
        assert alive == []
        process.stdin.close()


def test_a_fork_of_the_consumer_ends_nothing(plain, reader_work):
    """A child of a fork has a copy of the loader, and must leave the parent's workers alone."""
    loader = open_store(plain.path).loader(
        2, num_workers=2, backend="process", transform=reader_work.noisy
    )
    batches = iter(loader)
    next(batches)
    child = os.fork()
    if child == 0:
        batches.close()
        loader.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert sum(1 for _ in batches) == 18


def test_a_loader_over_other_things(reader_work, tmp_path, nothing_left):
    paths = []
    for number in range(9):
        paths.append(tmp_path / f"{number}.txt")
        paths[-1].write_text(str(number * number))
    loader = Loader(
        paths, 4, shuffle=True, num_workers=2, backend="process", transform=reader_work.read_text
    )
    batches = epoch_of(loader)
    for batch in batches:
        good = batch["valid"]
        np.testing.assert_array_equal(batch["number"][good], batch["index"][good] ** 2)
    assert sorted(np.concatenate([b["index"][b["valid"]] for b in batches]).tolist()) == [*range(9)]
    del loader
