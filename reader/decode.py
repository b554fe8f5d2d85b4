"""Rows of a field into an array: per patch one slice of its shard and one decompression."""

from __future__ import annotations

import math
from pathlib import Path
from struct import Struct
from typing import Any

import numpy as np
from numcodecs.blosc import decompress
from numpy.typing import NDArray

from .errors import DamagedStoreError, IncompleteStoreError
from .field import Field
from .format import CHECKSUM_BYTES, MISSING, checksum, shard_name
from .shards import Shard, ShardError, ShardMaps

#: An entry of a shard's index: offset and nbytes.
_ENTRY = Struct("<QQ")
_CHECKSUM = Struct("<I")
#: Of a blosc chunk's header, from byte 4: nbytes decompressed, (block size,) nbytes compressed.
#: Source: c-blosc, README_CHUNK_FORMAT.rst.
_BLOSC_SIZES = Struct("<I4xI")
_BLOSC_HEADER_BYTES = 16


class FieldReader:
    """Reads the patches of one field, on any number of threads.

    Parameters
    ----------
    store
        The store's folder.
    field
        What to read.
    maps
        The store's open shards.
    verify
        Whether to check the crc32c of each chunk.
    is_complete
        Whether a shard that is missing is damage, rather than not yet written.
    """

    def __init__(
        self, store: Path, field: Field, maps: ShardMaps, *, verify: bool, is_complete: bool
    ) -> None:
        self.field = field
        self._store = store
        self._maps = maps
        self._verify = verify
        self._is_complete = is_complete
        self._folder = str(store / field.name)

    def read_into(self, rows: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Decode rows of the store.

        Parameters
        ----------
        rows
            Shape (n,), each within the field.
        out
            Shape (n, *field.shape), the field's dtype, C order; `out[i]` becomes patch `rows[i]`.

        Raises
        ------
        DamagedStoreError
            For the first chunk that is not what was written; `out` is then partly filled.
        """
        targets = out.reshape(len(rows), math.prod(self.field.shape)).view(np.uint8)
        is_blosc = self.field.codec != "none"
        verify = self._verify
        rows_per_shard = self.field.rows_per_shard
        patch_nbytes = self.field.patch_nbytes
        least_nbytes = _BLOSC_HEADER_BYTES if is_blosc else 1
        # In the order of the file: one look-up a shard, one map held at a time. The loop is long
        # and flat since each call in it costs about one hundredth of a patch.
        order = np.argsort(rows, kind="stable")
        current = -1
        for position, row in zip(order.tolist(), rows[order].tolist(), strict=True):
            number, slot = divmod(row, rows_per_shard)
            if number != current:
                shard = self._shard(number, row)
                memory, data, index_start = shard.memory, shard.data, shard.index_start
                current = number
            start, nbytes = _ENTRY.unpack_from(memory, index_start + 16 * slot)
            stop = start + nbytes - CHECKSUM_BYTES
            if start + least_nbytes > stop or stop + CHECKSUM_BYTES > index_start:
                raise self._damaged(number, row, _misplaced(start))
            source = data[start:stop]
            if verify and checksum(source) != _CHECKSUM.unpack_from(memory, stop)[0]:
                raise self._damaged(number, row, "its checksum is wrong")
            decoded = coded = stop - start
            if is_blosc:  # which believes its header: a wrong size would write past the patch
                decoded, coded = _BLOSC_SIZES.unpack_from(memory, start + 4)
            if decoded != patch_nbytes or coded != stop - start:
                raise self._damaged(number, row, f"it holds {decoded} bytes, not {patch_nbytes}")
            if not is_blosc:
                targets[position] = source
                continue
            try:
                decompress(source, targets[position])
            except (RuntimeError, ValueError) as error:
                raise self._damaged(number, row, f"it cannot be decompressed ({error})") from error

    def _shard(self, number: int, row: int) -> Shard:
        name = shard_name(number, len(self.field.shape) + 1)
        try:
            return self._maps.get(f"{self._folder}/{name}", self.field.rows_per_shard)
        except ShardError as error:
            if isinstance(error.__cause__, FileNotFoundError) and not self._is_complete:
                raise IncompleteStoreError(
                    f"{self._store}: shard {self.field.name}/{name} with patch {row} is not "
                    "written yet; run the same `patchmill prepare` again"
                ) from error
            raise self._damaged(number, row, str(error)) from error

    def _damaged(self, number: int, row: int, fault: str) -> DamagedStoreError:
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
