"""Writes one shard file, whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numcodecs.blosc
import numpy as np
from numpy.typing import NDArray

from ..reader.folders import sync_folder
from ..reader.format import CHECKSUM_BYTES, MISSING, checksum, checksum_bytes, pack_index

# Blocks of multithreaded blosc land in order of completion: the bytes would differ run by run.
numcodecs.blosc.use_threads = False


def encode_chunk(patch: NDArray[Any], codec: str, level: int) -> bytes:
    """Encode one patch as the field's metadata says, but for the checksum.

    Parameters
    ----------
    patch
        Shape (c, y, x), C order, little-endian.
    codec
        "lz4", "zstd" or "none".
    level
        Of the compression, 0 to 9.
    """
    if codec == "none":
        return patch.tobytes()
    shuffle = numcodecs.blosc.SHUFFLE if patch.dtype.itemsize > 1 else numcodecs.blosc.NOSHUFFLE
    encoded: bytes = numcodecs.blosc.compress(patch, codec.encode(), level, shuffle, 0)
    return encoded


class ShardTarget(Protocol):
    """Where a task puts its shard."""

    def write(self, chunks: Iterable[bytes | None], rows_per_shard: int) -> tuple[int, int]:
        """Write the shard, whole or not at all, as `write_shard` does."""
        ...


@dataclass(frozen=True)
class ShardFile:
    """A file in the folder of a store.

    Attributes
    ----------
    path
        Of the file.
    tmp
        A folder on the same file system, for what is not finished.
    """

    path: str
    tmp: str

    def write(self, chunks: Iterable[bytes | None], rows_per_shard: int) -> tuple[int, int]:
        """Write the file, as `write_shard` does."""
        return write_shard(Path(self.path), Path(self.tmp), chunks, rows_per_shard)


def write_shard(
    path: Path, tmp: Path, chunks: Iterable[bytes | None], rows_per_shard: int
) -> tuple[int, int]:
    """Write a shard under a name of its own, flush it to disk, then move it into place.

    Two attempts at one shard write the same bytes, so the last wins.

    Parameters
    ----------
    path
        Of the shard file.
    tmp
        A folder on the same file system.
    chunks, rows_per_shard
        As in `write_chunks`.

    Returns
    -------
    nbytes, checksum
        Size of the file, and the crc32c of its chunks' checksums and its index.
    """
    attempt = tmp / f"{path.parent.name}-{path.name}-{uuid.uuid4().hex}"
    try:
        # 64 KiB: small chunks are gathered into few writes, large ones are not copied once more.
        with attempt.open("xb", buffering=1 << 16) as file:
            written = write_chunks(file, chunks, rows_per_shard)
            file.flush()
            os.fsync(file.fileno())
        attempt.replace(path)
    except BaseException:
        attempt.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return written


def write_chunks(
    file: IO[bytes], chunks: Iterable[bytes | None], rows_per_shard: int
) -> tuple[int, int]:
    """Write what a shard holds: each chunk with its checksum, then the index.

    Parameters
    ----------
    file
        At its beginning.
    chunks
        One per row, in order; None for a row that has none.
    rows_per_shard
        Entries in the index; rows beyond the last chunk are absent.

    Returns
    -------
    nbytes, checksum
        Bytes written, and the crc32c of the chunks' checksums and the index.
    """
    index = np.full((rows_per_shard, 2), MISSING, np.uint64)
    offset, checksums = 0, bytearray()
    for row, chunk in enumerate(chunks):
        if chunk is None:
            continue
        index[row] = offset, len(chunk) + CHECKSUM_BYTES
        own = checksum_bytes(chunk)
        file.write(chunk)
        file.write(own)
        checksums += own
        offset += len(chunk) + CHECKSUM_BYTES
    packed = pack_index(index)
    file.write(packed)
    # A crc behind what it covers cancels that out of any crc of both: the index's own is left out.
    return offset + len(packed), checksum(bytes(checksums) + packed[:-CHECKSUM_BYTES])
