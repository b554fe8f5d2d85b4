"""Chunks of remote shards, fetched all at once for one call, so that its decoding never waits."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .format import CHECKSUM_BYTES, index_nbytes, unpack_index
from .remote import REQUEST_BYTES, RemotePath
from .shards import Scratch, ShardError

#: Requests under way at once, of one call.
MOST_REQUESTS = 64
#: Bytes between two chunks that are rather read than spared by a request of their own.
GAP_BYTES = 64 << 10

#: Where bytes are in a file: from, and to.
Range = tuple[int, int]
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class RemoteIndex:
    """The index of a remote shard.

    Attributes
    ----------
    entries
        Shape (rows, 2): offset and nbytes.
    index_start
        Where it begins in the file.
    """

    entries: NDArray[np.uint64]
    index_start: int


class FetchedShard:
    """The blocks of a shard that were fetched; see `shards.Shard` for what it does.

    Parameters
    ----------
    index
        Of the shard.
    blocks
        Ranges in order, apart from each other, and what is there: a buffer, shorter where the
        file ends before.
    """

    def __init__(self, index: RemoteIndex, blocks: Sequence[tuple[Range, Any]]) -> None:
        self.index_start = index.index_start
        self._index = index
        self._starts = [start for (start, _), _ in blocks]
        self._blocks = [np.frombuffer(data, np.uint8) for _, data in blocks]

    def entries(self, slots: NDArray[np.int64]) -> list[list[int]]:
        """Return offset and nbytes of some rows."""
        entries: list[list[int]] = self._index.entries[slots].tolist()
        return entries

    def fetch(self, start: int, nbytes: int, scratch: Scratch) -> tuple[Any, int, int]:
        """Return where a chunk is: in its block."""
        block, offset = self._find(start, nbytes)
        return block, offset, block.ctypes.data + offset

    def copy(self, start: int, nbytes: int, out: NDArray[np.uint8], place: int) -> int:
        """Copy bytes into `out[place]`; return the checksum written behind them."""
        block, offset = self._find(start, nbytes + CHECKSUM_BYTES)
        end = offset + nbytes
        out[place] = block[offset:end]
        return int.from_bytes(block[end : end + CHECKSUM_BYTES].tobytes(), "little")

    def _find(self, start: int, nbytes: int) -> tuple[NDArray[np.uint8], int]:
        number = bisect_right(self._starts, start) - 1
        block = self._blocks[number]
        offset = start - self._starts[number]
        missing = offset + nbytes - len(block)
        if missing > 0:
            raise ShardError(f"the file ends {min(missing, nbytes)} bytes too early")
        return block, offset


def fetch_index(file: RemotePath, rows_per_shard: int) -> RemoteIndex:
    """Fetch the index of a shard, by one request for the end of its file, and check it.

    Raises
    ------
    ShardError
        For a file that is missing, too short, or whose index has a wrong checksum.
    RemoteStoreError
        Where it cannot be read.
    """
    nbytes = index_nbytes(rows_per_shard)
    try:
        data, size = file.client.read_end(file.name, nbytes)
    except FileNotFoundError as error:
        raise ShardError("the file is missing") from error
    if size < nbytes:
        raise ShardError(f"the file has {size} bytes, less than its index needs")
    entries = unpack_index(np.frombuffer(data, np.uint8))
    if entries is None:
        raise ShardError("the checksum of the file's index is wrong")
    return RemoteIndex(entries, size - nbytes)


def fetch_ranges(wanted: Sequence[tuple[RemotePath, Range]]) -> list[Any]:
    """Fetch ranges of files, all at once; each is a buffer, shorter where its file ends before.

    Raises
    ------
    RemoteStoreError
        Where one cannot be read.
    """

    def fetch(each: tuple[RemotePath, Range]) -> Any:
        file, (start, stop) = each
        try:
            return file.client.read_range(file.name, start, stop - start)
        except FileNotFoundError:  # deleted since its index was read
            return b""

    return at_once(fetch, wanted)


def coalesce(
    chunks: Iterable[Range], gap: int = GAP_BYTES, most: int = REQUEST_BYTES
) -> list[Range]:
    """Join ranges that lie at most `gap` apart, as long as they stay within `most` bytes.

    Examples
    --------
    >>> coalesce([(400, 500), (0, 100), (110, 200)], gap=10, most=1000)
    [(0, 200), (400, 500)]
    >>> coalesce([(0, 100), (100, 200), (200, 300)], gap=10, most=250)
    [(0, 200), (200, 300)]
    """
    joined: list[Range] = []
    for start, stop in sorted(set(chunks)):
        if joined:
            begin, end = joined[-1]
            # Those that overlap are one, however large: a chunk is never in two parts.
            if start < end or (start - end <= gap and stop - begin <= most):
                joined[-1] = (begin, max(stop, end))
                continue
        joined.append((start, stop))
    return joined


def at_once(
    work: Callable[[Item], Result], items: Sequence[Item], most: int = MOST_REQUESTS
) -> list[Result]:
    """Return what a function makes of each item, on threads that end with the call.

    After an error, or Ctrl-C, they end once their requests do, for which nobody waits.
    """
    if len(items) < 2:
        return [work(item) for item in items]
    pool = ThreadPoolExecutor(min(len(items), most), "patchmill-reader-fetch")
    try:
        results = list(pool.map(work, items))
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
    return results
