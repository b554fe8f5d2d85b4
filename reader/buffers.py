"""Batch memory that is re-used once nobody holds it: fresh memory costs a page fault per 4 kB."""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray


def _references(arrays: list[NDArray[Any]], number: int) -> int:
    return sys.getrefcount(arrays[number])


#: What `_references` says of an array that its list alone holds; Python versions differ.
_ALONE = (lambda arrays: _references(arrays, 0))([np.empty(0)])


class BufferPool:
    """Arrays of one shape and dtype, each given out while nothing else refers to it.

    Whoever holds the array, a view of it, a tensor or a memoryview on it holds a reference to
    it, so the reference count says whether it is free; nobody has to give anything back, and
    nothing that somebody still looks at is overwritten.

    Parameters
    ----------
    shape, dtype
        Of each array.
    limit
        How many arrays to keep for re-use. Where all of those are held, `take` makes one more
        that is not kept, so it neither waits nor fails.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], limit: int) -> None:
        self._shape = shape
        self._dtype = dtype
        self._limit = limit
        self._arrays: list[NDArray[Any]] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._arrays)

    def take(self) -> NDArray[Any]:
        """Return an array that nobody else holds, its content undefined."""
        with self._lock:
            for number in range(len(self._arrays)):
                if _references(self._arrays, number) == _ALONE:
                    return self._arrays[number]
            array = np.empty(self._shape, self._dtype)
            if len(self._arrays) < self._limit:
                self._arrays.append(array)
            return array
