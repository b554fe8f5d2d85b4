"""Many 3-D data sets of an HDF5 file, one per time point and channel, as one 5-D array."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .hdf5_stored import check_filters, dataset_at
from .source import SourceError

if TYPE_CHECKING:
    import h5py

#: Rows that are read at once of data sets without chunks.
ROWS = 64


class Volumes:
    """An array (t, c, z, y, x) of data sets (z, y, x); each is opened when it is read.

    Parameters
    ----------
    path
        Of the file, for errors.
    file
        The open file.
    names
        Of the data sets: for each time point one per channel.
    size
        (z, y, x) of the pixels in each, where data sets are larger than the image and filled up;
        by default they must all be of one shape.
    unsigned
        Whether int16 is stored in place of uint16, bit by bit.

    Attributes
    ----------
    shape, dtype, chunks
        As of an h5py data set.
    """

    def __init__(
        self,
        path: str,
        file: h5py.File,
        names: Sequence[Sequence[str]],
        size: tuple[int, int, int] | None = None,
        unsigned: bool = False,
    ) -> None:
        self._path, self._file, self._names = path, file, names
        first = dataset_at(path, file, names[0][0])
        check_filters(path, first)
        if first.ndim != 3:
            raise SourceError(
                f"{path}: {first.name} has {first.ndim} dimensions, not z, y and x; mend the file "
                "or leave it out"
            )
        self._stored_shape: tuple[int, ...] = first.shape
        self._stored: np.dtype[Any] = first.dtype.newbyteorder("=")
        self._size = size or first.shape
        if any(n > stored for n, stored in zip(self._size, first.shape, strict=True)):
            raise SourceError(
                f"{path}: declares an image of {size} (z, y, x), but {first.name} holds only "
                f"{first.shape}; the file is damaged; mend it or leave it out"
            )
        self._padded = size is not None
        self.shape = (len(names), len(names[0]), *self._size)
        reinterpreted = unsigned and self._stored == np.int16
        self.dtype = np.dtype(np.uint16) if reinterpreted else self._stored
        self.chunks = (1, 1, *(first.chunks or (1, ROWS, first.shape[2])))

    def datasets(self) -> Iterator[h5py.Dataset]:
        """Yield all data sets.

        Raises
        ------
        SourceError
            Where one is missing, or unlike the first.
        """
        for t, channels in enumerate(self._names):
            for c in range(len(channels)):
                yield self._dataset(t, c)

    def _dataset(self, t: int, c: int) -> h5py.Dataset:
        found = dataset_at(self._path, self._file, self._names[t][c])
        alike = found.dtype.newbyteorder("=") == self._stored and found.ndim == 3
        if self._padded:
            alike = alike and all(a >= b for a, b in zip(found.shape, self._size, strict=True))
        else:
            alike = alike and found.shape == self._stored_shape
        if not alike:
            raise SourceError(
                f"{self._path}: {self._names[t][c]} is {found.dtype} of shape {found.shape}, but "
                f"{self._names[0][0]} is {self._stored} of shape {self._stored_shape}; parts of an "
                "image must be alike"
            )
        return found

    def __getitem__(self, region: tuple[slice, ...]) -> NDArray[Any]:
        """Return pixels of a region along (t, c, z, y, x); slices with start and stop."""
        times, channels, *zyx = region
        out = np.empty([part.stop - part.start for part in region], self.dtype)
        for i, t in enumerate(range(times.start, times.stop)):
            for j, c in enumerate(range(channels.start, channels.stop)):
                # HDF5 would clip negative numbers where it converts int16 to uint16.
                self._dataset(t, c).read_direct(out[i, j].view(self._stored), tuple(zyx))
        return out
