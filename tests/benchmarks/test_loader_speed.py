"""How fast the loader is, as ratios to zarr-python and tensorstore in one run.

4096 patches of 256 × 256 uint16 (Poisson noise on an offset, as a camera gives it, lz4), batches of
64, shuffled, warm cache, checksums verified, a consumer that only takes the batch. Each way runs
once per round, in turn, and its best round counts: what else the machine does then slows all alike.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from patchmill.reader import Store, open_store
from patchmill.reader.order import epoch_order

PATCHES, SIZE, BATCH, PER_SHARD = 4096, 256, 64, 512
ROUNDS = 7
#: zarr-python reads a few batches only: at its pace an epoch would take ten seconds.
ZARR_BATCHES = 4
TIMES_ZARR, TIMES_TENSORSTORE = 50, 1


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("speed") / "train.zarr"
    own = {
        "format": 1,
        "complete": True,
        "axes": ["c", "y", "x"],
        "channels": ["DAPI"],
        "fields": ["image"],
        "splits": {"train": [0, PATCHES]},
        "void": 0,
    }
    group = zarr.open_group(str(path), mode="w", attributes={"patchmill": own})
    blosc = BloscCodec(typesize=2, cname="lz4", clevel=5, shuffle="shuffle", blocksize=0)
    array = group.create_array(
        "image",
        shape=(PATCHES, 1, SIZE, SIZE),
        dtype=np.uint16,
        chunks=(1, 1, SIZE, SIZE),
        shards=(PER_SHARD, 1, SIZE, SIZE),
        compressors=[blosc, Crc32cCodec()],
        chunk_key_encoding={"name": "default", "separator": "."},
        dimension_names=["patch", "c", "y", "x"],
    )
    rng = np.random.default_rng(0)
    for start in range(0, PATCHES, PER_SHARD):
        array[start : start + PER_SHARD] = (
            rng.poisson(200, (PER_SHARD, 1, SIZE, SIZE)) + 100
        ).astype(np.uint16)
    return open_store(path)


def through_zarr(path: Path) -> Iterator[Any]:
    array = zarr.open_array(str(path / "image"), mode="r")
    order = epoch_order(PATCHES, 0, 0)
    for start in range(0, ZARR_BATCHES * BATCH, BATCH):
        yield array.oindex[order[start : start + BATCH]]


def through_tensorstore(path: Path, ahead: int = 2) -> Iterator[Any]:
    import tensorstore

    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path / "image")}}
    array = tensorstore.open(spec).result()
    order = epoch_order(PATCHES, 0, 0)
    waiting: deque[Any] = deque()
    for start in range(0, PATCHES, BATCH):
        waiting.append(array[order[start : start + BATCH]].read())
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def rate(batches: Iterator[Any]) -> float:
    """Return patches a second over an iterator of batches."""
    start = time.perf_counter()
    count = sum(BATCH for _ in batches)
    return count / (time.perf_counter() - start)


@pytest.mark.benchmark
@pytest.mark.timeout(600)
def test_loader_against_zarr_and_tensorstore(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    unverified = open_store(store.path, verify=False)
    loaders = {
        f"patchmill, {threads} thread{'s' * (threads > 1)}{note}": opened.loader(
            BATCH, shuffle=True, num_workers=threads
        )
        for opened, note in ((store, ""), (unverified, ", not verified"))
        for threads in (1, 2)
    }
    ways: dict[str, Callable[[], Iterator[Any]]] = {
        "zarr, orthogonal index": lambda: through_zarr(store.path),
        "tensorstore, 1 batch ahead": lambda: through_tensorstore(store.path, 1),
        "tensorstore, 2 batches ahead": lambda: through_tensorstore(store.path, 2),
        **{name: loader.__iter__ for name, loader in loaders.items()},
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            rates[name].append(rate(way()))
    best = {name: max(values) for name, values in rates.items()}

    slow, peer = best["zarr, orthogonal index"], best["tensorstore, 2 batches ahead"]
    ours = best["patchmill, 1 thread"]
    with capsys.disabled():
        print(f"\n{'way':40} {'best/s':>9} {'median/s':>9} {'× zarr':>7} {'× tensorstore':>14}")
        for name, value in best.items():
            median = float(np.median(rates[name]))
            print(
                f"{name:40} {value:9,.0f} {median:9,.0f} {value / slow:7.1f} {value / peer:14.2f}"
            )
    assert ours / slow >= TIMES_ZARR
    assert ours / peer >= TIMES_TENSORSTORE


@pytest.mark.benchmark
def test_what_is_timed_is_right(store: Store) -> None:
    """All three ways give the same pixels."""
    order = epoch_order(PATCHES, 0, 0)[:BATCH]
    mine = next(iter(store.loader(BATCH, shuffle=True)))
    np.testing.assert_array_equal(mine["index"], order)
    np.testing.assert_array_equal(mine["image"], next(through_zarr(store.path)))
    np.testing.assert_array_equal(mine["image"], next(through_tensorstore(store.path)))
