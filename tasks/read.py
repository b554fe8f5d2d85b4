"""Reads windows of an image straight from the segments of its files.

Segment by segment, not window by window: each strip or tile under any of the windows is read and
decoded once and copied into all windows that it touches, so that memory is the windows' own and
one segment's, whatever the size of the image.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from .scratch import scratch
from .source import FileIdentity, ImageSource, SourceError, naming
from .tiff import is_raw, only_series

#: Files that a worker process keeps open between tasks.
MAX_OPEN_FILES = 32
#: Strips are gathered into bands of about this size before they are copied into windows.
BAND_BYTES = 1 << 20

#: A band or tile of decoded pixels: its top-left corner and pixels, shape (y, x, samples).
Piece = tuple[int, int, NDArray[Any]]


class OpenTiff:
    """One open file of a worker process, safe to use from several threads."""

    def __init__(self, path: str, identity: FileIdentity) -> None:
        self.path = path
        self.identity = identity
        with naming(path, "be opened as a TIFF"):
            self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self.check_unchanged()
            self.tif = tifffile.TiffFile(path)
            self.series = only_series(self.tif, path)
        # TiffFile moves one file position about while it reads directories.
        self._lock = threading.Lock()

    def __del__(self) -> None:
        if hasattr(self, "tif"):
            self.tif.close()
        if hasattr(self, "fd"):
            os.close(self.fd)

    def check_unchanged(self) -> None:
        """Raise a SourceError where the file is not the one that was surveyed any more."""
        stat, then = os.fstat(self.fd), self.identity
        if (stat.st_size, stat.st_mtime_ns) != (then.size_bytes, then.mtime_ns):
            raise SourceError(
                f"{self.path}: changed since the survey ({then.size_bytes} bytes then, "
                f"{stat.st_size} now); run the command again when the file no longer changes"
            )

    def page(self, number: int) -> Any:
        """Return a page with its offsets; for a series without pages, the first."""
        with self._lock, naming(self.path, f"read the directory of page {number}"):
            return self.series[0 if self.series.is_truncated else number]

    def pieces(self, number: int, sample: int, windows: NDArray[np.int64]) -> Iterator[Piece]:
        """Yield what lies under any of the windows, each segment once.

        Parameters
        ----------
        number
            Of the page.
        sample
            Plane of a page with separate planes, else 0.
        windows
            int64, shape (n, 4): y0, y1, x0, x1 inside the image.
        """
        page = self.page(number)
        key = page.keyframe
        with naming(self.path, f"decode page {number}"):
            if self.series.is_truncated or (is_raw(key) and _is_one_run(page)):
                yield from self._raw_bands(page, number, sample, windows)
            elif key.is_tiled:
                yield from self._tiles(page, sample, windows)
            else:
                yield from self._strip_bands(page, sample, windows)

    def _raw_bands(
        self, page: Any, number: int, sample: int, windows: NDArray[np.int64]
    ) -> Iterator[Piece]:
        key = page.keyframe
        height, width = key.imagelength, key.imagewidth
        together = key.samplesperpixel if key.planarconfig == 1 else 1
        dtype = np.dtype(self.tif.byteorder + key.dtype.char)
        row_bytes = width * together * dtype.itemsize
        if self.series.is_truncated:
            start = self.series.dataoffset + number * height * row_bytes
        else:
            start = page.dataoffsets[0]
        start += sample * height * row_bytes
        step = max(1, BAND_BYTES // row_bytes)
        for y0, y1 in _row_runs(windows, 1, height):
            for y in range(y0, y1, step):
                rows = min(step, y1 - y)
                band = scratch("band", (rows, width, together), dtype)
                self._read_into(band, start + y * row_bytes)
                yield y, 0, band

    def _read_into(self, band: NDArray[Any], offset: int) -> None:
        view = band.reshape(-1).view(np.uint8).data
        done = 0
        while done < len(view):
            got = os.preadv(self.fd, [view[done:]], offset + done)
            if got == 0:
                raise EOFError(f"the file ends before byte {offset + len(view)}")
            done += got

    def _strip_bands(self, page: Any, sample: int, windows: NDArray[np.int64]) -> Iterator[Piece]:
        key = page.keyframe
        height, width, rows = key.imagelength, key.imagewidth, key.rowsperstrip
        rows = min(rows, height)
        together = key.samplesperpixel if key.planarconfig == 1 else 1
        per_plane = -(-height // rows)
        strip_bytes = rows * width * together * key.dtype.itemsize
        if strip_bytes >= BAND_BYTES:
            for y0, y1 in _row_runs(windows, rows, height):
                for strip in range(y0 // rows, -(-y1 // rows)):
                    yield strip * rows, 0, self._decode(page, sample * per_plane + strip)
            return
        step = BAND_BYTES // strip_bytes * rows
        for y0, y1 in _row_runs(windows, rows, height):
            for y in range(y0, y1, step):
                until = min(y + step, y1)
                band = scratch("band", (until - y, width, together), key.dtype)
                for strip in range(y // rows, -(-until // rows)):
                    at = strip * rows - y
                    decoded = self._decode(page, sample * per_plane + strip)
                    band[at : at + rows] = decoded
                yield y, 0, band

    def _tiles(self, page: Any, sample: int, windows: NDArray[np.int64]) -> Iterator[Piece]:
        key = page.keyframe
        height, width = key.tilelength, key.tilewidth
        across, down = -(-key.imagewidth // width), -(-key.imagelength // height)
        touched = np.zeros((down, across), bool)
        for y0, y1, x0, x1 in windows.tolist():
            touched[y0 // height : -(-y1 // height), x0 // width : -(-x1 // width)] = True
        for row, column in np.argwhere(touched).tolist():
            tile = (sample * down + row) * across + column
            yield row * height, column * width, self._decode(page, tile)

    def _decode(self, page: Any, segment: int) -> NDArray[Any]:
        key = page.keyframe
        nbytes = page.databytecounts[segment]
        data = os.pread(self.fd, nbytes, page.dataoffsets[segment]) if nbytes > 0 else None
        if data is not None and len(data) < nbytes:
            raise EOFError(f"segment {segment} ends after {len(data)} of {nbytes} bytes")
        decoded, _, shape = key.decode(
            data, segment, jpegtables=page.jpegtables, jpegheader=key.jpegheader
        )
        if decoded is None:
            return np.full(shape[1:], key.nodata, key.dtype)
        pixels: NDArray[Any] = decoded[0]
        return pixels


def _is_one_run(page: Any) -> bool:
    """Whether the page's strips lie one after another in the file."""
    offsets = np.asarray(page.dataoffsets, np.int64)
    counts = np.asarray(page.databytecounts, np.int64)
    return bool((offsets[:-1] + counts[:-1] == offsets[1:]).all())


