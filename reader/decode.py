"""Rows of a field into an array, straight from its shards: per patch one checksum, one decoding."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from struct import Struct
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import DamagedStoreError, IncompleteStoreError
from .field import Field
from .format import CHECKSUM_BYTES, MISSING, shard_name
from .native import RESIDUE, crc32c, decompress
from .remote import Place
from .shards import Scratch, Shard, ShardError
from .staged import refuse_unstaged
from .targets import is_whole

#: Of a blosc chunk's header, from byte 4: nbytes decompressed, (block size,) nbytes compressed.
#: Source: c-blosc, README_CHUNK_FORMAT.rst.
_unpack_sizes = Struct("<I4xI").unpack_from
#: Also the most that a chunk may be larger than its patch (BLOSC_MAX_OVERHEAD).
_BLOSC_HEADER_BYTES = 16

#: Decodes a chunk: its shard, start and nbytes there, and the place that it fills.
Decode = Callable[[Shard, int, int, int], None]
#: A shard, and of what is wanted of it: rows, the places that they fill, (start, nbytes) of each.
Run = tuple[Shard, list[int], list[int], list[list[int]]]


class Shards(Protocol):
    """What gives shards by their files: `OpenShards`, or some that were fetched."""

    def get(self, file: str, rows_per_shard: int) -> Any:
        """Return a `Shard`; raises `ShardError`."""


class FieldReader:
    """Reads the patches of one field of format 1, on any number of threads.

    Parameters
    ----------
    store
        The store's folder, or its place elsewhere.
    field
        What to read.
    shards
        Gives the store's shards.
    verify
        Whether to check the crc32c of each chunk.
    is_complete
        Whether a shard that is missing is damage, rather than not yet written.
    """

    def __init__(
        self, store: Place, field: Field, shards: Shards, *, verify: bool, is_complete: bool
    ) -> None:
        self.field = field
        self._store = store
        self._shards = shards
        self._verify = verify
        self._is_complete = is_complete
        self._folder = str(store / field.name)

    def read_into(
        self,
        rows: NDArray[np.int64],
        out: NDArray[Any],
        corners: NDArray[np.int64] | None = None,
    ) -> None:
        """Decode rows of the store; the arguments are those that `targets` checks.

        Parameters
        ----------
        rows
            Shape (n,), each within the field.
        out
            Shape (n, *field.shape), the field's dtype, C order; `out[i]` becomes patch `rows[i]`.
            With `corners`, (n, *lead, h, w) with h and w at most the patch's.
        corners
            Shape (n, 2): top-left y, x of the window of each patch that `out` gets.

        Raises
        ------
        DamagedStoreError
            For the first chunk that is not what was written; `out` is then partly filled.
        """
        if len(rows) == 0:
            return
        is_windowed = corners is not None and not is_whole(self.field, out)
        patch = np.empty((1, *self.field.shape), self.field.dtype) if is_windowed else out
        decode = self._decoder(patch)
        for shard, found, places, entries in self._runs(rows):
            for row, place, (start, nbytes) in zip(found, places, entries, strict=True):
                try:
                    decode(shard, start, nbytes, 0 if is_windowed else place)
                except ShardError as error:
                    raise self._damaged(row, str(error)) from error
                if is_windowed and corners is not None:
                    y, x = corners[place].tolist()
                    out[place] = patch[0, ..., y : y + out.shape[-2], x : x + out.shape[-1]]

    def _runs(self, rows: NDArray[np.int64]) -> Iterator[Run]:
        """Yield the rows shard by shard, in the order of the files.

        One look-up a shard, and one held at a time.
        """
        order = np.argsort(rows, kind="stable")
        rows = rows[order]
        per_shard = self.field.rows_per_shard
        slots = rows % per_shard
        # Lists: a run is a few patches, for which NumPy takes longer to start than to work.
        found, places = rows.tolist(), order.tolist()
        end = 0
        while end < len(found):
            begin, row = end, found[end]
            end = bisect_left(found, row - row % per_shard + per_shard, begin)
            shard = self._shard(row)
            yield shard, found[begin:end], places[begin:end], shard.entries(slots[begin:end])

    def _decoder(self, out: NDArray[Any]) -> Decode:
        """Return the function that decodes a chunk into `out[place]`.

        It is a closure since it runs once a patch: what it needs are local names.
        """
        targets = out.reshape(len(out), -1).view(np.uint8)
        address = targets.ctypes.data
        patch_nbytes = self.field.patch_nbytes
        verify = self._verify
        least = _BLOSC_HEADER_BYTES + CHECKSUM_BYTES + 1
        most = least + patch_nbytes
        scratch = Scratch()

        def copy(shard: Shard, start: int, nbytes: int, place: int) -> None:
            if nbytes <= CHECKSUM_BYTES or start + nbytes > shard.index_start:
                raise ShardError(_misplaced(start))
            if nbytes != patch_nbytes + CHECKSUM_BYTES:
                raise ShardError(_unfit(nbytes - CHECKSUM_BYTES, patch_nbytes))
            written = shard.copy(start, patch_nbytes, targets, place)
            # Of the copy, which the processor's cache still has.
            if verify and crc32c(address + place * patch_nbytes, patch_nbytes) != written:
                raise ShardError("its checksum is wrong")

        def inflate(shard: Shard, start: int, nbytes: int, place: int) -> None:
            if not least <= nbytes <= most or start + nbytes > shard.index_start:
                raise ShardError(_misplaced(start))
            memory, offset, source = shard.fetch(start, nbytes, scratch)
            # Blosc believes these two: with a wrong size it reads or writes beyond the chunk.
            # Whatever else is damaged, it stays within both sides and fails, or gives other bytes.
            decoded, coded = _unpack_sizes(memory, offset + 4)
            if decoded != patch_nbytes or coded != nbytes - CHECKSUM_BYTES:
                raise ShardError(_unfit(decoded, patch_nbytes))
            target = address + place * patch_nbytes
            is_decoded = decompress(source, target, patch_nbytes, 1) == patch_nbytes
            # Behind the decompression, which hides that memory is slow better than the checksum
            # does, and leaves the chunk in the processor's cache: together two thirds of the time.
            if verify and crc32c(source, nbytes) != RESIDUE:
                raise ShardError("its checksum is wrong")
            if not is_decoded:
                raise ShardError("it cannot be decompressed")

        return copy if self.field.codec == "none" else inflate

    def _shard(self, row: int) -> Shard:
        number = row // self.field.rows_per_shard
        name = shard_name(number, len(self.field.shape) + 1)
        try:
            shard: Shard = self._shards.get(f"{self._folder}/{name}", self.field.rows_per_shard)
        except ShardError as error:
            if isinstance(error.__cause__, FileNotFoundError) and not self._is_complete:
                raise IncompleteStoreError(
                    f"{self._store}: shard {self.field.name}/{name} with patch {row} is not "
                    "written yet; run the same `patchmill prepare` again"
                ) from error
            if isinstance(error.__cause__, FileNotFoundError):
                refuse_unstaged(self._store, f"{self.field.name}/{name}", row)
            raise self._damaged(row, str(error)) from error
        return shard

    def _damaged(self, row: int, fault: str) -> DamagedStoreError:
        number = row // self.field.rows_per_shard
        name = shard_name(number, len(self.field.shape) + 1)
        return DamagedStoreError(
            f"{self._store}: shard {self.field.name}/{name}, patch {row}: {fault}; "
            "`patchmill verify` lists all damage, then make or copy the store again"
        )


def _misplaced(offset: int) -> str:
    """Say what is wrong with an entry of an index that points to no chunk."""
    if offset == MISSING:
        return "the shard has no chunk for it"
    return "the shard's index points outside its chunks"


def _unfit(found: int, expected: int) -> str:
    return f"it holds {found} bytes, not {expected}"
