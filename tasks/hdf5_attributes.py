"""Attributes of HDF5, read so that a damaged file cannot hang or end the process.

Texts of any length, and what virtual data sets are made of, lie in global heaps, of which HDF5
follows whatever is written there: an object without a length is read again and again, for ever,
and one too long leads out of memory (seen with libhdf5 2.0). So they are read by way of a
file object that looks at each heap first.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import h5py

#: Of a global heap and of an object in it, where lengths have up to 8 bytes. Source: HDF5 File
#: Format Specification 3.0, III.E.
_MAGIC, _HEAP_BYTES, _OBJECT_BYTES = b"GCOL", 16, 16
_ALIGNED = 8


def attribute(item: h5py.Group | h5py.Dataset, name: str) -> Any:
    """Return an attribute, None where there is none.

    Parameters
    ----------
    item
        What has it.
    name
        Of the attribute.

    Raises
    ------
    Exception
        Whatever a damaged file makes h5py raise.
    """
    import h5py

    if name not in item.attrs:
        return None
    kind = item.attrs.get_id(name).get_type()
    if isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str():
        with checked(item.file) as file:
            return file[item.name].attrs[name]
    return item.attrs[name]


@contextmanager
def checked(file: h5py.File) -> Iterator[h5py.File]:
    """Open a file once more, so that its heaps are looked at; slower, for metadata alone."""
    import h5py

    if file.driver == "fileobj":  # a `CheckedHeaps` already
        yield file
        return
    length_bytes = file.id.get_create_plist().get_sizes()[1]
    with (
        Path(file.filename).open("rb") as raw,
        h5py.File(CheckedHeaps(raw, length_bytes), "r") as opened,
    ):
        yield opened


class CheckedHeaps(io.RawIOBase):
    """A file for h5py that raises where a global heap that is read from it is damaged.

    Parameters
    ----------
    file
        The file itself; it stays open.
    length_bytes
        Of the numbers in it that are lengths.
    """

    def __init__(self, file: io.BufferedReader, length_bytes: int = 8) -> None:
        self._file = file
        self._length_bytes = length_bytes

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it has positions."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        """Fill memory, and look at it where it is a heap.

        Raises
        ------
        ValueError
            Where HDF5 would never come to the heap's end, or beyond it.
        """
        nbytes = self._file.readinto(buffer)
        data = memoryview(buffer)[:nbytes].cast("B")
        if data[: len(_MAGIC)] == _MAGIC:
            self._check_heap(data)
        return nbytes

    def _check_heap(self, data: memoryview) -> None:
        size = self._number(data, 8)
        if size > len(data):
            return  # its beginning; all of it is read next
        at = _HEAP_BYTES
        while at + _OBJECT_BYTES <= size:
            index = int.from_bytes(data[at : at + 2], "little")
            nbytes = self._number(data, at + 8)
            if index:
                nbytes = _OBJECT_BYTES + -(-nbytes // _ALIGNED) * _ALIGNED
            if not 0 < nbytes <= size - at:
                raise ValueError(f"a heap of texts is damaged at byte {at} of {size}")
            at += nbytes

    def _number(self, data: memoryview, at: int) -> int:
        return int.from_bytes(data[at : at + self._length_bytes], "little")
