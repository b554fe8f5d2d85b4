"""A slide of 100,000 x 100,000 pixels and a table of 50,000 images, in bounded memory."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile
from distributed import Client

from patchmill.cluster import local_cluster
from patchmill.workflows import Recipe, prepare
from patchmill.workflows.planning import Plan, plan

pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux for the peak"),
]
TILE = 512


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process has held: VmHWM."""
    assert psutil.pid_exists(pid)
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def write_slide(path: Path, side: int) -> None:
    """Write a tiled slide of which one tile in a hundred holds pixels, so that it stays small."""
    tile = (np.random.default_rng(0).poisson(200, (TILE, TILE)) + 100).astype(np.uint16)

    def tiles() -> Iterator[np.ndarray | None]:
        yield tile  # tifffile takes the type from the first
        for number in range(1, (side // TILE) ** 2):
            yield tile if number % 101 == 0 else None

    options = {"tile": (TILE, TILE), "compression": "zlib", "bigtiff": True, "metadata": None}
    tifffile.imwrite(path, tiles(), shape=(side, side), dtype=tile.dtype, **options)


def mill(recipe: Recipe, store: Path, client: Client) -> tuple[Plan, float, dict[int, int]]:
    """Return the plan, the seconds of the whole run, and what each worker held at most."""
    pids = client.run(lambda: __import__("os").getpid()).values()
    began = time.perf_counter()
    outcome = prepare(recipe, store, client=client)
    seconds = time.perf_counter() - began
    return outcome.plan, seconds, {pid: peak_bytes(pid) for pid in pids}


def test_a_region_of_a_huge_slide_costs_what_the_region_costs(tmp_path, monkeypatch, capsys):
    """The same 2,500 patches, of a small slide and spread over one of 10^10 pixels."""
    monkeypatch.setenv("PATCHMILL_CACHE", str(tmp_path / "cache"))
    found = {}
    for name, side, stride in (("small", 12_800, 256), ("huge", 100_352, 2048)):
        write_slide(tmp_path / f"{name}.tif", side)
        recipe = Recipe.from_dict(
            {
                "images": {"paths": f"{name}.tif"},
                "patches": {"size": 256, "stride": stride, "allow_gaps": True},
            },
            tmp_path,
        )
        with local_cluster(workers=2, dashboard="127.0.0.1:0") as client:
            planned, seconds, peaks = mill(recipe, tmp_path / f"{name}.zarr", client)
        found[name] = (len(planned.rows) / seconds, max(peaks.values()))
        with capsys.disabled():
            cost = planned.cost
            print(
                f"\n{name} slide, {side} x {side}: {len(planned.rows):,} patches, "
                f"{found[name][0]:,.0f} a second, a worker held {found[name][1] / 1e6:.0f} MB, "
                f"predicted {cost.peak_bytes / 1e6:.0f} MB above its imports; "
                f"decoded / needed {cost.decoded_bytes / cost.needed_bytes:.2f}"
            )
    assert found["huge"][1] < 1.25 * found["small"][1]


def test_the_plan_of_a_huge_slide(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATCHMILL_CACHE", str(tmp_path / "cache"))
    write_slide(tmp_path / "huge.tif", 100_352)
    recipe = {"images": {"paths": "huge.tif"}, "patches": {"size": 256}}
    before, began = psutil.Process().memory_info().rss, time.perf_counter()
    planned = plan(Recipe.from_dict(recipe, tmp_path))
    seconds = time.perf_counter() - began
    grown = psutil.Process().memory_info().rss - before
    ratio = planned.cost.decoded_bytes / planned.cost.needed_bytes
    with capsys.disabled():
        print(
            f"\n{len(planned.rows):,} patches planned in {seconds:.1f} s, the cluster's start "
            f"included; {grown / 1e6:.0f} MB; decoded / needed {ratio:.2f}"
        )
    assert ratio < 1.5


def test_a_table_of_fifty_thousand_images(tmp_path, monkeypatch, capsys):
    """One row group, as pandas writes it: 1.6 GB when decoded."""
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    rows, height, width = 50_000, 137, 236
    base = np.random.default_rng(0).integers(0, 60, rows, dtype=np.uint8)
    columns = {str(n): np.roll(base, 37 * n) for n in range(height * width)}
    names = {"image_id": [f"image{n}" for n in range(rows)]}
    pq.write_table(pa.table(names | columns), tmp_path / "t.parquet")
    del columns
    monkeypatch.setenv("PATCHMILL_CACHE", str(tmp_path / "cache"))
    recipe = Recipe.from_dict(
        {
            "images": {"paths": "t.parquet", "table": {"size": [height, width]}},
            "patches": {"size": [height, width]},
            "split": {"fractions": {"train": 0.8, "val": 0.2}},
        },
        tmp_path,
    )
    with local_cluster(workers=2, dashboard="127.0.0.1:0") as client:
        planned, seconds, peaks = mill(recipe, tmp_path / "t.zarr", client)
    held = max(peaks.values())
    with capsys.disabled():
        print(
            f"\n{rows:,} images in {seconds:.0f} s, {planned.n_shards} shards; a worker held "
            f"{held / 1e6:.0f} MB, predicted {planned.cost.peak_bytes / 1e6:.0f} above its imports"
        )
    assert held < 1e9
