"""The limit that the reader is measured against: memory maps and blosc into re-used buffers.

No checks, no errors, no shapes: each patch is one slice and one decompression (or one copy). Two
threads, or two spawned processes that decode into a ring of shared memory and send only the numbers
of slots through a pipe. As a script it is one of those processes.
"""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numcodecs import blosc
from numpy.typing import NDArray

SLOTS = 6


class Shards:
    """The shards of a field, mapped, and where each patch lies in them."""

    def __init__(self, field: Path, per_shard: int, patch_nbytes: int, is_compressed: bool) -> None:
        self.per_shard = per_shard
        self.patch_nbytes = patch_nbytes
        self.is_compressed = is_compressed
        self.maps: list[NDArray[np.uint8]] = []
        self.entries: list[list[tuple[int, int]]] = []
        for number in range(len(list(field.glob("c.*")))):
            with (field / f"c.{number}.0.0.0").open("rb") as file:
                data = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
            index = data[-(16 * per_shard + 4) : -4].view("<u8").reshape(-1, 2).astype(np.int64)
            self.maps.append(data)
            # Without the crc32c behind each chunk.
            self.entries.append([(a, a + n - 4) for a, n in index.tolist()])

    def decode(self, rows: Sequence[int], out: NDArray[np.uint8]) -> None:
        """Put patches into the rows of an array (n, bytes)."""
        for target, row in zip(out, rows, strict=False):
            shard, slot = divmod(row, self.per_shard)
            start, stop = self.entries[shard][slot]
            source = self.maps[shard][start:stop]
            if self.is_compressed:
                blosc.decompress(source, target)
            else:
                target[:] = source


def by_threads(shards: Shards, order: NDArray[np.int64], batch: int) -> Iterator[Any]:
    """Yield batches, two threads two batches ahead."""
    buffers = deque(np.empty((batch, shards.patch_nbytes), np.uint8) for _ in range(SLOTS))
    for buffer in buffers:
        buffer[:] = 0
    waiting: deque[Future[Any]] = deque()

    def decode(start: int, buffer: NDArray[np.uint8]) -> NDArray[np.uint8]:
        shards.decode(order[start : start + batch].tolist(), buffer)
        return buffer

    with ThreadPoolExecutor(2) as executor:
        for start in range(0, len(order), batch):
            waiting.append(executor.submit(decode, start, buffers[0]))
            buffers.rotate(-1)
            if len(waiting) > 4:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class TwoProcesses:
    """Two spawned processes that decode into one ring of shared memory."""

    def __init__(self, arguments: Sequence[object], shards: Shards, batch: int) -> None:
        self.batch = batch
        size = SLOTS * batch * shards.patch_nbytes
        memory = os.memfd_create("ring")
        os.ftruncate(memory, size)
        ring = np.frombuffer(mmap.mmap(memory, size), np.uint8)
        self.slots = ring.reshape(SLOTS, batch, shards.patch_nbytes)
        self.slots[:] = 0
        self.processes = [
            subprocess.Popen(
                [sys.executable, __file__, str(memory), *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=[memory],
                bufsize=0,
            )
            for _ in range(2)
        ]
        os.close(memory)
        for process in self.processes:
            assert process.stdout is not None
            process.stdout.read(1)

    def epoch(self, batches: int) -> Iterator[Any]:
        """Yield batches; each process does every other, two ahead."""
        for number in range(4):
            self._ask(number)
        for number in range(batches):
            process = self.processes[number % 2]
            assert process.stdout is not None
            process.stdout.read(1)
            if number + 4 < batches:
                self._ask(number + 4)
            yield self.slots[number % SLOTS]

    def _ask(self, number: int) -> None:
        process = self.processes[number % 2]
        assert process.stdin is not None
        process.stdin.write(number.to_bytes(4, "little"))

    def close(self) -> None:
        """End the processes."""
        for process in self.processes:
            process.kill()
            process.communicate()


def _main(memory: int, field: str, order_file: str, *numbers: str) -> None:
    batch, per_shard, patch_nbytes, is_compressed = map(int, numbers)
    blosc.use_threads = False
    shards = Shards(Path(field), per_shard, patch_nbytes, bool(is_compressed))
    size = SLOTS * batch * patch_nbytes
    slots = np.frombuffer(mmap.mmap(memory, size), np.uint8).reshape(SLOTS, batch, patch_nbytes)
    order = np.load(order_file).tolist()
    os.write(1, b"!")
    while asked := os.read(0, 4):
        number = int.from_bytes(asked, "little")
        shards.decode(order[number * batch : (number + 1) * batch], slots[number % SLOTS])
        os.write(1, b"!")


if __name__ == "__main__":
    _main(int(sys.argv[1]), *sys.argv[2:])
