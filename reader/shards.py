"""Shard files, opened on first use, their index checked once; a bounded number stays open."""

from __future__ import annotations

import errno
import os
import resource
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

#: Errors of a process that has no descriptor or map left.
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def half_of_descriptors(most: int) -> int:
    """Return how many files one store may keep open: half of the process's, at most `most`."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if soft == resource.RLIM_INFINITY else max(8, min(soft // 2, most))


class ShardError(Exception):
    """What is wrong with a shard file; the caller says which, and for which patch."""


class Scratch:
    """Memory that a chunk passes through where it cannot be used in place."""

    def __init__(self) -> None:
        self.memory: NDArray[np.uint8] = np.empty(0, np.uint8)
        self.address = 0

    def reserve(self, nbytes: int) -> NDArray[np.uint8]:
        """Return the first bytes of the memory, which grows as needed."""
        if len(self.memory) < nbytes:
            self.memory = np.empty(nbytes, np.uint8)
            self.address = self.memory.ctypes.data
        return self.memory[:nbytes]


class Shard(Protocol):
    """An open shard file. What it is asked for must lie before `index_start`.

    Attributes
    ----------
    index_start
        Where the index begins, behind all chunks: the end of what chunks may take.
    """

    index_start: int

    def entries(self, slots: NDArray[np.int64]) -> list[list[int]]:
        """Return offset and nbytes of some rows of the shard, as its index has them."""

    def fetch(self, start: int, nbytes: int, scratch: Scratch) -> tuple[Any, int, int]:
        """Return where a chunk is: a buffer, its offset in it, and its address.

        It stays there until `scratch` is used again.
        """

    def copy(self, start: int, nbytes: int, out: NDArray[np.uint8], place: int) -> int:
        """Copy bytes into `out[place]`; return the checksum written behind them."""


AnyShard = TypeVar("AnyShard", bound=Shard)


class OpenShards(Generic[AnyShard]):
    """The open shards of a store, the least recently used one dropped first.

    Safe for threads, none of which ever waits for another: where one changes the dictionary just
    then, the others leave their own note out, which costs at most a shard opened twice. Waiting
    could deadlock: the garbage collector may run in whoever holds the lock and close an abandoned
    loader, which joins threads that want the lock. A shard that is dropped is closed when the
    last thread is done with it.

    Parameters
    ----------
    open_shard
        Opens a file whose shard has a given number of rows; raises `ShardError`.
    limit
        How many to keep open.
    """

    def __init__(self, open_shard: Callable[[str, int], AnyShard], limit: int) -> None:
        self._open_shard = open_shard
        self._limit = limit
        self._forget()

    def __len__(self) -> int:
        return len(self._open)

    def get(self, file: str, rows_per_shard: int) -> AnyShard:
        """Return a shard, opened now if it is not.

        Raises
        ------
        ShardError
            For a file that is missing, too short, or whose index has a wrong checksum.
        """
        if os.getpid() != self._process:
            self._forget()
        shard = self._open.get(file)
        if shard is None:
            shard = self._open_anew(file, rows_per_shard)
        if self._lock.acquire(blocking=False):
            try:
                self._open[file] = shard
                self._open.move_to_end(file)
                if len(self._open) > self._limit:
                    self._open.popitem(last=False)
            finally:
                self._lock.release()
        return shard

    def drop(self, file: str) -> None:
        """Keep a shard open no longer; it may stay so where another thread notes something."""
        if os.getpid() == self._process and self._lock.acquire(blocking=False):
            try:
                self._open.pop(file, None)
            finally:
                self._lock.release()

    def _forget(self) -> None:
        # In a forked child the lock may be one that a thread of the parent held just then, and
        # that nobody will ever release.
        self._lock = threading.Lock()
        self._open: OrderedDict[str, AnyShard] = OrderedDict()
        self._process = os.getpid()

    def _open_anew(self, file: str, rows_per_shard: int) -> AnyShard:
        try:
            return self._open_shard(file, rows_per_shard)
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
        # Others took the descriptors: make do with few shards.
        if self._lock.acquire(blocking=False):
            try:
                self._open.clear()
            finally:
                self._lock.release()
        return self._open_shard(file, rows_per_shard)
