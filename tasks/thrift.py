"""Structures as Thrift's compact protocol writes them: the heads in parquet files.

Of the format: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from typing import Any

_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 12
_INTEGERS = (4, 5, 6)
_DEEPEST = 16

#: By the numbers of the fields: integers, bytes, lists, structures; None for what is not kept.
Fields = dict[int, Any]


def read_struct(data: bytes, at: int = 0, depth: int = 0) -> tuple[Fields, int]:
    """Return the fields of a structure, and where it ends.

    Parameters
    ----------
    data
        It may go on behind the structure.
    at
        Where it begins.
    depth
        How many structures it lies in.

    Raises
    ------
    IndexError
        Where it goes on behind the data, or is none.
    """
    if depth > _DEEPEST:
        raise IndexError("structures lie too deep in each other")
    fields: Fields = {}
    number = 0
    while True:
        kind, step = data[at] & 15, data[at] >> 4
        at += 1
        if kind == _STOP:
            return fields, at
        if step:
            number += step
        else:
            number, at = _integer(data, at)
        if kind in (_TRUE, _FALSE):  # the type is the value
            fields[number] = kind == _TRUE
        else:
            fields[number], at = _value(data, at, kind, depth)


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in _INTEGERS:
        return _integer(data, at)
    if kind == _STRUCT:
        return read_struct(data, at, depth + 1)
    if kind == _BINARY:
        length, at = _varint(data, at)
        if at + length > len(data):
            raise IndexError("a text goes on behind the data")
        return data[at : at + length], at + length
    if kind in (_LIST, _SET):
        count, kind = data[at] >> 4, data[at] & 15
        at += 1
        if count == 15:
            count, at = _varint(data, at)
        items = []
        for _ in range(count):
            item, at = _value(data, at, kind, depth + 1)
            items.append(item)
        return items, at
    size = {_TRUE: 1, _FALSE: 1, _BYTE: 1, _DOUBLE: 8}.get(kind)
    if size is None or at + size > len(data):
        raise IndexError(f"no value of type {kind}")
    return None, at + size


def _integer(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
    raise IndexError("a number has no end")
