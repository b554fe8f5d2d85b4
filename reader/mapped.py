"""Shards as memory maps: the fastest way to read a local file that may be in the page cache."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path
from struct import Struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .format import CHECKSUM_BYTES, index_nbytes, unpack_index
from .shards import Scratch, ShardError, half_of_descriptors

#: Far below vm.max_map_count (65,530 on Linux), which other libraries draw on too.
MOST_MAPS = 8192
# Before Python 3.13 each map holds a duplicate of its file's descriptor.
_HOLDS_DESCRIPTOR = sys.version_info < (3, 13)
_OPTIONS: dict[str, Any] = {} if _HOLDS_DESCRIPTOR else {"trackfd": False}
_CHECKSUM = Struct("<I")
#: An entry of the index, opaque: NumPy takes fields of any alignment only so.
_ENTRY = np.dtype("V16")


class MappedShard:
    """A memory map of a shard file; see `shards.Shard` for what it does."""

    __slots__ = ("_address", "_data", "_index", "_memory", "index_start")

    def __init__(self, memory: mmap.mmap, index_start: int) -> None:
        self.index_start = index_start
        self._memory = memory
        self._data = np.frombuffer(memory, np.uint8)
        self._address = self._data.ctypes.data
        self._index = self._data[index_start:-CHECKSUM_BYTES].view(_ENTRY)

    def entries(self, slots: NDArray[np.int64]) -> list[list[int]]:
        """Return offset and nbytes of some rows."""
        entries: list[list[int]] = self._index[slots].view("<u8").reshape(-1, 2).tolist()
        return entries

    def fetch(self, start: int, nbytes: int, scratch: Scratch) -> tuple[Any, int, int]:
        """Return where a chunk is: in the map itself."""
        return self._memory, start, self._address + start

    def copy(self, start: int, nbytes: int, out: NDArray[np.uint8], place: int) -> int:
        """Copy bytes into `out[place]`; return the checksum written behind them."""
        stop = start + nbytes
        out[place] = self._data[start:stop]
        checksum: int = _CHECKSUM.unpack_from(self._memory, stop)[0]
        return checksum


def map_shard(file: str, rows_per_shard: int) -> MappedShard:
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
    if unpack_index(np.frombuffer(memory, np.uint8)[index_start:]) is None:
        raise ShardError("the checksum of the file's index is wrong")
    return MappedShard(memory, index_start)


def most_open_maps() -> int:
    """Return how many shards one store may keep mapped: half of the descriptors, at most 8192."""
    return half_of_descriptors(MOST_MAPS) if _HOLDS_DESCRIPTOR else MOST_MAPS
