"""Makes the arrays of a store with zarr: every chunk written, each with its checksum.

zarr leaves out chunks that are all fill value; in a store an absent chunk is damage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numcodecs.blosc
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCname, BloscCodec, Crc32cCodec, VLenUTF8Codec

from ..tasks.patches import PatchSpec

# Blocks of multithreaded blosc land in order of completion: the bytes would differ run by run.
numcodecs.blosc.use_threads = False

#: Values in one chunk of a column.
CHUNK_ROWS = 1 << 16


@contextmanager
def every_chunk_written() -> Iterator[None]:
    """Have zarr write chunks that are all fill value, too."""
    with zarr.config.set({"array.write_empty_chunks": True}):
        yield


def add_field(
    group: zarr.Group,
    name: str,
    rows: int,
    patch: PatchSpec,
    one: tuple[int, ...],
    dtype: np.dtype[Any],
    axes: Sequence[str],
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Make the array of a field: one patch per chunk, `rows_per_shard` chunks in a shard.

    Parameters
    ----------
    one, dtype, axes
        Shape, type and axes of a patch of this field.
    """
    compressors: list[Any] = [Crc32cCodec()]
    if patch.codec != "none":
        blosc = BloscCodec(
            typesize=dtype.itemsize,
            cname=BloscCname(patch.codec),
            clevel=patch.level,
            shuffle="shuffle" if dtype.itemsize > 1 else "noshuffle",
            blocksize=0,
        )
        compressors.insert(0, blosc)
    group.create_array(
        name,
        shape=(rows, *one),
        dtype=dtype,
        chunks=(1, *one),
        shards=(patch.rows_per_shard, *one),
        compressors=compressors,
        chunk_key_encoding={"name": "default", "separator": "."},
        fill_value=0,
        dimension_names=["patch", *axes],
        attributes=dict(attributes or {}),
    )


def add_column(
    group: zarr.Group,
    name: str,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    dimensions: Sequence[str],
    attributes: Mapping[str, Any] | None = None,
) -> zarr.Array[Any]:
    """Make the array of a numeric column; the caller writes it."""
    return group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=(max(1, min(CHUNK_ROWS, shape[0])), *shape[1:]),
        compressors=[
            BloscCodec(
                typesize=dtype.itemsize, cname="zstd", clevel=3, shuffle="shuffle", blocksize=0
            ),
            Crc32cCodec(),
        ],
        fill_value=dtype.type(0).item(),
        dimension_names=list(dimensions),
        attributes=dict(attributes or {}),
    )


def write_column(
    group: zarr.Group,
    name: str,
    values: NDArray[Any],
    dimensions: Sequence[str],
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Make a numeric column and write all of it."""
    column = add_column(group, name, values.dtype, values.shape, dimensions, attributes)
    if values.size:
        column[...] = values


def write_texts(group: zarr.Group, name: str, texts: Sequence[str], dimension: str) -> None:
    """Make a column of texts: zarr's `string`, variable-length UTF-8."""
    # A file's name may be no UTF-8; its odd bytes are written as \\xNN.
    raw = [text.encode("utf-8", "surrogateescape") for text in texts]
    texts = [text.decode("utf-8", "backslashreplace") for text in raw]
    column = group.create_array(
        name,
        shape=(len(texts),),
        dtype=str,
        chunks=(max(1, min(CHUNK_ROWS, len(texts))),),
        serializer=VLenUTF8Codec(),
        compressors=[
            BloscCodec(typesize=1, cname="zstd", clevel=3, shuffle="noshuffle", blocksize=0),
            Crc32cCodec(),
        ],
        fill_value="",
        dimension_names=[dimension],
    )
    if texts:
        column[...] = np.array(texts, dtype=object)
