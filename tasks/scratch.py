"""Memory that a worker's thread keeps from task to task.

Fresh memory costs a page fault per 4 kB, which is dearer than all the arithmetic that a patch
needs; so each thread keeps its buffers. They hold nothing between two tasks.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_local = threading.local()


def scratch(name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return this thread's buffer of that name, of arbitrary content.

    It is valid until the same thread asks for the same name again.
    """
    dtype = np.dtype(dtype)
    nbytes = math.prod(shape) * dtype.itemsize
    buffer: NDArray[np.uint8] | None = getattr(_local, name, None)
    if buffer is None or buffer.nbytes < nbytes:
        # Dropped before the larger one is made, so that both are never held.
        buffer = None
        setattr(_local, name, None)
        buffer = np.empty(nbytes, np.uint8)
        setattr(_local, name, buffer)
    return buffer[:nbytes].view(dtype).reshape(shape)


@contextmanager
def other_scratch() -> Iterator[None]:
    """Have this thread use other buffers for a while, so that those in use stay as they are."""
    kept = dict(_local.__dict__)
    _local.__dict__.clear()
    try:
        yield
    finally:
        _local.__dict__.clear()
        _local.__dict__.update(kept)
