"""How soon the first batch is there, and what opening ten million patches takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import zarr

sys.path.insert(0, str(Path(__file__).parent))

from reader_store import Case, write

#: Run in a fresh process: what is measured begins once everything is imported.
MEASURE = """
import json, sys, time
from pathlib import Path
from patchmill.reader import open_store
from patchmill.reader.loader import Loader

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024

path, backend = sys.argv[1:]
before, start = peak(), time.perf_counter()
store = open_store(path)
view = store.select(split="train")
opened = time.perf_counter()
found = {"open_s": opened - start, "open_MB": peak() - before, "patches": len(view)}
if backend != "none":
    batch = next(iter(view.loader(64, shuffle=True, num_workers=2, backend=backend)))
    found["first_batch_s"] = time.perf_counter() - start
print(json.dumps(found))
"""


def measured(path: Path, backend: str) -> dict[str, Any]:
    command = [sys.executable, "-c", MEASURE, str(path), backend]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.benchmark
@pytest.mark.parametrize("backend", ["thread", "process"])
def test_the_first_batch(tmp_path: Path, capsys: pytest.CaptureFixture[str], backend: str) -> None:
    case = write(Case(tmp_path / "train.zarr", 512, 256, 64))
    best = min(measured(case.path, backend)["first_batch_s"] for _ in range(5))
    with capsys.disabled():
        print(f"\nfirst batch of 64, {backend}: {1000 * best:.0f} ms after opening began")
    assert best < 0.5


@pytest.mark.benchmark
def test_ten_million_patches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = 10_000_000
    own = {
        "format": 1,
        "complete": True,
        "axes": ["c", "y", "x"],
        "channels": ["DAPI"],
        "fields": ["image"],
        "splits": {"train": [0, rows]},
        "void": 0,
    }
    group = zarr.open_group(str(tmp_path / "train.zarr"), mode="w", attributes={"patchmill": own})
    group.create_array(
        "image",
        shape=(rows, 1, 64, 64),
        dtype="uint16",
        chunks=(1, 1, 64, 64),
        shards=(8192, 1, 64, 64),
        compressors=[
            zarr.codecs.BloscCodec(typesize=2, cname="lz4", clevel=5, shuffle="shuffle"),
            zarr.codecs.Crc32cCodec(),
        ],
        chunk_key_encoding={"name": "default", "separator": "."},
    )
    index = group.create_group("index")
    for name in ("image", "z", "y", "x", "mean_DAPI", "std_DAPI"):
        index.create_array(name, shape=(rows,), dtype="int64", chunks=(1 << 20,))[:] = 7
    found = [measured(tmp_path / "train.zarr", "none") for _ in range(5)]
    seconds, megabytes = (min(each[key] for each in found) for key in ("open_s", "open_MB"))
    with capsys.disabled():
        print(f"\nopening {rows:,} patches: {1000 * seconds:.0f} ms, {megabytes:.0f} MB")
    assert found[0]["patches"] == rows
    assert megabytes < 200
