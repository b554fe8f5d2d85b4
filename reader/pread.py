"""Shards read with `pread`: for file systems where a memory map is slow, or can crash.

Where another host truncates a mapped file, the next touch of the map ends the process (SIGBUS);
a read ends early, which is an error that names the patch.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .format import CHECKSUM_BYTES, index_nbytes, unpack_index
from .shards import Scratch, ShardError, half_of_descriptors

#: Each keeps its index in memory, 16 bytes a row.
MOST_FILES = 1024


class FileShard:
    """A descriptor of a shard file and its index; see `shards.Shard` for what it does."""

    __slots__ = ("_file", "_index", "index_start")

    def __init__(self, file: int, index: NDArray[np.uint64], index_start: int) -> None:
        self.index_start = index_start
        self._index = index
        self._file = file

    def __del__(self, close: Any = os.close) -> None:
        close(self._file)

    def entries(self, slots: NDArray[np.int64]) -> list[list[int]]:
        """Return offset and nbytes of some rows."""
        entries: list[list[int]] = self._index[slots].tolist()
        return entries

    def fetch(self, start: int, nbytes: int, scratch: Scratch) -> tuple[Any, int, int]:
        """Read a chunk into the scratch memory."""
        target = scratch.reserve(nbytes)
        _read(self._file, [target], nbytes, start)
        return target, 0, scratch.address

    def copy(self, start: int, nbytes: int, out: NDArray[np.uint8], place: int) -> int:
        """Read bytes into `out[place]`; return the checksum written behind them."""
        checksum = bytearray(CHECKSUM_BYTES)
        _read(self._file, [out[place], checksum], nbytes + CHECKSUM_BYTES, start)
        return int.from_bytes(checksum, "little")


def open_file(file: str, rows_per_shard: int) -> FileShard:
    """Open a shard file, read its index and check it.

    Raises
    ------
    ShardError
        For a file that is missing, too short, or whose index has a wrong checksum.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise ShardError("the file is missing") from error
    try:
        size = os.fstat(descriptor).st_size
        nbytes = index_nbytes(rows_per_shard)
        if size < nbytes:
            raise ShardError(f"the file has {size} bytes, less than its index needs")
        data = np.empty(nbytes, np.uint8)
        _read(descriptor, [data], nbytes, size - nbytes)
        index = unpack_index(data)
        if index is None:
            raise ShardError("the checksum of the file's index is wrong")
        return FileShard(descriptor, index, size - nbytes)
    except BaseException:
        os.close(descriptor)
        raise


def most_open_files() -> int:
    """Return how many shards one store may keep open: half of the descriptors, at most 1024."""
    return half_of_descriptors(MOST_FILES)


def _read(file: int, targets: list[Any], nbytes: int, start: int) -> None:
    """Fill some memory with `nbytes` bytes of a file from `start` on."""
    try:
        done = os.preadv(file, targets, start)
        if done == nbytes:
            return
        # A network file system may give less than asked for; nothing at all is the end.
        parts = [memoryview(target).cast("B") for target in targets]
        while done:
            start += done
            nbytes -= done
            while parts and done >= len(parts[0]):
                done -= len(parts.pop(0))
            if not parts:
                return
            parts[0] = parts[0][done:]
            done = os.preadv(file, parts, start)
    except OSError as error:
        raise ShardError(f"it cannot be read ({error.strerror})") from error
    raise ShardError(f"the file ends {nbytes} bytes too early")
