"""The bytes of a file on a server: by few requests, and never of two versions of it.

The server is asked for ranges alone. What is small, such as the directories of a TIFF, is read in
blocks, the latest of which are kept; what is large comes in parts, several at once. Requests that
fail for a moment are tried again, see `patchmill.reader.remote_client`.
"""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..reader.remote import REQUEST_BYTES
from ..reader.remote_client import RemoteMeta
from ..reader.remote_fetch import at_once
from .bytes import check_range
from .remote_place import Storage, remote_place, saying
from .source import SourceError

#: What is asked for at least, so that many small reads are one request.
BLOCK_BYTES = 256 << 10
#: Blocks of a file that are kept.
MOST_BLOCKS = 8


class RemoteBytes:
    """A file on a server, as `patchmill.tasks.bytes.Bytes` has it; safe for threads.

    Its first block is read at once, which tells what there is.

    Parameters
    ----------
    url
        s3://bucket/key, gs://bucket/key, az://container/key or https://host/path.
    storage
        Options of its store, see `patchmill.tasks.remote_place.remote_options`.

    Raises
    ------
    FileNotFoundError
        Where there is none.
    SourceError
        Where it cannot be read, or not by ranges.
    """

    def __init__(self, url: str, storage: Storage = ()) -> None:
        self.path = url
        self._client, self._name = remote_place(url, storage)
        self._blocks: OrderedDict[int, Any] = OrderedDict()
        self._lock = threading.Lock()
        first, self.meta = saying(lambda: self._client.read_part(self._name, 0, BLOCK_BYTES))
        self.size = self.meta.size_bytes
        self._blocks[0] = self._checked(first, self.meta, 0, min(BLOCK_BYTES, self.size))

    def identity(self) -> tuple[int, int]:
        """Return the size in bytes, and when it was changed in ns since 1970, as it was opened."""
        return self.size, self.meta.mtime_ns

    def pread(self, nbytes: int, offset: int) -> bytes:
        """Return so many bytes from a place; EOFError where the file ends before."""
        # First: memory for what a damaged file says is there is not asked for.
        check_range(self.size, nbytes, offset)
        out = np.empty(nbytes, np.uint8)
        self.pread_into(out, offset)
        return out.tobytes()

    def pread_into(self, out: NDArray[np.uint8], offset: int) -> None:
        """Fill contiguous memory from a place; EOFError where the file ends before."""
        view = out.data.cast("B")
        check_range(self.size, len(view), offset)
        if len(view) < BLOCK_BYTES:
            done = 0
            while done < len(view):
                done += self.copy_block(view[done:], offset + done)
            return

        def fetch(start: int) -> None:
            part = view[start : start + REQUEST_BYTES]
            part[:] = self._fetch(offset + start, len(part))

        at_once(fetch, range(0, len(view), REQUEST_BYTES))

    def copy_block(self, out: memoryview, offset: int) -> int:
        """Copy what the block at a place has, at most as much as there is room; return how much.

        0 at the end of the file.
        """
        number, within = divmod(offset, BLOCK_BYTES)
        if offset >= self.size:
            return 0
        part = memoryview(self._block(number))[within : within + len(out)]
        out[: len(part)] = part
        return len(part)

    def file(self) -> io.BufferedReader:
        """Return a file object with a position of its own."""
        return io.BufferedReader(_Stream(self))

    def close(self) -> None:
        """Forget what was kept; the connection is shared and stays."""
        with self._lock:
            self._blocks.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _block(self, number: int) -> Any:
        with self._lock:
            block = self._blocks.get(number)
            if block is not None:
                self._blocks.move_to_end(number)
                return block
        # Without the lock: at worst two threads ask for the same block.
        start = number * BLOCK_BYTES
        block = self._fetch(start, min(BLOCK_BYTES, self.size - start))
        with self._lock:
            self._blocks[number] = block
            while len(self._blocks) > MOST_BLOCKS:
                self._blocks.popitem(last=False)
        return block

    def _fetch(self, start: int, nbytes: int) -> Any:
        data, meta = saying(lambda: self._client.read_part(self._name, start, nbytes))
        return self._checked(data, meta, start, nbytes)

    def _checked(self, data: Any, meta: RemoteMeta, start: int, nbytes: int) -> Any:
        if meta != self.meta:
            raise SourceError(
                f"{self.path}: changed while it was read ({self.meta.size_bytes} bytes before, "
                f"{meta.size_bytes} now); run the command again when it no longer changes"
            )
        if len(data) != nbytes:
            raise SourceError(
                f"{self.path}: the server sent {len(data)} of {nbytes} bytes from byte {start}; "
                "check what serves it"
            )
        return data


class _Stream(io.RawIOBase):
    """What `io.BufferedReader` needs of a file to make a file object of it."""

    def __init__(self, file: RemoteBytes) -> None:
        self._file = file
        self._position = 0
        self.name = file.path

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position, which may lie beyond the end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._file.size}[whence]
        if base + offset < 0:
            raise ValueError(f"position {base + offset} is before the beginning of the file")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as the block, or for a large one the file, goes; 0 at the end."""
        view = memoryview(buffer).cast("B")
        view = view[: max(0, self._file.size - self._position)]
        if len(view) < BLOCK_BYTES:
            done = self._file.copy_block(view, self._position)
        else:
            self._file.pread_into(np.frombuffer(view, np.uint8), self._position)
            done = len(view)
        self._position += done
        return done
