"""Shard files as memory maps: opened on first use, their index checked once, few kept open."""

from __future__ import annotations

import errno
import mmap
import resource
import sys
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .format import index_nbytes, unpack_index

#: Far below vm.max_map_count (65,530 on Linux), which other libraries draw on too.
MOST_MAPS = 8192
# Before Python 3.13 each map holds a duplicate of its file's descriptor.
_HOLDS_DESCRIPTOR = sys.version_info < (3, 13)
_OPTIONS: dict[str, Any] = {} if _HOLDS_DESCRIPTOR else {"trackfd": False}


class ShardError(Exception):
    """What is wrong with a shard file; the caller says which, and for which patch."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A mapped shard file.

    Attributes
    ----------
    memory
        The map; alive as long as anything points into it.
    data
        The same bytes as an array, read-only.
    index_start
        Where the index begins: 16 bytes a row, behind all chunks.
    """

    memory: mmap.mmap
    data: NDArray[np.uint8]
    index_start: int


def open_shard(file: str, rows_per_shard: int) -> Shard:
    """Map a shard file and check its index.

    Raises
    ------
    ShardError
        For a file that is missing, too short, or whose index has a wrong checksum.
    """
    try:
        with Path(file).open("rb") as stream:
            size = stream.seek(0, 2)
            index_start = size - index_nbytes(rows_per_shard)
            if index_start < 0:
                raise ShardError(f"the file has {size} bytes, less than its index needs")
            memory = mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_READ, **_OPTIONS)
    except FileNotFoundError as error:
        raise ShardError("the file is missing") from error
    data = np.frombuffer(memory, np.uint8)
    if unpack_index(data[index_start:]) is None:
        raise ShardError("the checksum of the file's index is wrong")
    return Shard(memory, data, index_start)


def most_open_maps() -> int:
    """Return how many shards one store may keep mapped: half of the descriptors, at most 8192."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if not _HOLDS_DESCRIPTOR or soft == resource.RLIM_INFINITY:
        return MOST_MAPS
    return max(8, min(soft // 2, MOST_MAPS))


class ShardMaps:
    """The open shards of a store, the least recently used one dropped first.

    Safe for threads, none of which ever waits for another: where one changes the dictionary just
    then, the others leave their own note out, which costs at most a shard mapped twice. Waiting
    could deadlock: the garbage collector may run in whoever holds the lock and close an abandoned
    loader, which joins threads that want the lock. A shard that is dropped is unmapped when the
    last thread is done with it.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: OrderedDict[str, Shard] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._open)

    def get(self, file: str, rows_per_shard: int) -> Shard:
        """Return a shard, mapped now if it is not; raises `ShardError` as `open_shard` does."""
        shard = self._open.get(file)
        if shard is None:
            shard = self._map(file, rows_per_shard)
        if self._lock.acquire(blocking=False):
            try:
                self._open[file] = shard
                self._open.move_to_end(file)
                if len(self._open) > self._limit:
                    self._open.popitem(last=False)
            finally:
                self._lock.release()
        return shard

    def _map(self, file: str, rows_per_shard: int) -> Shard:
        try:
            return open_shard(file, rows_per_shard)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                raise
        # Others took the descriptors: make do with few maps.
        if self._lock.acquire(blocking=False):
            try:
                self._open.clear()
            finally:
                self._lock.release()
        return open_shard(file, rows_per_shard)
