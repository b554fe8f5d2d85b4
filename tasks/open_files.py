"""The files of a set that spreads over many, few of them open at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict

from .bytes import Bytes, open_bytes

#: A set may have thousands of files; so many are open beside the first one.
MAX_OPEN = 8


class HeldFile:
    """A file that stays open as long as a thread reads it."""

    def __init__(self, data: Bytes) -> None:
        self.data = data

    def __del__(self) -> None:
        self.data.close()


class OpenFiles:
    """Files that are opened when they are needed, by any thread.

    Parameters
    ----------
    path
        Of the first file, which stays open.
    first
        Its bytes; closed with the others.
    storage
        Options of remote stores.
    """

    def __init__(self, path: str, first: Bytes, storage: tuple[tuple[str, str], ...]) -> None:
        self._path = path
        self._first: HeldFile | None = HeldFile(first)
        self._others: OrderedDict[str, HeldFile] = OrderedDict()
        self._storage = storage
        self._lock = threading.Lock()

    def get(self, path: str) -> HeldFile:
        """Return an open file; hold it for as long as it is read."""
        if path == self._path and self._first is not None:
            return self._first
        with self._lock:
            found = self._others.pop(path, None) or HeldFile(open_bytes(path, self._storage))
            self._others[path] = found
            while len(self._others) > MAX_OPEN:
                self._others.popitem(last=False)
        return found

    def close(self) -> None:
        """Let go of them all."""
        with self._lock:
            self._first = None
            self._others.clear()
