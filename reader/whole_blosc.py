"""Blosc for zarr that first looks whether all of a chunk is there.

Blosc takes the length of a chunk from the chunk's own header and reads that far, also where the
file ends before: of chunks that lack their last few bytes a good part comes out as wrong pixels,
without an error (numcodecs 0.16). So the arrays that we read have this codec in the place of blosc.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from typing import Any, NoReturn, Self, cast

import numcodecs
import zarr
from numcodecs import blosc
from zarr.abc.codec import BytesBytesCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer
from zarr.registry import register_codec

#: Under which name zarr and numcodecs find it.
NAME = "patchmill-blosc"
_BLOSC = ("blosc", "numcodecs.blosc")
#: Of a header of 16 bytes, at byte 12: the length of the chunk as it is stored.
#: Source: c-blosc, README_CHUNK_FORMAT.rst.
_HEADER_BYTES = 16
_STORED = struct.Struct("<I")


def decode_whole(chunk: Any) -> bytes:
    """Decompress a chunk.

    Raises
    ------
    ValueError
        Where the chunk is shorter than its header says.
    RuntimeError
        Where blosc cannot decompress it.
    """
    data = memoryview(chunk).cast("B")
    if len(data) < _HEADER_BYTES:
        raise ValueError(f"a chunk was cut short, to {len(data)} bytes")
    (stored,) = _STORED.unpack_from(data, 12)
    if len(data) < stored:
        raise ValueError(f"a chunk was cut short, to {len(data)} of {stored} bytes")
    return cast("bytes", blosc.decompress(data))


def with_whole_blosc(array: zarr.Array[Any]) -> zarr.Array[Any]:
    """Return the same array, decompressed by `decode_whole` where blosc would be used."""
    metadata = array.metadata.to_dict()
    checked = _replaced(metadata)
    if checked == metadata:
        return array
    return zarr.Array.from_dict(array.store_path, checked)


def _replaced(metadata: Any) -> Any:
    """Return metadata with our codec in the place of blosc, at any depth: in shards, too."""
    if isinstance(metadata, dict):
        replaced = {key: _replaced(value) for key, value in metadata.items() if key != "attributes"}
        if metadata.get("id") == "blosc":
            return {"id": NAME}
        if metadata.get("name") in _BLOSC and "configuration" in metadata:
            return {"name": NAME}
        if "attributes" in metadata:
            replaced["attributes"] = metadata["attributes"]
        return replaced
    if isinstance(metadata, list | tuple):
        return type(metadata)(_replaced(value) for value in metadata)
    return metadata


class _WholeBlosc(numcodecs.abc.Codec):
    """For zarr v2."""

    codec_id = NAME

    def encode(self, buf: Any) -> NoReturn:
        raise NotImplementedError("for reading alone")

    def decode(self, buf: Any, out: Any = None) -> bytes:
        return decode_whole(buf)


@dataclass(frozen=True)
class _WholeBloscCodec(BytesBytesCodec):
    """For zarr v3."""

    is_fixed_size = False

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        return cls()

    def to_dict(self) -> Any:
        return {"name": NAME}

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        decoded = await asyncio.to_thread(decode_whole, chunk_data.as_numpy_array())
        return chunk_spec.prototype.buffer.from_bytes(decoded)

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> NoReturn:
        raise NotImplementedError("for reading alone")


numcodecs.register_codec(_WholeBlosc)  # type: ignore[no-untyped-call]
register_codec(NAME, _WholeBloscCodec)
