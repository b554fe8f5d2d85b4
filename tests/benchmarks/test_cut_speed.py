"""The cutting stage against a bare two-process loop of the same kernels, and its memory."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile

from patchmill.cluster import local_cluster
from patchmill.tasks.records import record_dtype
from patchmill.workflows import Recipe, plan
from patchmill.workflows.create import create_store
from patchmill.workflows.cut import Cutting
from patchmill.workflows.ledger import Ledger
from patchmill.workflows.progress import Silent
from patchmill.workflows.run_folder import RunFolder, run_folder_of

pytestmark = pytest.mark.benchmark

ROUNDS = 5
BARE_LOOP = Path(__file__).with_name("bare_loop.py")


def noise(shape: tuple[int, int]) -> np.ndarray:
    """Camera counts: Poisson noise on an offset."""
    rng = np.random.default_rng(0)
    return (rng.poisson(200, shape) + 100).astype(np.uint16)


@pytest.fixture(scope="module")
def fields(tmp_path_factory) -> Path:
    """48 strip TIFFs of 2700 x 3600, twice: raw and zlib."""
    folder = tmp_path_factory.mktemp("fields")
    base = noise((2700, 3600))
    for number in range(48):
        pixels = np.roll(base, 17 * number)
        for kind, compression in (("raw", None), ("zlib", "zlib")):
            path = folder / f"{kind}{number:02d}.tif"
            tifffile.imwrite(path, pixels, rowsperstrip=64, compression=compression)
    return folder


@pytest.fixture(scope="module")
def slide(tmp_path_factory) -> Path:
    """One tiled BigTIFF of 18432 x 20480, twice: raw and zlib."""
    folder = tmp_path_factory.mktemp("slide")
    pixels = np.tile(noise((2304, 2560)), (8, 8))
    for kind, compression in (("raw", None), ("zlib", "zlib")):
        path = folder / f"{kind}.tif"
        tifffile.imwrite(path, pixels, bigtiff=True, tile=(512, 512), compression=compression)
    return folder


def cut_once(planned, run: RunFolder, client) -> float:
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


def loop_once(out: Path, files: list[Path]) -> float:
    """Return the seconds of the slower one of two bare processes."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    started = [
        subprocess.Popen(
            [sys.executable, BARE_LOOP, out, str(part), "2", *files],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for part in range(2)
    ]
    for process in started:
        assert process.stdout.readline() == "ready\n"
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    return max(float(process.communicate()[0]) for process in started)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["raw", "zlib"])
@pytest.mark.parametrize("what", ["fields", "slide"])
def test_cutting_reaches_most_of_a_bare_loop(what, kind, request, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATCHMILL_CACHE", str(tmp_path / "cache"))
    folder = request.getfixturevalue(what)
    recipe = {"images": {"paths": f"{kind}*.tif"}, "patches": {"size": 256}}
    run = run_folder_of(tmp_path / "bench.zarr")
    files = sorted(folder.glob(f"{kind}*.tif"))
    ours, bare = [], []
    with local_cluster(workers=2) as client:
        planned = plan(Recipe.from_dict(recipe, folder))
        cut_once(planned, run, client)  # both sides with warm imports and a warm page cache
        loop_once(tmp_path / "bare", files)
        for _ in range(ROUNDS):
            ours.append(cut_once(planned, run, client))
            bare.append(loop_once(tmp_path / "bare", files))
    ratio = min(bare) / min(ours)
    rate = len(planned.rows) / min(ours)
    with capsys.disabled():
        print(
            f"\n{what} {kind}: {rate:,.0f} patches/s, {ratio:.2f} of the bare loop "
            f"(rounds: {', '.join(f'{b / o:.2f}' for b, o in zip(bare, ours, strict=True))})"
        )
    assert ratio >= 0.7


@pytest.mark.timeout(900)
def test_memory_of_a_worker_does_not_grow_with_the_image(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATCHMILL_CACHE", str(tmp_path / "cache"))
    tile = noise((512, 512))
    peaks = []
    for name, shape in (("one", (18432, 20480)), ("four", (36864, 40960))):
        count = shape[0] * shape[1] // tile.size
        tifffile.imwrite(
            tmp_path / f"{name}.tif",
            (tile for _ in range(count)),
            shape=shape,
            dtype=tile.dtype,
            bigtiff=True,
            tile=(512, 512),
            compression="zlib",
        )
        recipe = {"images": {"paths": f"{name}.tif"}, "patches": {"size": 256}}
        run = run_folder_of(tmp_path / f"{name}.zarr")
        with local_cluster(workers=2) as client:
            client.run(__import__, "patchmill.tasks.cut")
            pids = client.run(lambda: __import__("os").getpid()).values()
            base = max(_peak_bytes(pid) for pid in pids)
            planned = plan(Recipe.from_dict(recipe, tmp_path))
            cut_once(planned, run, client)
            peaks.append(max(_peak_bytes(pid) for pid in pids) - base)
        shutil.rmtree(run.store.path)
    with capsys.disabled():
        mega = [f"{peak / 1e6:.0f} MB" for peak in peaks]
        print(
            f"\npeak above imports: {mega[0]}, four times the image {mega[1]}, "
            f"predicted {planned.cost.peak_bytes / 1e6:.0f} MB"
        )
    assert peaks[0] < 400e6
    assert peaks[1] < 1.1 * peaks[0]


def _peak_bytes(pid: int) -> int:
    """Return the most memory that a process has held: VmHWM."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the peak of another process is known on Linux alone")
    assert psutil.pid_exists(pid)
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")
