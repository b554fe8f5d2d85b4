"""What steps cost: cutting with typical chains of them, in times of cutting plain."""

from __future__ import annotations

import shutil
import time
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import tifffile

from patchmill.cluster import local_cluster
from patchmill.tasks.records import record_dtype
from patchmill.workflows import Recipe, plan
from patchmill.workflows.bound_steps import bind_steps
from patchmill.workflows.create import create_store
from patchmill.workflows.cut import Cutting
from patchmill.workflows.ledger import Ledger
from patchmill.workflows.progress import Silent
from patchmill.workflows.run_folder import RunFolder, run_folder_of

pytestmark = pytest.mark.benchmark

ROUNDS = 3
BACKGROUND = {"name": "background", "radius_px": 50}
#: A chain, and at most how many times the plain cut's seconds it may take.
CHAINS: dict[str, tuple[list[dict[str, Any]], float]] = {
    "constant": ([{"name": "background", "method": "constant", "value": 100}], 4),
    "hot pixels": ([{"name": "hot_pixels"}], 8),
    "gaussian 1.5": ([{"name": "gaussian", "sigma_px": 1.5}], 6),
    "median 3": ([{"name": "median", "size_px": 3}], 4),
    "opening 50": ([BACKGROUND | {"method": "opening"}], 10),
    "rolling ball 50": ([BACKGROUND | {"method": "rolling_ball"}], 20),
    "hot pixels, opening 50, gaussian 1": (
        [
            {"name": "hot_pixels"},
            BACKGROUND | {"method": "opening"},
            {"name": "gaussian", "sigma_px": 1},
        ],
        45,
    ),
}


def cut_once(planned: Any, run: RunFolder, client: Any) -> float:
    """Make the store anew and return the seconds that the cutting stage takes."""
    shutil.rmtree(run.store.path, ignore_errors=True)
    shutil.rmtree(run.path, ignore_errors=True)
    run.path.mkdir(parents=True)
    run.clear_tmp()
    create_store(planned, run)
    record = record_dtype(planned.patch.dtype, planned.patch.channels, ())
    with Ledger(run.ledger, record) as ledger:
        cutting = Cutting(planned, run, ledger, Silent())
        began = time.perf_counter()
        cutting.cut(client, cutting.unfinished())
        return time.perf_counter() - began


@pytest.mark.timeout(900)
def test_steps_cost_some_times_a_plain_cut(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATCHMILL_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    base = (rng.poisson(200, (2048, 2048)) + 100).astype(np.uint16)
    for number in range(12):
        pixels = np.roll(base, 17 * number)
        tifffile.imwrite(tmp_path / f"{number:02d}.tif", pixels, rowsperstrip=64)
    tables = {"images": {"paths": "*.tif"}, "patches": {"size": 256}}
    chains = {"plain": ([], 1.0), **CHAINS}
    seconds = {name: float("inf") for name in chains}
    with local_cluster(workers=2) as client:
        planned = {
            name: bind_steps(
                plan(Recipe.from_dict(tables | {"steps": steps}, tmp_path)),
                lambda: nullcontext(client),
            )
            for name, (steps, _) in chains.items()
        }
        run = run_folder_of(tmp_path / "bench.zarr")
        cut_once(planned["plain"], run, client)  # imports and the page cache
        for _ in range(ROUNDS):
            for name in chains:
                seconds[name] = min(seconds[name], cut_once(planned[name], run, client))
    patches = len(planned["plain"].rows)
    with capsys.disabled():
        for name in chains:
            rate, ratio = patches / seconds[name], seconds[name] / seconds["plain"]
            print(f"\n{name}: {rate:,.0f} patches/s, {ratio:.1f} times a plain cut", end="")
        print()
    for name, (_, most) in chains.items():
        assert seconds[name] <= most * seconds["plain"], name
