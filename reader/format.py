"""Format 1 of the store: names, the shard's layout, checksums and the codecs of a chunk.

A field (`image`, later `masks/NAME`) is a zarr v3 array of one patch per inner chunk inside
`sharding_indexed`. A shard file is

    chunk of row 0 | chunk of row 1 | ... | index | crc32c of the index

where the index has two little-endian uint64 (offset, nbytes) per row of the shard, both
`MISSING` for an absent row, and a chunk is the patch in C order, little-endian, after blosc
(unless the codec is "none"), followed by its own crc32c.
Source: zarr v3 specification, "Sharding codec" and "CRC32C codec".
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .native import crc32c

FORMAT = 1
#: Where a store's own attributes are, in those of its root group.
ATTRIBUTE = "patchmill"
#: Offset and nbytes of a row that has no chunk (zarr v3, "Sharding codec").
MISSING = 2**64 - 1
CHECKSUM_BYTES = 4
#: The fill value and the file name separator that every field has.
KEY_SEPARATOR = "."


def shard_name(shard: int, ndim: int) -> str:
    """Return the file name of a shard inside its array's folder.

    Examples
    --------
    >>> shard_name(7, ndim=4)
    'c.7.0.0.0'
    """
    return KEY_SEPARATOR.join(["c", str(shard), *["0"] * (ndim - 1)])


def checksum(data: bytes | NDArray[np.uint8]) -> int:
    """Return the crc32c (Castagnoli) of bytes, or of an array that is contiguous."""
    array = np.frombuffer(data, np.uint8)
    return int(crc32c(array.ctypes.data, len(array)))


def checksum_bytes(data: bytes | NDArray[np.uint8]) -> bytes:
    """Return the crc32c as it is written behind a chunk or an index: four bytes, little-endian."""
    return checksum(data).to_bytes(CHECKSUM_BYTES, "little")


def index_nbytes(rows_per_shard: int) -> int:
    """Return the size of a shard's index with its checksum, in bytes."""
    return rows_per_shard * 16 + CHECKSUM_BYTES


def pack_index(index: NDArray[np.uint64]) -> bytes:
    """Encode a shard's index.

    Parameters
    ----------
    index
        Shape (rows_per_shard, 2): offset and nbytes of each row, or `MISSING` twice.
    """
    data = index.astype("<u8").tobytes()
    return data + checksum_bytes(data)


def unpack_index(data: NDArray[np.uint8]) -> NDArray[np.uint64] | None:
    """Decode a shard's index, shape (rows_per_shard, 2); None where its checksum is wrong."""
    body, written = data[:-CHECKSUM_BYTES], data[-CHECKSUM_BYTES:].tobytes()
    if checksum_bytes(body.tobytes()) != written:
        return None
    return body.view("<u8").reshape(-1, 2).astype(np.uint64)


def field_codecs(dtype: np.dtype[Any], codec: str, level: int) -> list[dict[str, Any]]:
    """Return the inner codec chain of a field, as zarr v3 metadata.

    Parameters
    ----------
    dtype
        Of the patches.
    codec
        "lz4", "zstd" or "none".
    level
        Of the compression, 0 to 9.
    """
    chain: list[dict[str, Any]] = [{"name": "bytes"}]
    if dtype.itemsize > 1:
        chain[0]["configuration"] = {"endian": "little"}
    if codec != "none":
        chain.append(
            {
                "name": "blosc",
                "configuration": {
                    "typesize": dtype.itemsize,
                    "cname": codec,
                    "clevel": level,
                    "shuffle": "shuffle" if dtype.itemsize > 1 else "noshuffle",
                    "blocksize": 0,
                },
            }
        )
    return [*chain, {"name": "crc32c"}]


INDEX_CODECS: list[dict[str, Any]] = [
    {"name": "bytes", "configuration": {"endian": "little"}},
    {"name": "crc32c"},
]
