"""A table of flattened images: the whole command against the plain way, and what a row costs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from patchmill.cluster import local_cluster
from patchmill.reader import open_store
from patchmill.tasks.image import ImageOptions
from patchmill.tasks.table import open_table
from patchmill.workflows import Recipe, prepare

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytestmark = pytest.mark.benchmark

ROWS, HEIGHT, WIDTH = 10_000, 137, 236
ROUNDS = 3
BARE_TABLE = Path(__file__).with_name("bare_table.py")


def row_of(base: np.ndarray, number: int) -> np.ndarray:
    """Return the pixels of a row: `columns` says which."""
    return np.array([base[(number - 37 * n) % ROWS] for n in range(HEIGHT * WIDTH)])


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    """Camera counts of one pixel in all images."""
    rng = np.random.default_rng(0)
    return np.clip(rng.normal(120, 25, ROWS), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def table(tmp_path_factory, noise) -> Path:
    """10,000 images in one row group, as pandas writes it: a column for each pixel."""
    path = tmp_path_factory.mktemp("table") / "t.parquet"
    columns = {str(n): np.roll(noise, 37 * n) for n in range(HEIGHT * WIDTH)}
    ids = {"image_id": [f"image{n}" for n in range(ROWS)]}
    pq.write_table(pa.table(ids | columns), path)
    return path


def bare(table: Path, out: Path) -> float:
    command = [sys.executable, BARE_TABLE, table, out, HEIGHT, WIDTH, 2]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def ours(table: Path, store: Path, cache: Path, client) -> float:
    """Survey, plan, cut, finish: nothing of an earlier run is kept."""
    for folder in (store, store.with_name(f"{store.name}.run"), cache):
        shutil.rmtree(folder, ignore_errors=True)
    recipe = {
        "images": {"paths": table.name, "table": {"size": [HEIGHT, WIDTH], "id": "image_id"}},
        "patches": {"size": [HEIGHT, WIDTH]},
    }
    began = time.perf_counter()
    prepare(Recipe.from_dict(recipe, table.parent), store, client=client)
    return time.perf_counter() - began


@pytest.mark.timeout(900)
def test_a_table_is_milled_faster_than_the_plain_way(table, noise, tmp_path, monkeypatch, capsys):
    cache, store, pictures = tmp_path / "cache", tmp_path / "bench.zarr", tmp_path / "bench.zip"
    monkeypatch.setenv("PATCHMILL_CACHE", str(cache))
    times: list[tuple[float, float]] = []
    with local_cluster(workers=2) as client:
        for _ in range(ROUNDS):
            plain = bare(table, pictures)
            times.append((plain, ours(table, store, cache, client)))
    expected = row_of(noise, 1234).reshape(HEIGHT, WIDTH)
    with zipfile.ZipFile(pictures) as zipped:
        assert len(zipped.namelist()) == ROWS
        png = np.frombuffer(zipped.read("image1234.png"), np.uint8)
    assert np.array_equal(cv2.imdecode(png, cv2.IMREAD_UNCHANGED), expected)
    assert any(np.array_equal(sample, [expected]) for sample in images_of(store))
    plain, milled = (min(column) for column in zip(*times, strict=True))
    with capsys.disabled():
        print(
            f"\ntable: {ROWS / milled:,.0f} images/s, {plain / milled:.1f} times the plain way's "
            f"{ROWS / plain:,.0f} (rounds: {', '.join(f'{p / o:.1f}' for p, o in times)})"
        )
    assert plain / milled >= 3


def images_of(path: Path) -> Iterator[np.ndarray]:
    store = open_store(path)
    assert len(store) == ROWS
    for number in range(ROWS):
        yield store[number]["image"]


@pytest.mark.timeout(900)
def test_a_row_costs_little(table, capsys):
    image = open_table(str(table), ImageOptions(table_size=(HEIGHT, WIDTH)))
    whole = slice(0, HEIGHT), slice(0, WIDTH)
    began = time.perf_counter()
    image.read(0, (slice(0, 1), *whole))
    first = time.perf_counter() - began
    began = time.perf_counter()
    for number in range(ROWS):
        image.read(0, (slice(number, number + 1), *whole))
    each = (time.perf_counter() - began) / ROWS
    image.close()
    with capsys.disabled():
        rate = ROWS * HEIGHT * WIDTH / first / 1e6
        print(f"\nrow group: {first:.1f} s ({rate:.0f} MB/s), then {each * 1e6:.0f} µs an image")
    assert each < 200e-6
