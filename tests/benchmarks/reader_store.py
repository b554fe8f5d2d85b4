"""Stores for the reader's benchmarks, and the ways to read them that it is measured against."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from bare_reader import Shards
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec

from patchmill.reader.order import epoch_order


@dataclass(frozen=True)
class Case:
    """A store of Poisson noise on an offset, as a camera gives it, and how it is read."""

    path: Path
    patches: int
    size: int
    batch: int
    is_compressed: bool = True

    @property
    def per_shard(self) -> int:
        """Patches in one of the eight shards."""
        return self.patches // 8

    @property
    def order(self) -> NDArray[np.int64]:
        """A shuffled order of all patches."""
        return epoch_order(self.patches, 0, 0)

    @property
    def shards(self) -> Shards:
        """What the bare loops read."""
        nbytes = self.size * self.size * 2
        return Shards(self.path / "image", self.per_shard, nbytes, self.is_compressed)

    def arguments(self) -> list[object]:
        """Return what a bare process must know."""
        order = self.path.parent / "order.npy"
        np.save(order, self.order)
        shards = self.shards
        numbers = [self.batch, self.per_shard, shards.patch_nbytes, int(self.is_compressed)]
        return [self.path / "image", order, *numbers]


def write(case: Case) -> Case:
    """Write a case's store."""
    own = {
        "format": 1,
        "complete": True,
        "axes": ["c", "y", "x"],
        "channels": ["DAPI"],
        "fields": ["image"],
        "splits": {"train": [0, case.patches]},
        "void": 0,
    }
    group = zarr.open_group(str(case.path), mode="w", attributes={"patchmill": own})
    blosc = BloscCodec(typesize=2, cname="lz4", clevel=5, shuffle="shuffle", blocksize=0)
    array = group.create_array(
        "image",
        shape=(case.patches, 1, case.size, case.size),
        dtype=np.uint16,
        chunks=(1, 1, case.size, case.size),
        shards=(case.per_shard, 1, case.size, case.size),
        compressors=[blosc, Crc32cCodec()] if case.is_compressed else [Crc32cCodec()],
        chunk_key_encoding={"name": "default", "separator": "."},
        dimension_names=["patch", "c", "y", "x"],
    )
    for start in range(0, case.patches, case.per_shard):
        array[start : start + case.per_shard] = noise(case.per_shard, case.size, start)
    return case


def noise(count: int, size: int, seed: int) -> NDArray[np.uint16]:
    """Return patches, shape (count, 1, size, size)."""
    rng = np.random.default_rng(seed)
    return (rng.poisson(200, (count, 1, size, size)) + 100).astype(np.uint16)


def through_zarr(case: Case, batches: int) -> Iterator[Any]:
    """Yield the first batches by zarr-python's orthogonal index."""
    array = zarr.open_array(str(case.path / "image"), mode="r")
    for start in range(0, batches * case.batch, case.batch):
        yield array.oindex[case.order[start : start + case.batch]]


def through_data_loader(case: Case, batches: int) -> Iterator[Any]:
    """Yield the first batches by PyTorch's DataLoader over zarr-python, sample by sample."""
    data = pytest.importorskip("torch.utils.data")

    array = zarr.open_array(str(case.path / "image"), mode="r")

    class Patches(data.Dataset):  # type: ignore[misc, name-defined]
        def __len__(self) -> int:
            return case.patches

        def __getitem__(self, number: int) -> Any:
            return array[number]

    order = case.order[: batches * case.batch].tolist()
    for batch in data.DataLoader(
        Patches(),
        case.batch,
        sampler=order,
    ):
        yield batch.numpy()


def through_tensorstore(case: Case, ahead: int = 2) -> Iterator[Any]:
    """Yield an epoch by tensorstore's index arrays, some batches ahead."""
    import tensorstore

    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(case.path / "image")}}
    array = tensorstore.open(spec).result()
    order = case.order
    waiting: deque[Any] = deque()
    for start in range(0, case.patches, case.batch):
        waiting.append(array[order[start : start + case.batch]].read())
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def touch(batch: NDArray[Any]) -> None:
    """Look at one pixel of each 4 kB page of a batch, as little as a consumer can."""
    batch.reshape(-1).view(np.uint8)[::4096].max()


def copier(case: Case) -> Callable[[NDArray[Any]], None]:
    """Return a consumer that copies a batch into a float32 buffer, as a training step begins."""
    buffer = np.zeros((case.batch, 1, case.size, case.size), np.float32)

    def copy(batch: NDArray[Any]) -> None:
        np.copyto(buffer, batch.view(np.uint16).reshape(buffer.shape), casting="unsafe")

    return copy


def best_rates(
    ways: dict[str, Callable[[], Iterator[Any]]],
    consume: Callable[[Any], None],
    batch: int,
    rounds: int,
) -> dict[str, float]:
    """Run each way once a round, in turn, and return its best patches a second.

    What else the machine does slows all alike, and the best round is the least disturbed.
    """
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            count = 0
            for each in way():
                consume(each["image"] if isinstance(each, dict) else each)
                count += batch
            rates[name].append(count / (time.perf_counter() - start))
    return {name: max(values) for name, values in rates.items()}


def table(title: str, rates: dict[str, float], **against: str) -> str:
    """Return rates and their ratios to some of them, as text."""
    head = f"\n{title:44} {'patches/s':>11}" + "".join(f" {'× ' + name:>14}" for name in against)
    lines = [head]
    for name, rate in rates.items():
        ratios = "".join(f" {rate / rates[other]:14.2f}" for other in against.values())
        lines.append(f"{name:44} {rate:11,.0f}{ratios}")
    return "\n".join(lines)
