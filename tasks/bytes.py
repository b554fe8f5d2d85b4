"""The bytes of a file, read at any place by any thread: what every format is read through."""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ..reader.remote import is_remote
from .source import SourceError


class Bytes(Protocol):
    """An open file, local or remote; `with` closes it."""

    @property
    def path(self) -> str:
        """As it was opened."""
        ...

    @property
    def size(self) -> int:
        """In bytes, as it was opened."""
        ...

    def identity(self) -> tuple[int, int]:
        """Return the size in bytes, and when it was changed in ns since 1970, as it was opened."""
        ...

    def pread(self, nbytes: int, offset: int) -> bytes:
        """Return so many bytes from a place; EOFError where the file ends before."""
        ...

    def pread_into(self, out: NDArray[np.uint8], offset: int) -> None:
        """Fill contiguous memory from a place; EOFError where the file ends before."""
        ...

    def file(self) -> BufferedReader:
        """Return a seekable file object of its own position, for libraries that want one."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...


class LocalBytes:
    """A file of a mounted file system.

    Raises
    ------
    SourceError
        For what is not a regular file.
    OSError
        Where it cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        # Without O_NONBLOCK, to open a pipe would wait for its other end.
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        found = os.fstat(self.fd)
        self.size = found.st_size
        self._mtime_ns = found.st_mtime_ns
        if not stat.S_ISREG(found.st_mode):
            self.close()
            raise SourceError(f"{path}: is not a regular file; leave it out")

    def identity(self) -> tuple[int, int]:
        """Return the size in bytes, and when it was changed in ns since 1970, as it was opened."""
        return self.size, self._mtime_ns

    def pread(self, nbytes: int, offset: int) -> bytes:
        """Return so many bytes from a place; EOFError where the file ends before."""
        # First: memory for what a damaged file says is there is not asked for.
        check_range(self.size, nbytes, offset)
        data = os.pread(self.fd, nbytes, offset)
        if len(data) == nbytes:
            return data
        out = np.empty(nbytes, np.uint8)  # the system gives 2 GiB at most
        self.pread_into(out, offset)
        return out.tobytes()

    def pread_into(self, out: NDArray[np.uint8], offset: int) -> None:
        """Fill contiguous memory from a place; EOFError where the file ends before."""
        view, done = out.data.cast("B"), 0
        while done < len(view):
            got = os.preadv(self.fd, [view[done:]], offset + done)
            if got == 0:
                raise EOFError(f"the file ends before byte {offset + len(view)}")
            done += got

    def file(self) -> BufferedReader:
        """Return a file object with a position of its own."""
        return Path(self.path).open("rb")

    def close(self) -> None:
        """Close the descriptor."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # Of one whose format failed to open; also where opening it failed.
        if hasattr(self, "fd"):
            self.close()


def check_range(size: int, nbytes: int, offset: int) -> None:
    """Raise an EOFError for a range that does not lie in a file of that size."""
    if min(nbytes, offset) < 0 or offset + nbytes > size:
        raise EOFError(f"the file has {size} bytes; {nbytes} from byte {offset} are not in it")


def open_bytes(path: str, storage: tuple[tuple[str, str], ...] = ()) -> Bytes:
    """Open a path, or a URL (s3://, gs://, az://, https://) with the options of its store.

    Parameters
    ----------
    path
        Of the file.
    storage
        Options of remote stores, see `patchmill.tasks.remote_place.remote_options`.

    Raises
    ------
    FileNotFoundError
        Where there is none.
    SourceError
        Where a URL cannot be read, or a path is not of a file.
    """
    if not is_remote(path):
        return LocalBytes(path)
    from .remote_bytes import RemoteBytes  # which needs what is above

    return RemoteBytes(path, storage)
