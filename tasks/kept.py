"""What a process keeps from task to task because it is dear to make again, the last used of it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar


class _Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


_Made = TypeVar("_Made", bound=_Sized)


class Kept(Generic[_Made]):
    """Values by key, at least the last one, and others as long as they hold little together.

    One is made at a time, so that threads never make the same twice, nor hold the memory that
    making takes more than once.

    Parameters
    ----------
    max_bytes
        That more than one value may hold together.

    Examples
    --------
    >>> kept = Kept[memoryview](max_bytes=10)
    >>> kept.get("key", lambda: memoryview(b"bytes")) is kept.get("key", lambda: memoryview(b""))
    True
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._values: OrderedDict[Hashable, _Made] = OrderedDict()
        self._lock = threading.Lock()
        self._making = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], _Made]) -> _Made:
        """Return the value of a key, made where it is not kept; what `make` raises is raised."""
        found = self._find(key)
        if found is not None:
            return found
        with self._making:
            found = self._find(key)  # by the thread that this one waited for
            if found is not None:
                return found
            made = make()
            with self._lock:
                self._values[key] = made
                while len(self._values) > 1 and self._nbytes() > self._max_bytes:
                    self._values.popitem(last=False)
            return made

    def _find(self, key: Hashable) -> _Made | None:
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def _nbytes(self) -> int:
        return sum(value.nbytes for value in self._values.values())
