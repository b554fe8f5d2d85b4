"""What a run has finished so far: an append-only binary file beside the store.

    magic | entry | entry | ...        entry = header (kind, length, crc32c) | payload

An entry is flushed to disk before the next shard is taken for finished. A crash can tear only the
last entry; what is torn is dropped, and what it spoke of is done again.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from ..reader.errors import StoreError
from ..reader.format import checksum
from ..tasks.cut import ShardResult

_MAGIC = b"patchmill ledger 2\n"
_HEADER = struct.Struct("<4sIQ")  # kind, crc32c of kind and payload, length
_SHARD = struct.Struct("<QIdI")  # shard, files, seconds, rows
_FILE = struct.Struct("<QI")  # nbytes, checksum
_KIND_SHARD, _KIND_FAILED = b"shrd", b"fail"


@dataclass(frozen=True)
class ShardEntry:
    """Where the ledger speaks of a finished shard, without what it says of each row.

    Attributes
    ----------
    files
        Bytes and checksum of each of its files.
    offset
        Of the entry's payload in the ledger.
    n_histograms
        Bytes of its histograms.
    """

    shard: int
    files: tuple[tuple[int, int], ...]
    seconds: float
    valid: NDArray[np.bool_]
    offset: int
    n_histograms: int


class Ledger:
    """An open ledger; the driver is its only writer.

    Parameters
    ----------
    path
        Of the file; made where there is none.
    record
        dtype of what is noted of a row, `patchmill.tasks.records.record_dtype`.

    Attributes
    ----------
    shards
        The last entry of each shard, by its number.
    failed
        Images (rows in `images/`) that could not be cut: why, and the identity that their files
        had.
    failed_at
        Where the ledger says so: shards that were finished before may hold pixels of such a file.
    """

    def __init__(self, path: Path, record: np.dtype[Any]) -> None:
        self._record = record
        self.shards: dict[int, ShardEntry] = {}
        self.failed: dict[int, tuple[str, Any]] = {}
        self.failed_at: dict[int, int] = {}
        self._path = path
        self._file: BinaryIO = path.open("r+b" if path.exists() else "x+b")
        try:
            end = self._load()
            self._file.truncate(end)
            self._file.seek(end)
            if end == 0:
                self._file.write(_MAGIC)
                self._flush()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add_shard(self, result: ShardResult) -> None:
        """Note a shard as finished; its file must be in place."""
        head = _SHARD.pack(result.shard, len(result.files), result.seconds, len(result.valid))
        files = b"".join(_FILE.pack(*file) for file in result.files)
        valid = np.packbits(result.valid).tobytes()
        offset = self._append(
            _KIND_SHARD, head + files + valid + result.records.tobytes() + result.histograms
        )
        self.shards[result.shard] = ShardEntry(
            result.shard, result.files, result.seconds, result.valid, offset, len(result.histograms)
        )

    def add_failed(self, image: int, reason: str, identity: Any) -> None:
        """Note an image that cannot be cut, as its files are now."""
        payload = json.dumps([image, reason, identity]).encode()
        self.failed_at[image] = self._append(_KIND_FAILED, payload)
        self.failed[image] = (reason, identity)

    def records(self, shard: int) -> NDArray[Any]:
        """Read what is noted of the rows of a finished shard, shape (rows,)."""
        start, nbytes = self._records_at(shard)
        return np.frombuffer(os.pread(self._file.fileno(), nbytes, start), self._record)

    def histograms(self, shard: int) -> bytes:
        """Read the histograms of a finished shard, as `Histograms.packed` made them."""
        start, nbytes = self._records_at(shard)
        return os.pread(self._file.fileno(), self.shards[shard].n_histograms, start + nbytes)

    def _records_at(self, shard: int) -> tuple[int, int]:
        """Return where the records of a shard begin, and how many bytes they are."""
        entry = self.shards[shard]
        rows = len(entry.valid)
        skip = _SHARD.size + len(entry.files) * _FILE.size + (rows + 7) // 8
        return entry.offset + skip, rows * self._record.itemsize

    def _append(self, kind: bytes, payload: bytes) -> int:
        header = _HEADER.pack(kind, checksum(kind + payload), len(payload))
        start = self._file.tell()
        self._file.write(header + payload)
        self._flush()
        return start + _HEADER.size

    def _flush(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def _load(self) -> int:
        """Read what is whole, and return where it ends."""
        magic = self._file.read(len(_MAGIC))
        if not _MAGIC.startswith(magic):
            raise StoreError(
                f"{self._path} is not a ledger that this version reads; "
                "use the version that began the run, or --overwrite"
            )
        if len(magic) < len(_MAGIC):
            return 0
        end = len(_MAGIC)
        for kind, payload, offset in self._entries():
            end = offset + len(payload)
            if kind == _KIND_SHARD:
                shard, n, seconds, rows = _SHARD.unpack_from(payload)
                until = _SHARD.size + n * _FILE.size
                files = tuple(_FILE.iter_unpack(payload[_SHARD.size : until]))
                packed = np.frombuffer(payload, np.uint8, (rows + 7) // 8, until)
                valid = np.unpackbits(packed, count=rows).astype(bool)
                ends = until + len(packed) + rows * self._record.itemsize
                self.shards[shard] = ShardEntry(
                    shard, files, seconds, valid, offset, len(payload) - ends
                )
            elif kind == _KIND_FAILED:
                image, reason, identity = json.loads(payload)
                self.failed_at[image] = offset
                self.failed[image] = (reason, identity)
        return end

    def _entries(self) -> Iterator[tuple[bytes, bytes, int]]:
        size = os.fstat(self._file.fileno()).st_size
        while True:
            header = self._file.read(_HEADER.size)
            offset = self._file.tell()
            if len(header) < _HEADER.size:
                return
            kind, crc, length = _HEADER.unpack(header)
            if offset + length > size:
                return
            payload = self._file.read(length)
            if checksum(kind + payload) != crc:
                return
            yield kind, payload, offset
