"""Copies a file of a store and checks its checksums on the way: each byte is read once.

What is checked is what is written: the same block of memory.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from .format import CHECKSUM_BYTES, MISSING, checksum, index_nbytes, unpack_index
from .remote import Place

#: Read and written at once; all that a thread holds.
BLOCK_BYTES = 1 << 20
#: The crc32c of any bytes that are followed by their own crc32c: here of none.
RESIDUE = checksum(bytes(CHECKSUM_BYTES))


class FileFault(Exception):
    """What is wrong with a file; the caller says which."""


class StopCopying(Exception):
    """Another thread has failed."""


@dataclass(frozen=True)
class StoreFile:
    """A file of a store.

    Attributes
    ----------
    name
        Its path in the store.
    nbytes
        Its size.
    rows_per_shard, first_row
        Of a shard file; 0 for others.
    has_checksum
        Whether it ends with the crc32c of all that is before it: a chunk of a column.
    sha256
        Of all of it, where that is known: a zarr.json.
    """

    name: str
    nbytes: int
    rows_per_shard: int = 0
    first_row: int = 0
    has_checksum: bool = False
    sha256: str = ""


class Checks:
    """The checksums of a file, fed with its blocks in order.

    Parameters
    ----------
    regions
        (start, stop, what it is), in order and apart from each other: bytes that end with their
        own crc32c.
    sha256
        Of all of it; empty where unknown.
    """

    def __init__(self, regions: Sequence[tuple[int, int, str]], sha256: str) -> None:
        self._regions = regions
        self._at = 0
        self._crc = 0
        self._sha256 = sha256
        self._digest = hashlib.sha256()

    def feed(self, offset: int, block: NDArray[np.uint8]) -> None:
        """Check a block that begins at an offset; raises `FileFault` as soon as it is known."""
        if self._sha256:
            self._digest.update(block.data)
        end = offset + len(block)
        while self._at < len(self._regions):
            start, stop, what = self._regions[self._at]
            if start < end:
                part = block[max(start - offset, 0) : stop - offset]
                self._crc = google_crc32c.extend(self._crc, part)
            if stop > end:
                return
            if self._crc != RESIDUE:
                raise FileFault(f"the checksum of {what} is wrong")
            self._at, self._crc = self._at + 1, 0

    def finish(self) -> None:
        """Check what needs all of the file."""
        if self._sha256 and self._digest.hexdigest() != self._sha256:
            raise FileFault("it is not what was written, by its sha256")


def copy_file(
    file: StoreFile, source: Place, target: Path | None, stop: threading.Event | None = None
) -> None:
    """Copy a file, or only check it.

    Parameters
    ----------
    file
        What it is.
    source
        Its store.
    target
        A file to make, flushed to disk; None to check the source alone.
    stop
        Once it is set, `StopCopying` is raised.

    Raises
    ------
    FileFault
        Where the source cannot be read, or is not what was written.
    OSError
        Where the target cannot be written.
    """
    try:
        stream = (source / file.name).open("rb", buffering=0)
    except OSError as error:
        raise FileFault(_unreadable(error)) from error
    with stream:
        checks = Checks(_regions(file, stream), file.sha256)
        if target is None:
            _pump(file, stream, checks, None, stop)
            return
        with target.open("xb", buffering=0) as out:
            _pump(file, stream, checks, out, stop)
            os.fsync(out.fileno())


def _pump(
    file: StoreFile,
    stream: BinaryIO,
    checks: Checks,
    out: BinaryIO | None,
    stop: threading.Event | None,
) -> None:
    buffer = np.empty(min(BLOCK_BYTES, max(file.nbytes, 1)), np.uint8)
    done = 0
    while done < file.nbytes:
        if stop is not None and stop.is_set():
            raise StopCopying
        block = _read(stream, done, buffer[: file.nbytes - done])
        checks.feed(done, block)
        done += len(block)
        while out is not None and len(block):
            block = block[out.write(block.data) :]
    checks.finish()


def _read(stream: BinaryIO, offset: int, buffer: NDArray[np.uint8]) -> NDArray[np.uint8]:
    try:
        stream.seek(offset)
        got: int = stream.readinto(buffer.data)  # type: ignore[attr-defined]
    except OSError as error:
        raise FileFault(_unreadable(error)) from error
    if not got:
        raise FileFault(f"it ends after {offset} bytes")
    return buffer[:got]


def _regions(file: StoreFile, stream: BinaryIO) -> list[tuple[int, int, str]]:
    """Return the regions of a file that have a crc32c: each chunk of a shard, and its index."""
    if file.has_checksum:
        return [(0, file.nbytes, "it")]
    if not file.rows_per_shard:
        return []
    index_start = file.nbytes - index_nbytes(file.rows_per_shard)
    if index_start < 0:
        raise FileFault(f"it has {file.nbytes} bytes, less than its index needs")
    data: NDArray[Any] = np.empty(file.nbytes - index_start, np.uint8)
    done = 0
    while done < len(data):
        done += len(_read(stream, index_start + done, data[done:]))
    index = unpack_index(data)
    if index is None:
        raise FileFault("the checksum of its index is wrong")
    regions = []
    end = 0
    there = np.flatnonzero(index[:, 0] != MISSING)
    for slot in there[np.argsort(index[there, 0], kind="stable")].tolist():
        start, nbytes = index[slot].tolist()
        patch = f"patch {file.first_row + slot}"
        if start < end or nbytes < CHECKSUM_BYTES or start + nbytes > index_start:
            raise FileFault(f"its index points elsewhere for {patch}")
        end = start + nbytes
        regions.append((start, end, patch))
    return [*regions, (index_start, file.nbytes, "its index")]


def _unreadable(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "it is missing"
    return f"it cannot be read ({error.strerror})"
