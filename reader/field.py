"""One field of a store: what its zarr metadata say, checked against format 1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import DamagedStoreError, StoreError
from .format import INDEX_CODECS, KEY_SEPARATOR, field_codecs
from .root import read_json

#: zarr v3 data types of a field; their names are NumPy's.
DATA_TYPES = frozenset(
    ["bool", "float16", "float32", "float64"]
    + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
)


@dataclass(frozen=True)
class Field:
    """An array of patches.

    Attributes
    ----------
    name
        For instance `image`; also the key in a batch.
    shape
        Of one patch, for instance (c, y, x).
    dtype
        Of the patches; little-endian.
    rows
        Number of patches, void ones included.
    rows_per_shard
        Number of patches in one shard file.
    codec
        "lz4", "zstd" or "none".
    level
        Of the compression.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    rows: int
    rows_per_shard: int
    codec: str
    level: int

    @property
    def patch_nbytes(self) -> int:
        """Size of one patch in memory, in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_field(store: Path, name: str) -> Field:
    """Read and check the zarr.json of one field.

    Raises
    ------
    StoreError
        For an array that is valid zarr but not laid out or coded as format 1 says.
    DamagedStoreError
        For metadata that are missing or are no zarr array.
    """
    where = f"{store}: field {name!r}"
    meta = read_json(store / name / "zarr.json")
    try:
        if meta["zarr_format"] != 3 or meta["node_type"] != "array":
            raise DamagedStoreError(f"{where} is no zarr v3 array; make or copy the store again")
        shape = tuple(int(size) for size in meta["shape"])
        grid = tuple(int(size) for size in meta["chunk_grid"]["configuration"]["chunk_shape"])
        if meta["data_type"] not in DATA_TYPES:
            raise StoreError(f"{where} has data type {meta['data_type']!r}; format 1 has no such")
        dtype = np.dtype(meta["data_type"]).newbyteorder("<")
        encoding = meta["chunk_key_encoding"]
        codec, level = _inner_codec(where, meta["codecs"], (1, *shape[1:]), dtype)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        if isinstance(error, StoreError):
            raise
        raise DamagedStoreError(
            f"{where}: its zarr.json is not that of an array ({error!r}); "
            "make or copy the store again"
        ) from error
    if encoding != {"name": "default", "configuration": {"separator": KEY_SEPARATOR}}:
        raise StoreError(f"{where} has chunk keys {encoding!r}; format 1 separates them by a dot")
    if len(shape) < 2 or min(shape[1:]) < 1 or grid[1:] != shape[1:] or min(grid) < 1:
        raise DamagedStoreError(
            f"{where} has shape {shape} and shards {grid}; a shard must hold whole patches"
        )
    return Field(name, shape[1:], dtype, shape[0], grid[0], codec, level)


def _inner_codec(
    where: str, codecs: list[Any], chunk: tuple[int, ...], dtype: np.dtype[Any]
) -> tuple[str, int]:
    """Return codec and level of a field's chunks, refusing what `field_codecs` does not write."""
    if [codec["name"] for codec in codecs] != ["sharding_indexed"]:
        raise StoreError(f"{where} is not sharded; this version reads sharded fields")
    sharding = codecs[0]["configuration"]
    if tuple(sharding["chunk_shape"]) != chunk:
        raise StoreError(
            f"{where} has chunks of {tuple(sharding['chunk_shape'])}; this version reads one patch "
            f"a chunk, {chunk}"
        )
    inner = sharding["codecs"]
    blosc = [codec["configuration"] for codec in inner if codec["name"] == "blosc"]
    codec, level = (blosc[0]["cname"], int(blosc[0]["clevel"])) if blosc else ("none", 0)
    is_ours = (
        codec in ("lz4", "zstd", "none")
        and inner == field_codecs(dtype, codec, level)
        and sharding["index_codecs"] == INDEX_CODECS
        and sharding.get("index_location", "end") == "end"
    )
    if not is_ours:
        raise StoreError(
            f"{where} is coded as {[codec['name'] for codec in inner]}; this version reads bytes, "
            "blosc (lz4 or zstd) or none, and crc32c, with the shard's index at its end"
        )
    return codec, level
