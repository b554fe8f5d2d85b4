"""How fast loaders are, as ratios to bare loops and to what else reads such data, in one run.

4096 patches of 256 × 256 uint16 (lz4 or not compressed) and 65,536 of 64 × 64, shuffled, warm
cache, checksums verified, with a consumer that only touches the batch and one that copies it to
float32.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the bare loops, also for their processes

from bare_reader import TwoProcesses, by_threads
from reader_store import (
    Case,
    best_rates,
    copier,
    noise,
    table,
    through_data_loader,
    through_tensorstore,
    through_zarr,
    touch,
    write,
)

from patchmill.reader import open_store

ROUNDS = 7
CONSUMERS = ("touch", "copy")
LIMIT_2P, LIMIT_2T = "limit: bare loop, 2 processes", "limit: bare loop, 2 threads"
TENSORSTORE = "tensorstore, 2 batches ahead"
PROCESSES, THREADS = "patchmill, 2 processes", "patchmill, 2 threads"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("speed")


@pytest.fixture(scope="module")
def large(folder: Path) -> Case:
    return write(Case(folder / "large/train.zarr", 4096, 256, 64))


@pytest.fixture(scope="module")
def plain(folder: Path) -> Case:
    return write(Case(folder / "plain/train.zarr", 4096, 256, 64, is_compressed=False))


@pytest.fixture(scope="module")
def small(folder: Path) -> Case:
    return write(Case(folder / "small/train.zarr", 65536, 64, 1024))


def loaders(case: Case) -> dict[str, Callable[[], Iterator[Any]]]:
    store = open_store(case.path)
    return {
        name: store.loader(
            case.batch, shuffle=True, num_workers=num_workers, backend=backend
        ).__iter__
        for name, num_workers, backend in (
            ("patchmill, 1 thread", 1, "thread"),
            (THREADS, 2, "thread"),
            (PROCESSES, 2, "process"),
        )
    }


def consumer(case: Case, mode: str) -> Callable[[Any], None]:
    return touch if mode == "touch" else copier(case)


@pytest.mark.benchmark
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", CONSUMERS)
def test_compressed(large: Case, capsys: pytest.CaptureFixture[str], mode: str) -> None:
    two = TwoProcesses(large.arguments(), large.shards, large.batch)
    shards = large.shards
    ways = {
        LIMIT_2P: lambda: two.epoch(large.patches // large.batch),
        LIMIT_2T: lambda: by_threads(shards, large.order, large.batch),
        TENSORSTORE: lambda: through_tensorstore(large),
        "zarr, orthogonal index": lambda: through_zarr(large, 4),
        "DataLoader on zarr": lambda: through_data_loader(large, 4),
        **loaders(large),
    }
    rates = best_rates(ways, consumer(large, mode), large.batch, ROUNDS)
    two.close()
    with capsys.disabled():
        print(table(f"256 × 256, lz4, {mode}", rates, tensorstore=TENSORSTORE, limit=LIMIT_2P))
        print(f"threads / limit of 2 threads: {rates[THREADS] / rates[LIMIT_2T]:.2f}")
    assert rates[PROCESSES] > rates[TENSORSTORE]
    assert rates[THREADS] > 50 * rates["zarr, orthogonal index"]


@pytest.mark.benchmark
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", CONSUMERS)
def test_small_patches(small: Case, capsys: pytest.CaptureFixture[str], mode: str) -> None:
    two = TwoProcesses(small.arguments(), small.shards, small.batch)
    ways = {
        LIMIT_2P: lambda: two.epoch(small.patches // small.batch),
        TENSORSTORE: lambda: through_tensorstore(small),
        **loaders(small),
    }
    rates = best_rates(ways, consumer(small, mode), small.batch, ROUNDS)
    two.close()
    with capsys.disabled():
        print(table(f"64 × 64, lz4, {mode}", rates, tensorstore=TENSORSTORE, limit=LIMIT_2P))
    assert rates[PROCESSES] > rates[TENSORSTORE]


@pytest.mark.benchmark
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", CONSUMERS)
def test_uncompressed(plain: Case, capsys: pytest.CaptureFixture[str], mode: str) -> None:
    torch_data = pytest.importorskip("torch.utils.data")
    file = plain.path.parent / "patches.npy"
    if not file.exists():
        np.save(file, np.concatenate([noise(512, 256, start) for start in range(0, 4096, 512)]))
    mapped = np.load(file, mmap_mode="r")
    buffer = np.zeros((plain.batch, 1, 256, 256), np.uint16)

    class Patches(torch_data.Dataset):  # type: ignore[misc, name-defined]
        def __len__(self) -> int:
            return len(mapped)

        def __getitem__(self, number: int) -> Any:
            return mapped[number].copy()

    class Batches(Patches):
        def __getitems__(self, numbers: list[int]) -> Any:
            return mapped[numbers]

    def take() -> Iterator[Any]:
        order = plain.order
        for start in range(0, plain.patches, plain.batch):
            rows = order[start : start + plain.batch]
            yield np.take(mapped, rows, axis=0, out=buffer, mode="clip")

    def data_loader(dataset: Any, num_workers: int) -> Iterator[Any]:
        collate = (lambda batch: batch) if isinstance(dataset, Batches) else None
        for each in torch_data.DataLoader(
            dataset, plain.batch, shuffle=True, num_workers=num_workers, collate_fn=collate
        ):
            yield each if isinstance(each, np.ndarray) else each.numpy()

    gather = "limit: np.take from a memory map"
    best_torch = "DataLoader on np.load, whole batches"
    ways: dict[str, Callable[[], Iterator[Any]]] = {
        gather: take,
        best_torch: lambda: data_loader(Batches(), 0),
        "DataLoader on np.load, 0 workers": lambda: data_loader(Patches(), 0),
        "DataLoader on np.load, 2 workers": lambda: data_loader(Patches(), 2),
        TENSORSTORE: lambda: through_tensorstore(plain),
        **loaders(plain),
    }
    rates = best_rates(ways, consumer(plain, mode), plain.batch, ROUNDS)
    with capsys.disabled():
        print(table(f"256 × 256, not compressed, {mode}", rates, gather=gather, torch=best_torch))
    assert rates[PROCESSES] > rates["DataLoader on np.load, 2 workers"]


@pytest.mark.benchmark
@pytest.mark.timeout(600)
def test_a_transform_in_python_uses_the_second_core(
    large: Case, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import slow_transform

    view = open_store(large.path).view
    view.rows = range(512)
    ways = {
        f"{num_workers} {backend}": view.loader(
            16, num_workers=num_workers, backend=backend, transform=slow_transform.busy
        ).__iter__
        for num_workers, backend in ((1, "process"), (2, "process"), (1, "thread"), (2, "thread"))
    }
    for way in ways.values():  # the workers start
        sum(1 for _ in way())
    rates = best_rates(ways, touch, 16, 3)
    with capsys.disabled():
        print(table("2 ms of Python a patch", rates, one="1 process"))
    assert rates["2 process"] > 1.2 * rates["1 process"]


@pytest.mark.benchmark
def test_what_is_timed_is_right(large: Case) -> None:
    """All ways give the same pixels."""
    order = large.order[: large.batch]
    two = TwoProcesses(large.arguments(), large.shards, large.batch)
    expected = next(through_zarr(large, 1))
    for way in loaders(large).values():
        batch = next(way())
        np.testing.assert_array_equal(batch["index"], order)
        np.testing.assert_array_equal(batch["image"], expected)
    np.testing.assert_array_equal(next(through_tensorstore(large)), expected)
    for bare in (by_threads(large.shards, large.order, large.batch), two.epoch(64)):
        got = next(bare).view(np.uint16).reshape(expected.shape)
        np.testing.assert_array_equal(got, expected)
    two.close()