def _row_runs(windows: NDArray[np.int64], rows: int, height: int) -> Iterator[tuple[int, int]]:
    """Yield the runs of rows under any window, widened to whole strips."""
    touched = np.zeros(-(-height // rows), bool)
    for y0, y1 in np.unique(windows[:, :2], axis=0).tolist():
        touched[y0 // rows : -(-y1 // rows)] = True
    edges = np.flatnonzero(np.diff(touched, prepend=False, append=False))
    for first, last in edges.reshape(-1, 2).tolist():
        yield first * rows, min(last * rows, height)


_open_files: OrderedDict[tuple[str, FileIdentity], OpenTiff] = OrderedDict()
_open_files_lock = threading.Lock()


def open_source(path: str, identity: FileIdentity) -> OpenTiff:
    """Return the file, from the few that this process keeps open.

    One that is pushed out stays open until the last thread that reads it is done.
    """
    key = (path, identity)
    with _open_files_lock:
        found = _open_files.pop(key, None)
        if found is not None:
            # A file may be written anew in place while it is kept open.
            found.check_unchanged()
            _open_files[key] = found
            return found
    opened = OpenTiff(path, identity)
    with _open_files_lock:
        _open_files[key] = opened
        while len(_open_files) > MAX_OPEN_FILES:
            _open_files.popitem(last=False)
    return opened


def read_windows(
    source: ImageSource,
    t: int,
    z: int,
    windows: NDArray[np.int64],
    out: Sequence[NDArray[Any]],
) -> None:
    """Read windows of all channels of one plane.

    Parameters
    ----------
    source
        The image.
    t, z
        Of the plane.
    windows
        int64, shape (n, 4): y0, y1, x0, x1, inside the image.
    out
        n arrays of shape (c, y1 - y0, x1 - x0), overwritten.

    Raises
    ------
    SourceError
        Where a file has changed since the survey, or cannot be read or decoded.
    """
    by_page: dict[tuple[int, int, int], tuple[OpenTiff, list[tuple[int, int]]]] = {}
    for channel, (file, page, sample) in enumerate(source.planes[t, :, z].tolist()):
        opened = open_source(source.paths[file], source.identities[file])
        planar = opened.page(page).keyframe.planarconfig == 2
        # Samples that lie together come with one decoding, separate ones with one each.
        key = (file, page, sample if planar else 0)
        by_page.setdefault(key, (opened, []))[1].append((channel, 0 if planar else sample))
    for (_, page, plane), (opened, channels) in by_page.items():
        for y, x, pixels in opened.pieces(page, plane, windows):
            _scatter(pixels, y, x, windows, out, channels)


def _scatter(
    pixels: NDArray[Any],
    y: int,
    x: int,
    windows: NDArray[np.int64],
    out: Sequence[NDArray[Any]],
    channels: list[tuple[int, int]],
) -> None:
    """Copy a piece whose top-left corner is (y, x) into the windows that it touches."""
    y_end, x_end = y + pixels.shape[0], x + pixels.shape[1]
    touches = (
        (windows[:, 0] < y_end)
        & (windows[:, 1] > y)
        & (windows[:, 2] < x_end)
        & (windows[:, 3] > x)
    )
    for i in np.flatnonzero(touches).tolist():
        y0, y1, x0, x1 = windows[i].tolist()
        top, bottom, left, right = max(y, y0), min(y_end, y1), max(x, x0), min(x_end, x1)
        part = pixels[top - y : bottom - y, left - x : right - x]
        target = out[i][:, top - y0 : bottom - y0, left - x0 : right - x0]
        for channel, sample in channels:
            target[channel] = part[..., sample]
