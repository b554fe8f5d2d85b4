"""A TIFF as an image: regions of its pages, at any level, read by several threads."""

from __future__ import annotations

import itertools
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from .image import BAND_BYTES, ImageOptions, VoxelSize
from .intact import check_planes, file_of
from .limits import check_segment_bytes
from .open_files import OpenFiles
from .source import SourceError
from .tiff_axes import TiffAxes
from .tiff_segments import PagePixels, is_raw, samples_together, segment_shape

#: Pages whose lists of strips and tiles are kept.
MAX_PAGES = 16


class TiffImage:
    """An open TIFF, see `ImageReader`.

    Parameters
    ----------
    path
        Of the file that is opened first.
    tif
        It, opened by tifffile.
    levels
        The series of pages that are its levels, finest first.
    axes
        What their dimensions are.
    data
        The bytes of its files.
    files
        Absolute paths of all files that belong to the image.
    dtype
        Of the pixels.
    palette
        Colours of a palette image, shape (3, colours), where they are wanted; `axes` has them as
        samples.
    channels, voxel_um, notes
        As in `ImageReader`.
    options
        `max_segment_bytes` counts.
    close
        Closes the file.
    significant_bits
        Of a pixel's value, 0 where the file does not say.
    """

    def __init__(
        self,
        path: str,
        tif: tifffile.TiffFile,
        levels: Sequence[tifffile.TiffPageSeries],
        axes: TiffAxes,
        *,
        data: OpenFiles,
        files: tuple[str, ...],
        dtype: np.dtype[Any],
        palette: NDArray[Any] | None,
        channels: tuple[str, ...],
        voxel_um: VoxelSize,
        notes: tuple[str, ...],
        options: ImageOptions,
        close: Callable[[], None],
        significant_bits: int = 0,
    ) -> None:
        self.path = path
        self.files = files
        self.dtype = dtype
        self.channels = channels
        self.items: tuple[str, ...] = ()
        self.voxel_um = voxel_um
        self.notes = notes
        self.significant_bits = significant_bits
        self._tif = tif
        self._levels = levels
        self._leading = axes.leading
        self._kept = axes.kept
        self._palette = palette
        self._data = data
        self._close = close
        self._options = options
        key = levels[0].keyframe
        # Numbers that come with one decoding are channels, and so are separate ones.
        self._together = 3 if palette is not None else samples_together(key)
        self._separate = axes.samples if self._together == 1 else 0
        samples = (axes.samples,) if axes.samples else ()
        self.axes = "".join(axis for axis, _ in self._kept) + ("C" if samples else "") + "YX"
        start = (*(length for _, length in self._kept), *samples)
        self.shapes = tuple((*start, *_plane_shape(level.keyframe)) for level in levels)
        ones = (1,) * len(self._kept) + ((self._together,) if samples else ())
        self.segments = tuple((*ones, *_segment(level)) for level in levels)
        tiled = all(level.keyframe.is_tiled for level in levels)
        # A tile is handed on as it was decoded; strips are gathered.
        self.band_bytes = 0 if tiled else BAND_BYTES
        self.held_bytes = 0
        # TiffFile moves one file position about while it reads directories.
        self._lock = threading.Lock()
        self._pages: OrderedDict[tuple[int, int], tuple[str, PagePixels]] = OrderedDict()

    def read(self, level: int, region: tuple[slice, ...]) -> NDArray[Any]:
        """Return the pixels of a region, see `ImageReader.read`."""
        at = dict(zip(self.axes, region, strict=True))
        y, x = at["Y"], at["X"]
        shape = tuple(part.stop - part.start for part in region)
        numbers = [
            range(at[axis].start, at[axis].stop) if (axis, length) in self._kept else range(1)
            for axis, length in self._leading
        ]
        pages = [
            int(np.ravel_multi_index(index, [n for _, n in self._leading])) if index else 0
            for index in itertools.product(*numbers)
        ]
        together, separate = slice(None), range(1)
        if self._separate:
            separate = range(at["C"].start, at["C"].stop)
        elif self._together > 1:
            together = at["C"]
        planes = [(page, sample) for page in pages for sample in separate]
        if len(planes) == 1:
            return self._plane(level, *planes[0], y, x)[together].reshape(shape)
        out = np.empty((len(planes), math.prod(shape) // len(planes)), self.dtype)
        for own, plane in zip(out, planes, strict=True):
            own[:] = self._plane(level, *plane, y, x)[together].ravel()
        return out.reshape(shape)

    def _plane(self, level: int, number: int, sample: int, y: slice, x: slice) -> NDArray[Any]:
        """Return a window of a plane, shape (samples that lie together, y, x)."""
        path, page = self._page(level, number)
        held = self._data.get(path)
        pixels = page.read(held.data, sample, y, x)
        transform = self._levels[level].transform
        if transform is not None:
            pixels = transform(pixels)
        if pixels.dtype == np.bool_:
            pixels = pixels.view(np.uint8)
        if self._palette is not None:
            return self._palette[:, pixels[..., 0]]
        return np.moveaxis(pixels, -1, 0)

    def _page(self, level: int, number: int) -> tuple[str, PagePixels]:
        """Return the file and the pixels of a page."""
        with self._lock:
            found = self._pages.pop((level, number), None) or self._look_up(level, number)
            self._pages[level, number] = found
            if len(self._pages) > MAX_PAGES:
                self._pages.popitem(last=False)
            return found

    def _look_up(self, level: int, number: int) -> tuple[str, PagePixels]:
        series = self._levels[level]
        page: Any = series[0 if series.is_truncated else number]
        if page is None:
            raise SourceError(f"{self.path}: plane {number} of level {level} is missing")
        if _kind(page.keyframe) != _kind(series.keyframe):
            found, first = _kind(page.keyframe), _kind(series.keyframe)
            raise SourceError(
                f"{self.path}: page {number} is another image than the first ({found}, not "
                f"{first}); write one image per file"
            )
        start, key = None, series.keyframe
        if series.is_truncated:
            plane_bytes = math.prod(key.shape) * np.dtype(key.dtype).itemsize
            start = int(series.dataoffset or 0) + number * plane_bytes
        elif not is_raw(page.keyframe):
            # A tile may be larger than its page.
            values = math.prod(segment_shape(page.keyframe)) * samples_together(page.keyframe)
            check_segment_bytes(self.path, values * self.dtype.itemsize, self._options)
        # Decoders of JPEG look into the file of the page that they were made for.
        handle = page.keyframe.parent.filehandle
        was_closed = handle.closed
        if was_closed:
            handle.open()
        try:
            return file_of(page, self._tif, self.path), PagePixels(page, start)
        finally:
            if was_closed:
                handle.close()

    def check(self) -> None:
        """Raise a SourceError where planes, strips or tiles of any level are not all there."""
        with self._lock:
            for number, level in enumerate(self._levels):
                check_planes(self._tif, level, self.path, self._size_of, self._bytes_of)
                self._look_up(number, 0)[1].check_codec()

    def _size_of(self, path: str) -> int:
        return self._data.get(path).data.size

    def _bytes_of(self, path: str, nbytes: int, offset: int) -> bytes:
        held = self._data.get(path)
        return held.data.pread(nbytes, offset)

    def close(self) -> None:
        """Let go of the files."""
        self._close()
        self._data.close()


def _plane_shape(page: tifffile.TiffPage) -> tuple[int, int]:
    return int(page.imagelength), int(page.imagewidth)


def _kind(page: tifffile.TiffPage) -> str:
    height, width = _plane_shape(page)
    order = "separate" if page.planarconfig == 2 else "together"
    return f"{height} x {width} {page.dtype}, {page.samplesperpixel} samples {order}"


def _segment(series: tifffile.TiffPageSeries) -> tuple[int, int]:
    """Return (height, width) of what is decoded at once; rows that need no decoding by one."""
    key = series.keyframe
    height, width = segment_shape(key)
    if series.is_truncated or is_raw(key):
        return 1, width
    plane = _plane_shape(key)
    return min(height, plane[0]), min(width, plane[1])
