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
from patchmill.tasks.cut import ShardResult
from patchmill.workflows import Recipe, prepare
from patchmill.workflows.planned import Plan
from patchmill.workflows.progress import Silent

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytestmark = pytest.mark.benchmark

ROWS, HEIGHT, WIDTH, SIDE = 16_000, 137, 236, 128
#: A worker decodes a whole group to read a row of it, so a shard is one.
ROWS_PER_GROUP = 1000
ROUNDS = 3
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
    path = tmp_path_factory.mktemp("table") / "t.parquet"
    names = [str(pixel) for pixel in range(HEIGHT * WIDTH)]
    schema = pa.schema([("image_id", pa.string()), *((name, pa.uint8()) for name in names)])
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, ROWS, ROWS_PER_GROUP):
            rows = rng.integers(215, 256, (ROWS_PER_GROUP, HEIGHT, WIDTH), np.uint8)
            for row in rows:
                points = rng.integers((8, 8), (WIDTH - 8, HEIGHT - 8), (4, 2)).reshape(-1, 1, 2)
                cv2.polylines(row, [points.astype(np.int32)], False, int(rng.integers(0, 90)), 5)
            ids = [f"c{number:05}" for number in range(first, first + ROWS_PER_GROUP)]
            pixels = np.ascontiguousarray(rows.reshape(ROWS_PER_GROUP, -1).T)
            writer.write_table(pa.table([ids, *pixels], schema=schema))
    return path


def bare(table: Path, out: Path) -> float:
    command = [sys.executable, BARE, table, out, HEIGHT, WIDTH, SIDE]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


class Cutting(Silent):
    """Takes the time from the first shard that is asked for to the last one that is finished."""

    def begin(self, plan: Plan, kept: int) -> None:
        self.began = self.ended = time.perf_counter()

    def advance(self, result: ShardResult) -> None:
        self.ended = time.perf_counter()


def ours(table: Path, store: Path, cache: Path, workers: int) -> tuple[float, float]:
    """Return the seconds of everything (survey, plan, cut, finish), and those of the cut."""
    for folder in (store, store.with_name(f"{store.name}.run"), cache):
        shutil.rmtree(folder, ignore_errors=True)
    tables = {
        "images": {"paths": table.name, "table": {"size": [HEIGHT, WIDTH], "id": "image_id"}},
        "patches": {"size": [HEIGHT, WIDTH]},
        "steps": [{"name": "invert"}, {"name": "max", "scope": "patch"}, CROP],
        "store": {"shard_bytes": ROWS_PER_GROUP * SIDE * SIDE},
    }
    recipe = Recipe.from_dict(tables, table.parent)
    cutting = Cutting()
    with local_cluster(workers=workers, threads=1) as client:
        began = time.perf_counter()
        prepare(recipe, store, client=client, progress=lambda: cutting)
        return time.perf_counter() - began, cutting.ended - cutting.began


@pytest.mark.timeout(1200)
def test_two_cores_crop_nearly_twice_as_fast_as_one(table, tmp_path, monkeypatch, capsys):
    cache, store, plain_out = tmp_path / "cache", tmp_path / "bench.zarr", tmp_path / "bare.npy"
    monkeypatch.setenv("PATCHMILL_CACHE", str(cache))
    plain = bare(table, plain_out)
    times = [(*ours(table, store, cache, 1), *ours(table, store, cache, 2)) for _ in range(ROUNDS)]
    made = open_store(store)
    expected = np.load(plain_out)
    for row in range(0, ROWS, 997):
        number = int(made.images["id"][made.index["image"][row]].rpartition("#c")[2])
        np.testing.assert_array_equal(made[row]["image"][0], expected[number])
    one, one_cut, two, two_cut = (min(column) for column in zip(*times, strict=True))
    with capsys.disabled():
        print(
            f"\ncontent: two workers cut {ROWS / two_cut:,.0f} images/s, {one_cut / two_cut:.2f} "
            f"times one worker's {ROWS / one_cut:,.0f} (all of the run: {one / two:.2f} times, "
            f"{plain / two:.1f} times the plain way's {ROWS / plain:,.0f}; rounds: "
            f"{', '.join(f'{row[1] / row[3]:.2f}' for row in times)})"
        )
    assert one_cut / two_cut >= 1.8
