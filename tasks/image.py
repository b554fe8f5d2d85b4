"""What an open image is to patchmill: the one Protocol that every format, and a user's own, meets.

A reader opens a path and says what is in it; pixels come region by region. `ArrayImage` makes one
of anything that looks like an array, so that a format is usually one short function:

    def open_mine(path):
        return ArrayImage([my_array], axes="CYX", channels=("DAPI", "GFP"))

and a recipe names it as `images.reader = "package.module:open_mine"`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

#: (z, y, x) in micrometres; NaN where it is not known.
VoxelSize = tuple[float, float, float]
UNKNOWN_VOXEL: VoxelSize = (math.nan, math.nan, math.nan)

#: Axes that an image may have. N counts images of their own, as in a stack of samples.
AXES = "NTCZYX"
#: What is read at once of a plane whose reader does not say, in y and x.
DEFAULT_SEGMENT_PX = 1024
#: Small segments are read in runs of about this size.
BAND_BYTES = 1 << 20


class ImageReader(Protocol):
    """An open image. Several threads of one process may read it at once.

    It may have an attribute `significant_bits`: how many bits of a pixel's value the camera fills,
    such as 12, where the file says so; 0, or none, where it does not.
    """

    @property
    def axes(self) -> str:
        """What its dimensions are: letters out of "NTCZYX", each once, Y and X among them.

        Samples of a pixel (RGB) are channels, C. Each along N is an image of its own.
        """
        ...

    @property
    def shapes(self) -> Sequence[tuple[int, ...]]:
        """Lengths of the levels, finest first, in the order of `axes`; z, y, x alone differ."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the pixels, native byte order."""
        ...

    @property
    def channels(self) -> Sequence[str]:
        """Names of the channels; empty texts, or none at all, where the file does not say."""
        ...

    @property
    def items(self) -> Sequence[str]:
        """Names of the images along N; none where the file does not name them."""
        ...

    @property
    def voxel_um(self) -> VoxelSize:
        """(z, y, x) of level 0 in micrometres, NaN where the file does not say."""
        ...

    @property
    def segments(self) -> Sequence[tuple[int, ...]]:
        """For each level, in the order of `axes`: what must be read and decoded at once."""
        ...

    @property
    def band_bytes(self) -> int:
        """Runs of small segments are read at once up to this size; 0 reads each by itself."""
        ...

    @property
    def held_bytes(self) -> int:
        """Memory that it keeps while it is open and being read, where that is much; else 0."""
        ...

    @property
    def files(self) -> Sequence[str]:
        """Absolute paths of all files that the image is in, where they are several; else none."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """Sentences on what was guessed, for the user; a guess is never silent."""
        ...

    def read(self, level: int, region: tuple[slice, ...]) -> NDArray[Any]:
        """Return the pixels of a region.

        Parameters
        ----------
        level
            Index in `shapes`.
        region
            For each axis, in the order of `axes`, a slice with start and stop inside the level.
            Along Y and X, starts lie on the grid of segments, stops on it or at the end of the
            level; along other axes a region lies inside one segment.

        Returns
        -------
        numpy.ndarray
            Of the region's shape and of `dtype`; it may be a view of memory that the same thread
            uses again at its next call.

        Raises
        ------
        Exception
            Whatever a damaged file makes a decoder raise; never other pixels instead.
        """
        ...

    def check(self) -> None:
        """Raise a SourceError where the metadata tells that pixels are missing or damaged.

        Called once, at the survey.
        """
        ...

    def close(self) -> None:
        """Let go of the file; nobody reads any more."""
        ...


@dataclass(frozen=True)
class ImageOptions:
    """What a recipe says about how files are opened; travels to the workers.

    Attributes
    ----------
    axes
        What the dimensions of a file are, for files that do not say or say it wrongly.
    reader
        "package.module:function" that opens a path; None takes the format from the file.
    dataset
        What inside a file is meant, where it holds several: a path in HDF5 or zarr, a series or
        scene by number or name.
    palette
        "index": the numbers of a palette image as they are; "colour": its colours, as channels.
    table_size
        (height, width) of the images that a table's rows are.
    table_id
        The column with the images' names.
    table_pixels
        The column with a list of pixels per row; None where each pixel has a column.
    storage
        Options of remote stores, as pairs.
    max_pixels
        A plane that has more is refused.
    max_segment_bytes
        An image whose strips, tiles or chunks hold more when they are decoded is refused.
    max_seconds
        A task that reads one image for longer than this gives it up.
    """

    axes: str | None = None
    reader: str | None = None
    dataset: str | None = None
    palette: str = "index"
    table_size: tuple[int, int] | None = None
    table_id: str = "image_id"
    table_pixels: str | None = None
    # Keys may be among them: what Dask logs of a task that failed must not show them.
    storage: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    max_pixels: int = 25_000_000_000
    max_segment_bytes: int = 1 << 30
    max_seconds: float = 3600.0


class _Array(Protocol):
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Any: ...
    def __getitem__(self, region: Any, /) -> Any: ...


class ArrayImage:
    """An image whose levels are arrays: of NumPy, zarr, h5py, Dask, or whatever can be sliced.

    Parameters
    ----------
    levels
        The arrays, finest first.
    axes
        Of each of them, such as "CZYX".
    channels, items, voxel_um, notes
        As in `ImageReader`.
    segments
        For each level what is decoded at once; by default what `chunks` of the array says, else
        one plane in squares.
    dtype
        Of the pixels; by default that of the arrays, in native byte order.
    check, close
        Called by the methods of these names.

    Examples
    --------
    >>> image = ArrayImage([np.zeros((2, 64, 64), np.uint16)], "CYX", channels=("DAPI", "GFP"))
    >>> image.read(0, (slice(0, 1), slice(0, 8), slice(0, 8))).shape
    (1, 8, 8)
    """

    def __init__(
        self,
        levels: Sequence[_Array],
        axes: str,
        *,
        channels: Sequence[str] = (),
        items: Sequence[str] = (),
        voxel_um: VoxelSize = UNKNOWN_VOXEL,
        segments: Sequence[tuple[int, ...]] | None = None,
        notes: Sequence[str] = (),
        dtype: DTypeLike | None = None,
        check: Callable[[], None] = lambda: None,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.levels = tuple(levels)
        self.axes = axes
        for level in self.levels:
            if len(level.shape) != len(axes):
                raise ValueError(f"axes {axes!r} are not those of an array of shape {level.shape}")
        self.shapes = tuple(tuple(int(n) for n in level.shape) for level in self.levels)
        self.dtype = np.dtype(self.levels[0].dtype if dtype is None else dtype).newbyteorder("=")
        self.channels = tuple(channels)
        self.items = tuple(items)
        self.voxel_um = voxel_um
        self.segments = tuple(segments or (_segment_of(level, axes) for level in self.levels))
        self.band_bytes = BAND_BYTES
        self.held_bytes = 0
        self.notes = tuple(notes)
        self.check = check
        self.close = close

    @property
    def files(self) -> tuple[str, ...]:
        """None: the image is in one file."""
        return ()

    def read(self, level: int, region: tuple[slice, ...]) -> NDArray[Any]:
        """Return the pixels of a region, see `ImageReader.read`."""
        return np.asarray(self.levels[level][region], self.dtype)


def _segment_of(array: _Array, axes: str) -> tuple[int, ...]:
    chunks = getattr(array, "chunks", None)
    if chunks and all(isinstance(n, int) for n in chunks):
        # A chunk may be larger than the array.
        return tuple(max(1, min(n, length)) for n, length in zip(chunks, array.shape, strict=True))
    return tuple(
        min(DEFAULT_SEGMENT_PX, length) if axis in "YX" else 1
        for axis, length in zip(axes, array.shape, strict=True)
    )
