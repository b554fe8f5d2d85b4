"""Characters from a table, cropped to their content: two workers against one, and the plain way."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from patchmill.cluster import local_cluster
from patchmill.reader import open_store
from patchmill.workflows import Recipe, prepare

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytestmark = pytest.mark.benchmark

ROWS, HEIGHT, WIDTH, SIDE = 4_000, 137, 236, 128
#: As tables of many images come: a worker decodes a whole group to read a row of it.
ROWS_PER_GROUP = 2000
ROUNDS = 1
BARE = Path(__file__).with_name("bare_characters.py")
CROP = {
    "name": "crop_to_content",
    "size": SIDE,
    "threshold": 80,
    "ignore_edge_px": 5,
    "margin_px": [[15, 4], [18, 7]],
    "noise": 28,
    "pad_px": 16,
    "interpolation": "linear",
}


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """Dark strokes on bright, noisy paper: a column for each pixel."""
    rng = np.random.default_rng(0)
    paper = rng.integers(215, 256, HEIGHT * WIDTH + ROWS, np.uint8)
    rows = np.empty((ROWS, HEIGHT, WIDTH), np.uint8)
    for number, row in enumerate(rows):
        row[:] = paper[number : number + row.size].reshape(row.shape)
        points = rng.integers((8, 8), (WIDTH - 8, HEIGHT - 8), (4, 2)).reshape(-1, 1, 2)
        cv2.polylines(row, [points.astype(np.int32)], False, int(rng.integers(0, 90)), 5)
    pixels = np.ascontiguousarray(rows.reshape(ROWS, -1).T)
    ids = {"image_id": [f"c{number:05}" for number in range(ROWS)]}
    columns = {str(number): column for number, column in enumerate(pixels)}
    path = tmp_path_factory.mktemp("table") / "t.parquet"
    pq.write_table(pa.table(ids | columns), path, row_group_size=ROWS_PER_GROUP)
    return path


def bare(table: Path, out: Path) -> float:
    command = [sys.executable, BARE, table, out, HEIGHT, WIDTH, SIDE]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def ours(table: Path, store: Path, cache: Path, workers: int) -> float:
    """Survey, plan, cut, finish; the cluster is there before, and nothing else is."""
    for folder in (store, store.with_name(f"{store.name}.run"), cache):
        shutil.rmtree(folder, ignore_errors=True)
    tables = {
        "images": {"paths": table.name, "table": {"size": [HEIGHT, WIDTH], "id": "image_id"}},
        "patches": {"size": [HEIGHT, WIDTH]},
        "steps": [{"name": "invert"}, {"name": "max", "scope": "patch"}, CROP],
        "store": {"shard_bytes": 1000 * SIDE * SIDE},
    }
    recipe = Recipe.from_dict(tables, table.parent)
    with local_cluster(workers=workers, threads=1) as client:
        began = time.perf_counter()
        prepare(recipe, store, client=client)
        return time.perf_counter() - began


@pytest.mark.timeout(1200)
def test_two_cores_crop_nearly_twice_as_fast_as_one(table, tmp_path, monkeypatch, capsys):
    cache, store, plain_out = tmp_path / "cache", tmp_path / "bench.zarr", tmp_path / "bare.npy"
    monkeypatch.setenv("PATCHMILL_CACHE", str(cache))
    times = [
        (bare(table, plain_out), ours(table, store, cache, 1), ours(table, store, cache, 2))
        for _ in range(ROUNDS)
    ]
    made = open_store(store)
    expected = np.load(plain_out)
    for row in range(0, ROWS, 997):
        number = int(made.images["id"][made.index["image"][row]].rpartition("#c")[2])
        np.testing.assert_array_equal(made[row]["image"][0], expected[number])
    plain, one, two = (min(column) for column in zip(*times, strict=True))
    with capsys.disabled():
        print(
            f"\ncontent: {ROWS / two:,.0f} images/s, {one / two:.2f} times one worker's "
            f"{ROWS / one:,.0f} and {plain / two:.2f} times the plain way's {ROWS / plain:,.0f} "
            f"(rounds: {', '.join(f'{o / t:.2f}' for _, o, t in times)})"
        )
    assert one / two >= 1.8
