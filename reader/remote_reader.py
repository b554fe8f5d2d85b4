"""Rows of a field from remote shards: few requests, all at once, then decoded as from a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .decode import FieldReader
from .field import Field
from .format import index_nbytes, shard_name
from .remote import RemotePath
from .remote_fetch import (
    FetchedShard,
    Range,
    RemoteIndex,
    at_once,
    coalesce,
    fetch_index,
    fetch_ranges,
)
from .shards import ShardError

#: Of patches, decoded: what one call fetches before it decodes. Bounds its memory.
WAVE_BYTES = 128 << 20
#: Of indices that a field keeps in memory.
INDEX_BYTES = 256 << 20
#: More than a codec and a checksum add to a patch; decoding refuses what is that large.
_OVERHEAD_BYTES = 64


class RemoteReader:
    """Reads the patches of one field of format 1 from a server, on any number of threads.

    Each shard's index is asked for once, and kept.

    Parameters
    ----------
    store
        Where the store is.
    field
        What to read.
    verify
        Whether to check the crc32c of each chunk.
    is_complete
        Whether a shard that is missing is damage, rather than not yet written.
    """

    def __init__(self, store: RemotePath, field: Field, *, verify: bool, is_complete: bool) -> None:
        self.field = field
        self._store = store
        self._folder = store / field.name
        self._checks = {"verify": verify, "is_complete": is_complete}
        # Threads share it without a lock: at worst two ask for the same index.
        self._indices: dict[int, RemoteIndex] = {}
        self._most_indices = max(64, INDEX_BYTES // index_nbytes(field.rows_per_shard))
        self._wave = max(1, WAVE_BYTES // field.patch_nbytes)

    def read_into(
        self,
        rows: NDArray[np.int64],
        out: NDArray[Any],
        corners: NDArray[np.int64] | None = None,
    ) -> None:
        """Read rows of the store, as `FieldReader.read_into` does.

        Raises
        ------
        RemoteStoreError
            Where the server cannot be reached, or refuses.
        DamagedStoreError
            For the first chunk that is not what was written.
        """
        for begin in range(0, len(rows), self._wave):
            wave = slice(begin, begin + self._wave)
            reader = FieldReader(self._store, self.field, self._fetch(rows[wave]), **self._checks)
            reader.read_into(rows[wave], out[wave], None if corners is None else corners[wave])

    def _fetch(self, rows: NDArray[np.int64]) -> FetchedShards:
        """Fetch the chunks of some rows: a request per shard without index, then one per range."""
        numbers, slots = np.divmod(np.unique(rows), self.field.rows_per_shard)
        indices = self._find_indices(np.unique(numbers).tolist())
        wanted: list[tuple[RemotePath, Range]] = []
        owners: list[int] = []
        for number, index in indices.items():
            if isinstance(index, ShardError):
                continue
            for part in coalesce(self._chunks(index, slots[numbers == number])):
                wanted.append((self._folder / self._name(number), part))
                owners.append(number)
        blocks: dict[int, list[tuple[Range, Any]]] = {}
        for number, (_, part), data in zip(owners, wanted, fetch_ranges(wanted), strict=True):
            blocks.setdefault(number, []).append((part, data))
        return FetchedShards(
            {
                str(self._folder / self._name(number)): index
                if isinstance(index, ShardError)
                else FetchedShard(index, blocks.get(number, []))
                for number, index in indices.items()
            }
        )

    def _chunks(self, index: RemoteIndex, slots: NDArray[np.int64]) -> list[Range]:
        """Return where the chunks of some rows are, but for those that decoding will refuse."""
        most = self.field.patch_nbytes + _OVERHEAD_BYTES
        entries: list[list[int]] = index.entries[slots].tolist()
        return [
            (start, start + nbytes)
            for start, nbytes in entries
            if 0 < nbytes <= most and start + nbytes <= index.index_start
        ]

    def _find_indices(self, numbers: list[int]) -> dict[int, RemoteIndex | ShardError]:
        """Return the index of each shard, or what is wrong with the shard."""
        found: dict[int, RemoteIndex | ShardError] = dict.fromkeys(numbers, ShardError())
        absent = []
        for number in numbers:
            index = self._indices.get(number)
            if index is None:
                absent.append(number)
            else:
                found[number] = index
        for number, fetched in zip(absent, at_once(self._fetch_index, absent), strict=True):
            found[number] = fetched
            if isinstance(fetched, RemoteIndex):
                self._keep(number, fetched)
        return found

    def _fetch_index(self, number: int) -> RemoteIndex | ShardError:
        try:
            return fetch_index(self._folder / self._name(number), self.field.rows_per_shard)
        except ShardError as error:
            return error

    def _keep(self, number: int, index: RemoteIndex) -> None:
        # One operation each, so that no thread can come in between: oldest first out.
        for old in list(self._indices)[: max(0, len(self._indices) + 1 - self._most_indices)]:
            self._indices.pop(old, None)
        self._indices[number] = index

    def _name(self, number: int) -> str:
        return shard_name(number, len(self.field.shape) + 1)


class FetchedShards:
    """The shards of one call, by their files; as `OpenShards` gives them."""

    def __init__(self, shards: Mapping[str, FetchedShard | ShardError]) -> None:
        self._shards = shards

    def get(self, file: str, rows_per_shard: int) -> FetchedShard:
        """Return a shard; raises the `ShardError` that it has."""
        shard = self._shards[file]
        if isinstance(shard, ShardError):
            raise shard
        return shard
