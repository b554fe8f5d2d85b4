"""An image out of data sets of an open HDF5 file."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..reader.remote import is_remote
from .hdf5_stored import chunks_stored, sources_of
from .image import UNKNOWN_VOXEL, ArrayImage, ImageOptions, VoxelSize
from .limits import check_segment_bytes

if TYPE_CHECKING:
    import h5py


class Hdf5Image(ArrayImage):
    """An image whose levels are data sets, or many data sets in one array.

    Parameters
    ----------
    path
        Of the file.
    file
        The open file; `close` closes it.
    levels, axes, channels, voxel_um, segments, notes, dtype
        As in `ArrayImage`.
    datasets
        Returns every data set that the image is made of.
    beside
        Further files that belong to the image.
    options
        `max_segment_bytes` counts.
    """

    def __init__(
        self,
        path: str,
        file: h5py.File,
        levels: Sequence[Any],
        axes: str,
        datasets: Callable[[], Iterable[h5py.Dataset]],
        *,
        options: ImageOptions,
        beside: Sequence[str] = (),
        channels: Sequence[str] = (),
        voxel_um: VoxelSize = UNKNOWN_VOXEL,
        segments: Sequence[tuple[int, ...]] | None = None,
        notes: Sequence[str] = (),
        dtype: Any = None,
    ) -> None:
        super().__init__(
            levels,
            axes,
            channels=channels,
            voxel_um=voxel_um,
            segments=segments,
            notes=notes,
            dtype=dtype,
            check=self._check_stored,
            close=file.close,
        )
        self._path = path
        self._options = options
        self._datasets = datasets
        self._beside = beside

    @property
    def files(self) -> tuple[str, ...]:
        """All files that pixels and metadata come from, the one that was opened first."""
        found = set(self._beside)
        for dataset in self._datasets():
            if not is_remote(self._path):
                found.add(os.fspath(dataset.file.filename))
            found.update(file for file, _ in sources_of(self._path, dataset))
        return (self._path, *sorted(found - {self._path}))

    def _check_stored(self) -> None:
        missing = total = 0
        for dataset in self._datasets():
            # A chunk may be larger than a data set that can grow.
            nbytes = math.prod(dataset.chunks or (0,)) * dataset.dtype.itemsize
            check_segment_bytes(self._path, nbytes, self._options)
            there, expected = chunks_stored(self._path, dataset)
            missing, total = missing + expected - there, total + expected
        if missing:
            self.notes += (
                f"{missing} of its {total} chunks were never written, and are read as the fill "
                "value of the file",
            )
