"""Opens a .npy file: its header, and then its pixels by the run of bytes that they lie in.

Not through a memory map: that ends the process where another machine cuts the file short meanwhile.
"""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from .axes import axes_of
from .bytes import Bytes, open_bytes
from .image import ArrayImage, ImageOptions
from .source import SourceError

#: Rows that count as one segment; any others can be read as well.
SEGMENT_ROWS = 64
#: More than NumPy accepts of a header.
_HEADER_BYTES = 1 << 16


def open_npy(path: str, options: ImageOptions) -> ArrayImage:
    """Open a .npy file as an image.

    Parameters
    ----------
    path
        Of the file.
    options
        `axes` is needed for more than two dimensions.

    Raises
    ------
    SourceError
        Where it holds Python objects, or its axes are not known. Other exceptions are what a
        damaged header makes NumPy raise.
    """
    file = open_bytes(path, options.storage)
    try:
        return _image(file, path, options)
    except BaseException:
        file.close()
        raise


def _image(file: Bytes, path: str, options: ImageOptions) -> ArrayImage:
    shape, is_fortran, dtype, offset = _header(file)
    if dtype.hasobject:
        raise SourceError(f"{path}: holds Python objects, which are never loaded; save numbers")
    axes = axes_of(path, shape, None, options)
    if is_fortran:
        # The same bytes in C order, with the axes the other way round.
        shape, axes = shape[::-1], axes[::-1]
    end = offset + math.prod(shape) * dtype.itemsize
    notes = []
    if file.size > end:
        notes.append(f"{file.size - end} bytes lie behind its array; they are not read")
    if dtype.kind == "b":
        notes.append("its pixels are true or false; they are read as 1 and 0")

    def check() -> None:
        if file.size < end:
            raise SourceError(
                f"{path}: was cut short: its array {shape} of {dtype} ends at byte {end}, the file "
                f"has {file.size}; copy it again or leave it out"
            )

    return ArrayImage(
        [_Runs(file, shape, dtype, offset)],
        axes,
        segments=[_segment(shape, axes)],
        notes=notes,
        dtype=np.uint8 if dtype.kind == "b" else None,
        check=check,
        close=file.close,
    )


def _header(file: Bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return shape, whether the first axis runs fastest, dtype, and where the pixels begin."""
    header = io.BytesIO(file.pread(min(file.size, _HEADER_BYTES), 0))
    version = npy.read_magic(header)
    if version == (1, 0):
        shape, is_fortran, dtype = npy.read_array_header_1_0(header)
    else:
        # 3.0 differs in the names of a structure's fields alone, which is no image.
        shape, is_fortran, dtype = npy.read_array_header_2_0(header)
    return shape, is_fortran, dtype, header.tell()


def _segment(shape: tuple[int, ...], axes: str) -> tuple[int, ...]:
    """Return some rows of one plane: a single run of bytes."""
    row = min(axes.index("Y"), axes.index("X"))
    return (1,) * row + (min(SEGMENT_ROWS, shape[row]),) + shape[row + 1 :]


class _Runs:
    """An array in a file, in C order, read by slices."""

    def __init__(
        self, file: Bytes, shape: tuple[int, ...], dtype: np.dtype[Any], offset: int
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self._file = file
        self._offset = offset

    def __getitem__(self, region: tuple[slice, ...]) -> NDArray[Any]:
        starts = [part.start for part in region]
        lengths = [part.stop - part.start for part in region]
        out = np.empty(lengths, self.dtype)
        if out.size == 0:
            return out
        # Axes from `split` on are whole: what one index of those before it holds is one run, and so
        # are neighbours along the last of these.
        split = len(lengths)
        while split > 0 and lengths[split - 1] == self.shape[split - 1]:
            split -= 1
        outer = lengths[: max(0, split - 1)]
        runs = out.reshape(*outer, -1)
        for index in np.ndindex(*outer):
            at = [start + i for start, i in zip(starts, index, strict=False)]
            at += starts[len(outer) :]
            position = 0
            for place, length in zip(at, self.shape, strict=True):
                position = position * length + place
            self._file.pread_into(
                runs[index].view(np.uint8), self._offset + position * self.dtype.itemsize
            )
        return out
