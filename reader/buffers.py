"""Batch memory that is re-used once nobody holds it: fresh memory costs a page fault per 4 kB."""

from __future__ import annotations

import contextlib
import math
import mmap
import sys
import threading
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .memory import check_memory

Bytes = NDArray[np.uint8]


def _references(arrays: list[Bytes], number: int) -> int:
    return sys.getrefcount(arrays[number])


#: What `_references` says of an array that its list alone holds; Python versions differ.
_ALONE = (lambda arrays: _references(arrays, 0))([np.empty(0, np.uint8)])


def is_held(arrays: list[Bytes], number: int) -> bool:
    """Say whether anything but this list holds an array, or something made on its memory.

    Whoever holds a view of it, a tensor or a memoryview on it holds a reference to it: nobody has
    to give anything back, and nothing that somebody still looks at is overwritten.
    """
    return _references(arrays, number) != _ALONE


class Memory(Protocol):
    """Where the arrays of a batch come from."""

    def take(self, nbytes: int) -> Bytes:
        """Return at least so many bytes that nobody else holds, their content undefined.

        Returned as an array (n,) of bytes that no other array owns, so that whatever is made on
        it keeps it.
        """


#: Name to shape and dtype.
Layout = dict[str, tuple[tuple[int, ...], np.dtype[Any]]]

#: From here on huge pages are asked for, as NumPy does for its own arrays: fewer page faults.
_HUGE_FROM = 4 << 20
#: Where the arrays of one piece of memory begin: a cache line, and what vector units like.
_ALIGNMENT = 64


def layout_nbytes(layout: Layout) -> int:
    """Return how many bytes `take_arrays` takes."""
    return sum(_padded(shape, dtype) for shape, dtype in layout.values())


def take_arrays(memory: Memory, layout: Layout) -> dict[str, NDArray[Any]]:
    """Return arrays of some shapes and dtypes in one piece of memory, their content undefined."""
    piece = memory.take(layout_nbytes(layout))
    arrays = {}
    start = 0
    for name, (shape, dtype) in layout.items():
        nbytes = math.prod(shape) * dtype.itemsize
        arrays[name] = piece[start : start + nbytes].view(dtype).reshape(shape)
        start += _padded(shape, dtype)
    return arrays


def _padded(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    nbytes = math.prod(shape) * dtype.itemsize
    return -(-nbytes // _ALIGNMENT) * _ALIGNMENT


def _fresh(nbytes: int) -> Bytes:
    """Return new memory that begins with a page, as frameworks like that share it (DLPack)."""
    size = max(1, nbytes)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if size >= _HUGE_FROM and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without huge pages
            memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.uint8, nbytes)


class BufferPool:
    """Memory of this process, given out while nothing else refers to it. Safe for threads.

    Parameters
    ----------
    limit
        How many pieces to keep for re-use. Where all of those are held, `take` makes one more
        that is not kept, so it neither waits nor fails.

    Attributes
    ----------
    extra
        How often a piece was made beyond the limit.
    """

    def __init__(self, limit: int) -> None:
        self.extra = 0
        self._limit = limit
        self._kept: list[Bytes] = []
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return BufferPool, (self._limit,)

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, nbytes: int) -> Bytes:
        """Return at least so many bytes, see `Memory`."""
        # Not for ever: the garbage collector may run in the thread that holds the lock, and close
        # an abandoned iterator there, which joins threads that want it.
        is_ours = self._lock.acquire(timeout=1)
        try:
            if is_ours and (piece := self._free(nbytes)) is not None:
                return piece
            check_memory(nbytes, "a batch")
            piece = _fresh(nbytes)
            if is_ours and len(self._kept) < self._limit:
                self._kept.append(piece)
            else:
                self.extra += 1
            return piece
        finally:
            if is_ours:
                self._lock.release()

    def _free(self, nbytes: int) -> Bytes | None:
        free = -1
        for number in range(len(self._kept)):
            if not is_held(self._kept, number):
                if len(self._kept[number]) == nbytes:
                    return self._kept[number]
                free = number
        if free >= 0 and len(self._kept) >= self._limit:  # of another size: batches have changed
            del self._kept[free]
        return None
