"""Rows of equal length in a temporary file without a name, made of columns, read row by row.

Not in memory, and not mapped: mapped pages count as the worker's, and Dask kills workers for them.
Written once and in long runs: fresh pages are dear, and scattered writes are written back again
and again where memory is short.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import DTypeLike, NDArray

#: Columns that are held until they are written as rows.
BLOCK_BYTES = 64 << 20
#: Rows that are written at once.
_BAND_BYTES = 1 << 20
#: OpenCV turns elements of these types; it moves bytes, so that floats and integers are alike.
_ALIKE = {1: np.uint8, 2: np.uint16, 4: np.int32, 8: np.float64}


class RowFile:
    """Rows of one length, in the folder of temporary files (`TMPDIR`); gone with the object.

    They lie in tiles, one after another: all rows of the first `tile_bytes` of each row, then all
    of the next. So a row is as many short reads as there are tiles.

    Parameters
    ----------
    n_rows
        That there will be.
    row_bytes, tile_bytes
        Of one row.
    """

    def __init__(self, n_rows: int, row_bytes: int, tile_bytes: int) -> None:
        self._row_bytes = row_bytes
        self._tiles = [
            (first, min(first + tile_bytes, row_bytes), first * n_rows)
            for first in range(0, row_bytes, tile_bytes)
        ]
        # It has no name, so that even a killed worker leaves nothing behind.
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        self._fd = self._file.fileno()

    def __del__(self) -> None:
        # Another thread may still read when the table lets go of it.
        if hasattr(self, "_file"):
            self._file.close()

    def append(self, values: NDArray[Any]) -> None:
        """Write a contiguous array behind what is there."""
        left = values.reshape(-1).view(np.uint8).data
        while left:
            left = left[os.write(self._fd, left) :]

    def read_into(self, out: NDArray[np.uint8], row: int) -> None:
        """Fill contiguous memory, a whole number of rows, from a row on."""
        n = len(out) // self._row_bytes
        if n == 1 or len(self._tiles) == 1:
            view = out.data
            for first, stop, at in self._tiles:
                self._fill(view[first * n : stop * n], at + row * (stop - first))
            return
        rows = out.reshape(n, self._row_bytes)
        for first, stop, at in self._tiles:
            part = np.empty((n, stop - first), np.uint8)
            self._fill(part.reshape(-1).data, at + row * (stop - first))
            rows[:, first:stop] = part

    def _fill(self, left: memoryview, offset: int) -> None:
        while (nbytes := os.preadv(self._fd, [left], offset)) < len(left):
            if nbytes == 0:
                raise EOFError("a temporary file is shorter than what was written")
            left, offset = left[nbytes:], offset + nbytes


def rows_of_columns(
    columns: Iterable[NDArray[Any]], n_rows: int, n_columns: int, dtype: DTypeLike
) -> RowFile:
    """Write columns as rows, in bounded memory.

    Parameters
    ----------
    columns
        1-D arrays of `n_rows` values, `n_columns` of them, one after another.
    n_rows, n_columns, dtype
        Of all.

    Raises
    ------
    OSError
        Where there is no room for them.
    ValueError
        Where there are more or fewer columns.
    """
    itemsize = np.dtype(dtype).itemsize
    width = max(1, min(n_columns, BLOCK_BYTES // max(1, n_rows * itemsize)))
    out = RowFile(n_rows, n_columns * itemsize, width * itemsize)
    block = np.empty((width, n_rows), _ALIKE[itemsize])
    filled = written = 0
    for column in columns:
        block[filled] = column.view(block.dtype)
        filled += 1
        if filled == width or written + filled == n_columns:
            _append_turned(out, block[:filled])
            filled, written = 0, written + filled
    if filled or written != n_columns:
        raise ValueError(f"{written + filled} columns, not {n_columns}")
    return out


def _append_turned(out: RowFile, block: NDArray[Any]) -> None:
    n_columns, n_rows = block.shape
    band = max(1, _BAND_BYTES // (n_columns * block.itemsize))
    turned = np.empty((min(band, n_rows), n_columns), block.dtype)
    for row in range(0, n_rows, band):
        part = turned[: min(band, n_rows - row)]
        cv2.transpose(block[:, row : row + band], part)
        out.append(part)
