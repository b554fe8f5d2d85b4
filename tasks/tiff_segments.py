"""Reads windows of one TIFF page from its strips or tiles, each once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from .bytes import Bytes
from .codec_stream import check_stream
from .image import BAND_BYTES
from .scratch import scratch


def segment_shape(page: tifffile.TiffPage) -> tuple[int, int]:
    """Return (height, width) of a strip or tile, in pixels."""
    if page.is_tiled:
        return int(page.tilelength), int(page.tilewidth)
    return min(int(page.rowsperstrip), int(page.imagelength)), int(page.imagewidth)


def segment_count(page: tifffile.TiffPage) -> int:
    """Return how many strips or tiles a page must have."""
    height, width = segment_shape(page)
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    return planes * math.ceil(page.imagelength / height) * math.ceil(page.imagewidth / width)


def is_raw(page: tifffile.TiffPage) -> bool:
    """Whether rows of the page can be read as they lie in the file, without decoding."""
    plain = page.predictor == 1 and page.fillorder == 1 and not page.is_tiled
    return bool(plain and page.is_contiguous)


def samples_together(page: tifffile.TiffPage) -> int:
    """Return how many samples of a pixel lie beside each other."""
    return int(page.samplesperpixel) if page.planarconfig == 1 else 1


class PagePixels:
    """The pixels of one page, read by several threads.

    Parameters
    ----------
    page
        A page or frame of tifffile; nobody else may use its file meanwhile.
    start
        Where its pixels begin that lie in one run, for planes that have no page; by default what
        the page says.
    """

    def __init__(self, page: Any, start: int | None = None) -> None:
        key = page.keyframe
        self.height, self.width = int(key.imagelength), int(key.imagewidth)
        self.together = samples_together(key)
        self.dtype = np.dtype(key.dtype)
        self._stored = self.dtype.newbyteorder(page.parent.byteorder)
        self._segment = segment_shape(key)
        self._compression = int(key.compression)
        self._nodata = key.nodata
        self._offsets, self._counts = page.dataoffsets, page.databytecounts
        # The first look at it may read from the file.
        self._decode = key.decode
        self._tables = {"jpegtables": page.jpegtables, "jpegheader": key.jpegheader}
        if start is None and is_raw(key) and self._is_one_run(segment_count(key)):
            start = int(self._offsets[0])
        self._start = start

    def _is_one_run(self, count: int) -> bool:
        """Whether the strips lie one after another, and hold what the page needs."""
        offsets = np.asarray(self._offsets[:count], np.int64)
        counts = np.asarray(self._counts[:count], np.int64)
        planes = count // math.ceil(self.height / self._segment[0])
        needed = planes * self.height * self.width * self.together * self.dtype.itemsize
        # Programs that write one strip of more than 4 GB state another length.
        return count == 1 or bool(
            (offsets[:-1] + counts[:-1] == offsets[1:]).all() and counts.sum() == needed
        )

    def read(self, data: Bytes, sample: int, y: slice, x: slice) -> NDArray[Any]:
        """Return a window.

        Parameters
        ----------
        data
            Of the file.
        sample
            Plane of a page with separate planes, else 0.
        y, x
            Rows and columns, with start and stop inside the page.

        Returns
        -------
        numpy.ndarray
            Shape (y, x, samples), native byte order; valid until the thread reads again.

        Raises
        ------
        Exception
            Whatever a damaged file makes a decoder raise.
        """
        if self._start is not None:
            return self._rows(data, sample, y)[:, x]
        (height, width), (rows, columns) = self._segment, self._cells(y, x)
        down, across = math.ceil(self.height / height), math.ceil(self.width / width)
        numbers = [(sample * down + row) * across + column for row in rows for column in columns]
        pieces = self._decoded(data, numbers)
        if len(numbers) == 1:
            top, left = rows[0] * height, columns[0] * width
            part = next(pieces)[y.start - top : y.stop - top, x.start - left : x.stop - left]
            return _of_shape(part, (y.stop - y.start, x.stop - x.start, self.together))
        shape = (y.stop - y.start, x.stop - x.start, self.together)
        out = scratch("segments", shape, self.dtype)
        corners = ((row * height, column * width) for row in rows for column in columns)
        for (top, left), piece in zip(corners, pieces, strict=True):
            y0, y1 = max(top, y.start), min(top + height, y.stop)
            x0, x1 = max(left, x.start), min(left + width, x.stop)
            part = piece[y0 - top : y1 - top, x0 - left : x1 - left]
            target = out[y0 - y.start : y1 - y.start, x0 - x.start : x1 - x.start]
            target[...] = _of_shape(part, target.shape)
        return out

    def check_codec(self) -> None:
        """Raise where nobody decodes what the page is compressed by."""
        # Without data nothing is decoded; what could only raise does.
        self._decode(None, 0, **self._tables)

    def _cells(self, y: slice, x: slice) -> tuple[range, range]:
        height, width = self._segment
        rows = range(y.start // height, math.ceil(y.stop / height))
        return rows, range(x.start // width, math.ceil(x.stop / width))

    def _rows(self, data: Bytes, sample: int, y: slice) -> NDArray[Any]:
        assert self._start is not None
        rows = y.stop - y.start
        row_bytes = self.width * self.together * self.dtype.itemsize
        band = scratch("rows", (rows * row_bytes,), np.uint8)
        data.pread_into(band, self._start + (sample * self.height + y.start) * row_bytes)
        pixels: NDArray[Any] = band.view(self._stored)
        pixels = pixels.reshape(rows, self.width, self.together)
        if not self._stored.isnative:
            pixels = pixels.byteswap(inplace=True).view(self.dtype)
        return pixels

    def _decoded(self, data: Bytes, numbers: Sequence[int]) -> Iterator[NDArray[Any]]:
        """Yield segments, shape (y, x, samples)."""
        for number, encoded in self._encoded(data, numbers):
            if encoded is not None:
                values = math.prod(self._segment) * self.together
                check_stream(encoded, self._compression, values)
            decoded, _, shape = self._decode(encoded, number, **self._tables)
            if decoded is None:
                yield np.full(shape[1:], self._nodata, self.dtype)
            elif self.dtype == np.bool_:  # fax decoders return 0 and 1
                yield decoded[0].astype(np.bool_, copy=False)
            elif np.can_cast(decoded.dtype, self.dtype, "safe"):
                yield decoded[0].astype(self.dtype, copy=False)
            else:
                raise ValueError(f"{decoded.dtype} pixels in a segment, not {self.dtype}")

    def _encoded(self, data: Bytes, numbers: Sequence[int]) -> Iterator[tuple[int, bytes | None]]:
        """Yield the bytes of segments; small ones that lie one after another are read at once."""
        first = 0
        while first < len(numbers):
            start, count = self._offsets[numbers[first]], self._counts[numbers[first]]
            last, total = first + 1, count
            while last < len(numbers) and count > 0:
                at, more = self._offsets[numbers[last]], self._counts[numbers[last]]
                if at != start + total or more <= 0 or total + more > BAND_BYTES:
                    break
                last, total = last + 1, total + more
            read = data.pread(total, start) if count > 0 else b""
            for number in numbers[first:last]:
                at, own = self._offsets[number] - start, self._counts[number]
                # Without bytes it is empty, which decoders are told by None.
                yield number, (read[at : at + own] if own > 0 else None)
            first = last


def _of_shape(part: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return the part; one that is too small would be spread over its place."""
    if part.shape != shape:
        raise ValueError(f"a segment decodes to {part.shape} pixels where {shape} belong")
    return part
