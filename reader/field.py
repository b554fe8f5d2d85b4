"""One field of a store: what its zarr metadata say, and whether that is format 1."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import DamagedStoreError
from .format import INDEX_CODECS, KEY_SEPARATOR, field_codecs
from .remote import Place
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
        "lz4", "zstd" or "none"; "zarr" where only zarr knows.
    level
        Of the compression.
    classes
        Of a mask, each number with the name of its class.
    ignore
        Of a mask, the number of pixels that are of no class: padded, or not annotated.
    is_fast
        Whether it is laid out as format 1 says; otherwise it is read through zarr, and its
        `rows_per_shard` are those of a file.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    rows: int
    rows_per_shard: int
    codec: str
    level: int
    is_fast: bool = True
    classes: tuple[tuple[int, str], ...] = ()
    ignore: int | None = None

    @property
    def patch_nbytes(self) -> int:
        """Size of one patch in memory, in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_field(store: Place, name: str) -> Field:
    """Read and check the zarr.json of one field.

    Raises
    ------
    StoreError
        For an array that neither this version nor zarr can read.
    DamagedStoreError
        For metadata that are missing or are no zarr array.
    """
    meta = read_json(store / name / "zarr.json")
    if meta.get("zarr_format") != 3 or meta.get("node_type") != "array":
        raise DamagedStoreError(
            f"{store}: field {name!r} is no zarr v3 array; make or copy the store again"
        )
    field = parse_field(name, meta)
    if field is not None:
        return field
    from .foreign import foreign_field  # which needs `Field`

    return foreign_field(store, name)


def parse_field(name: str, meta: dict[str, Any]) -> Field | None:
    """Return the field that an array's zarr.json describes; None where that is not format 1."""
    try:
        rows, *shape = map(operator.index, meta["shape"])
        rows_per_shard = operator.index(meta["chunk_grid"]["configuration"]["chunk_shape"][0])
        sharding = {"index_location": "end"} | meta["codecs"][0]["configuration"]
        codec, level = _compression(sharding["codecs"])
        found = {
            "chunk_grid": meta["chunk_grid"],
            "chunk_key_encoding": meta["chunk_key_encoding"],
            "codecs": [meta["codecs"][0] | {"configuration": sharding}, *meta["codecs"][1:]],
            "storage_transformers": meta.get("storage_transformers", []),
        }
        if meta["data_type"] not in DATA_TYPES or not shape or min(rows + 1, *shape) < 1:
            return None
    except (KeyError, TypeError, ValueError, IndexError):
        return None
    dtype = np.dtype(meta["data_type"]).newbyteorder("<")
    if found != _layout(shape, rows_per_shard, field_codecs(dtype, codec, level)):
        return None
    return Field(
        name, tuple(shape), dtype, rows, rows_per_shard, codec, level, True, *_classes(meta)
    )


def _classes(meta: dict[str, Any]) -> tuple[tuple[tuple[int, str], ...], int | None]:
    """Return the classes of a mask and its ignore value; none of other arrays."""
    said = meta.get("attributes", {})
    classes, ignore = said.get("classes", {}), said.get("ignore")
    if not isinstance(classes, dict) or not all(isinstance(n, int) for n in classes.values()):
        return (), None
    numbered = sorted((number, name) for name, number in classes.items())
    return tuple(numbered), ignore if isinstance(ignore, int) else None


def _compression(codecs: list[dict[str, Any]]) -> tuple[str, int]:
    """Return name and level of a chunk's compression, as `field_codecs` takes them."""
    blosc = [codec["configuration"] for codec in codecs if codec["name"] == "blosc"]
    if not blosc:
        return "none", 0
    if blosc[0]["cname"] not in ("lz4", "zstd"):
        raise ValueError("format 1 has no such compression")
    return blosc[0]["cname"], operator.index(blosc[0]["clevel"])


def _layout(shape: list[int], rows_per_shard: int, codecs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return those parts of a zarr.json that say where the bytes are, as format 1 has them."""
    return {
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": [rows_per_shard, *shape]},
        },
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": KEY_SEPARATOR}},
        "codecs": [
            {
                "name": "sharding_indexed",
                "configuration": {
                    "chunk_shape": [1, *shape],
                    "codecs": codecs,
                    "index_codecs": INDEX_CODECS,
                    "index_location": "end",
                },
            }
        ],
        "storage_transformers": [],
    }
