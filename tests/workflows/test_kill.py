"""SIGKILL of the driver or of a worker at any moment; then the same command finishes the job."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess

import numpy as np
import psutil
import pytest

from patchmill.reader import open_store
from patchmill.tasks.records import record_dtype
from patchmill.workflows.ledger import Ledger

STORE, RUN = "s.zarr", "s.zarr.run"
RECORD = record_dtype(np.dtype(np.uint16), 2, ())


@pytest.fixture
def job(tmp_path, plate, plate_tables, write_toml, cut):
    """A recipe of three hundred shards, and an undisturbed store of it called whole.zarr."""
    images = plate("ABCDEF", shape=(96, 96), compression="zlib")
    tables = plate_tables(
        store={"shard_bytes": 1024},
        patches={"stride": [12, 12]},
        split={"fractions": {"train": 0.75, "val": 0.25}},
    )
    write_toml(tmp_path / "r.toml", tables)
    return images, cut(tables, "whole.zarr").plan


def finished(tmp_path, record=RECORD) -> dict[int, int]:
    """The inode of every shard that the ledger speaks of."""
    ledger = tmp_path / RUN / "ledger"
    if not ledger.exists():
        return {}
    # A copy: what is open here may be torn at the end, and a Ledger mends that.
    copy = tmp_path / "ledger-copy"
    copy.write_bytes(ledger.read_bytes())
    with Ledger(copy, record) as opened:
        shards = list(opened.shards)
    image = tmp_path / STORE / "image"
    return {shard: (image / f"c.{shard}.0.0.0").stat().st_ino for shard in shards}


def ledger_bytes(tmp_path, run: str = RUN) -> int:
    ledger = tmp_path / run / "ledger"
    return ledger.stat().st_size if ledger.exists() else 0


def assert_clean(tmp_path, same_files) -> None:
    same_files(tmp_path / "whole.zarr", tmp_path / STORE)
    assert not (tmp_path / RUN / "tmp").exists() or not any((tmp_path / RUN / "tmp").iterdir())


def prepare_command(command, *options: str):
    return command("prepare", "r.toml", "-o", STORE, "--workers", "2", *options)


def test_kill_of_the_driver_in_the_middle(tmp_path, job, command, eventually, same_files):
    _, plan = job
    run = prepare_command(command)
    eventually(lambda: ledger_bytes(tmp_path) > 10_000, "some shards are in the ledger")
    below = run.children()
    assert len(run.workers()) >= 2
    run.kill()
    before = finished(tmp_path)
    assert 0 < len(before) < plan.n_shards
    # No worker goes on without its driver.
    eventually(lambda: not any(alive(child) for child in below), "the workers have ended")
    text = prepare_command(command).finish()
    assert (
        f"{plan.n_shards - len(before):,} shards cut, {len(before):,} were finished before" in text
    )
    after = finished(tmp_path)
    assert {shard: after[shard] for shard in before} == before  # not one was written again
    assert_clean(tmp_path, same_files)


def test_kill_in_the_middle_of_steps_and_masks(
    tmp_path, annotated, write_toml, cut, command, eventually, same_files
):
    """Killed after several shares of the work; each time what is finished stays as it is."""
    tables = annotated(tmp_path) | {"store": {"shard_bytes": "1500 B"}}
    write_toml(tmp_path / "r.toml", tables)
    plan = cut(tables, "whole.zarr").plan
    record = record_dtype(np.dtype(np.uint16), 2, plan.annotations)
    assert plan.n_shards > 200
    whole = ledger_bytes(tmp_path, "whole.zarr.run")
    known: dict[str, int] = {}
    for share in (0.05, 0.3, 0.7):
        run = prepare_command(command)
        eventually(
            lambda share=share, run=run: (
                ledger_bytes(tmp_path) > share * whole or run.process.poll() is not None
            ),
            "shards are in the ledger",
        )
        assert run.process.poll() is None, run.finish()
        run.kill()
        shards = finished(tmp_path, record)
        assert 0 < len(shards) < plan.n_shards
        store = tmp_path / STORE
        fields = {field: f"c.{{}}{'.0' * len(axes)}" for field, axes in plan.field_axes.items()}
        now = {
            f"{field}/{name.format(shard)}": (store / field / name.format(shard)).stat().st_ino
            for shard in shards
            for field, name in fields.items()
        }
        assert {path: now[path] for path in known} == known
        known = now
    text = prepare_command(command).finish()
    assert f"{len(shards):,} were finished before" in text
    assert {path: (tmp_path / STORE / path).stat().st_ino for path in known} == known
    assert_clean(tmp_path, same_files)


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_dozen_kills_of_the_driver_at_random_moments(
    tmp_path, job, command, eventually, same_files
):
    _, plan = job
    seed = 20
    rng = random.Random(seed)
    print(f"seed {seed}")
    whole = ledger_bytes(tmp_path, "whole.zarr.run")
    known: dict[int, int] = {}
    for seconds in sorted(rng.uniform(0, 2) for _ in range(4)):
        # While it starts: imports, survey, create, the first shards.
        run = prepare_command(command)
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.process.wait(seconds)
        assert run.process.poll() is None, run.finish()
        run.kill()
    for at in sorted(rng.randrange(whole) for _ in range(8)):
        run = prepare_command(command)
        eventually(
            lambda at=at, run=run: ledger_bytes(tmp_path) >= at or run.process.poll() is not None,
            f"the ledger has {at} bytes",
        )
        run.kill()
        now = finished(tmp_path)
        assert {shard: now[shard] for shard in known} == known
        known = now
    prepare_command(command).finish()
    now = finished(tmp_path)
    assert {shard: now[shard] for shard in known} == known
    assert len(now) == plan.n_shards
    assert_clean(tmp_path, same_files)


def test_kill_of_the_driver_while_it_finishes(tmp_path, job, command, eventually, same_files):
    _, plan = job
    for name in ("index", "images", "candidates"):
        run = prepare_command(command)
        eventually(
            lambda name=name, run=run: (
                (tmp_path / STORE / name).exists()
                or any((tmp_path / RUN / "tmp").glob(f"{name}-*"))
                or run.process.poll() is not None
            ),
            f"{name}/ is being made",
        )
        run.kill()
    text = prepare_command(command).finish()
    assert f"0 shards cut, {plan.n_shards:,} were finished before" in text
    assert_clean(tmp_path, same_files)


def test_kill_of_workers_in_the_middle(tmp_path, job, command, eventually, same_files, check_store):
    images, plan = job
    run = prepare_command(command)
    killed: set[int] = set()
    for size in (2_000, 10_000):
        eventually(lambda size=size: ledger_bytes(tmp_path) > size, "some shards are in the ledger")
        eventually(lambda: {w.pid for w in run.workers()} - killed, "there is a worker to kill")
        victim = next(w for w in run.workers() if w.pid not in killed)
        killed.add(victim.pid)
        victim.kill()
    text = run.finish()
    assert f"{plan.n_shards:,} shards cut, 0 were finished before" in text
    assert len(killed) == 2
    assert_clean(tmp_path, same_files)
    check_store(tmp_path / STORE, images, stride=(12, 12))


def test_every_worker_killed_at_once(tmp_path, job, command, eventually, same_files):
    run = prepare_command(command)
    eventually(lambda: ledger_bytes(tmp_path) > 5_000, "some shards are in the ledger")
    victims = run.workers()
    for victim in victims:
        victim.kill()
    run.finish()
    assert len(victims) >= 2
    assert_clean(tmp_path, same_files)
    assert open_store(tmp_path / STORE).is_complete


def test_ctrl_c_is_one_line_and_can_go_on(tmp_path, job, command, eventually, same_files):
    run = prepare_command(command)
    eventually(lambda: ledger_bytes(tmp_path) > 5_000, "some shards are in the ledger")
    run.process.send_signal(signal.SIGINT)
    text = run.finish(status=1)
    assert "Traceback" not in text
    before = finished(tmp_path)
    prepare_command(command).finish()
    now = finished(tmp_path)
    assert {shard: now[shard] for shard in before} == before
    assert_clean(tmp_path, same_files)
