"""Whether the pages of a parquet column lie where they say, before pyarrow takes memory for them.

Read through a buffer, which is how a large column is read in little memory, pyarrow believes the
head of a page: a damaged one makes it ask for gigabytes. So heads are walked first.

A head is a Thrift structure: https://github.com/apache/parquet-format, `PageHeader`;
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from .bytes import Bytes
from .source import SourceError

if TYPE_CHECKING:
    import pyarrow.parquet as pq

#: Of a head; it may hold the smallest and largest value, which may be long texts.
_HEAD_BYTES, _LONG_HEAD_BYTES = 1 << 10, 1 << 20
_UNCOMPRESSED, _COMPRESSED = 2, 3
#: Types of the compact protocol.
_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 12
_INTEGERS = (4, 5, 6)
_DEEPEST = 8


def check_pages(path: str, file: Bytes, meta: pq.FileMetaData, group: int, name: str) -> None:
    """Raise a SourceError where pages of a column do not fit into what the footer says of it.

    Parameters
    ----------
    path, file
        The table.
    meta
        Its footer.
    group, name
        The row group and the column, which may be of lists.
    """
    row_group = meta.row_group(group)
    for number in range(row_group.num_columns):
        column = row_group.column(number)
        if column.path_in_schema.split(".")[0] == name and not _fit(file, column):
            raise SourceError(
                f"{path}: pages of column {name!r} in row group {group} do not fit into it; the "
                "table is damaged; copy it again or leave it out"
            )


def _fit(file: Bytes, column: pq.ColumnChunkMetaData) -> bool:
    at = column.data_page_offset
    if column.has_dictionary_page:
        at = min(at, column.dictionary_page_offset)
    end = at + column.total_compressed_size
    while 0 <= at < end:
        size, fields = _head(file, at)
        stored, nbytes = fields.get(_COMPRESSED, -1), fields.get(_UNCOMPRESSED, -1)
        if not size or stored < 0 or not 0 <= nbytes <= column.total_uncompressed_size:
            return False
        at += size + stored
    # Some writers leave a head out of what they say of the whole (PARQUET-816).
    return bool(end <= at <= file.size)


def _head(file: Bytes, at: int) -> tuple[int, dict[int, int]]:
    """Return how long a head is, 0 where there is none, and its numbers by field."""
    for nbytes in (_HEAD_BYTES, _LONG_HEAD_BYTES):
        fields: dict[int, int] = {}
        data = file.pread(min(nbytes, max(0, file.size - at)), at)
        with suppress(IndexError):  # it goes on behind the data, or is none
            return _struct(data, 0, fields, 0), fields
    return 0, {}


def _struct(data: bytes, at: int, fields: dict[int, int], depth: int) -> int:
    """Fill in the numbers of a structure, and return where it ends."""
    if depth > _DEEPEST:
        raise IndexError("too deep")
    field = 0
    while True:
        kind, step = data[at] & 15, data[at] >> 4
        at += 1
        if kind == _STOP:
            return at
        if step:
            field += step
        else:
            field, at = _integer(data, at)
        if kind in _INTEGERS:
            fields[field], at = _integer(data, at)
        else:
            at = _skip(data, at, kind, depth)


def _skip(data: bytes, at: int, kind: int, depth: int) -> int:
    """Return where a value ends that is no field of integers."""
    if kind in (_TRUE, _FALSE):  # the type is the value
        return at
    if kind == _BYTE:
        return at + 1
    if kind in _INTEGERS:
        return _varint(data, at)[1]
    if kind == _DOUBLE:
        return at + 8
    if kind == _BINARY:
        length, at = _varint(data, at)
        return at + length
    if kind == _STRUCT:
        return _struct(data, at, {}, depth + 1)
    if kind in (_LIST, _SET):
        count, kind = data[at] >> 4, data[at] & 15
        at += 1
        if count == 15:
            count, at = _varint(data, at)
        for _ in range(count):
            # Within a list, true and false take a byte each.
            at = at + 1 if kind in (_TRUE, _FALSE) else _skip(data, at, kind, depth + 1)
            data[at - 1]  # where it ends
        return at
    raise IndexError(f"no type {kind}")


def _integer(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
