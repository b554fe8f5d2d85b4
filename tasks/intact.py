"""Whether all of a TIFF is there: its list of pages, its planes, and every strip or tile.

tifffile opens a truncated file without a word and fills in other planes; so this is asked before
a pixel is read.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import tifffile

from .ome import declared_planes
from .source import SourceError


def check_chain(tif: tifffile.TiffFile, path: str, size_bytes: int) -> None:
    """Raise where the list of pages leads out of the file.

    tifffile logs that, and goes on with the pages before.
    """
    at = tif.pages.next_page_offset
    if at is None:
        return
    tif.filehandle.seek(at)
    data = tif.filehandle.read(tif.tiff.offsetsize)
    next_page = size_bytes
    if len(data) == tif.tiff.offsetsize:
        next_page = struct.unpack(tif.tiff.offsetformat, data)[0]
    # An offset of an earlier page, where pages lie at equal distances, is inside the file.
    if next_page + tif.tiff.tagnosize > size_bytes:
        raise SourceError(
            f"{path}: its list of pages goes on at byte {next_page}, and the file has "
            f"{size_bytes}; it is truncated; mend it or leave it out"
        )


def check_planes(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, path: str, size_bytes: int
) -> None:
    """Raise where planes that are declared are not there, or lie outside the file."""
    count = math.prod(series.shape) // math.prod(series.keyframe.shape)
    declared = declared_planes(tif)
    samples = series.keyframe.samplesperpixel
    if declared is not None and declared not in (count, count * samples):
        raise SourceError(
            f"{path}: declares {declared} planes and has {count}; it is truncated or its "
            "metadata is wrong; mend it or leave it out"
        )
    if series.is_multifile:
        raise SourceError(
            f"{path}: its OME-XML spreads the image over several files; "
            "write one file per image, or one per channel and join them by images.pattern"
        )
    if series.is_truncated:
        # The planes lie one after another behind the first; there are no pages for the others.
        offset, end = series.dataoffset, 0
        if offset is not None:
            end = offset + math.prod(series.shape) * series.dtype.itemsize
        if offset is None or end > size_bytes:
            raise SourceError(f"{path}: is truncated: {end} bytes are declared, {size_bytes} there")
        return
    key = series.keyframe
    expected = _segment_count(key)
    for number in range(count):
        page: Any = series[number]
        if page is None:
            raise SourceError(f"{path}: plane {number} of {count} is missing; it is truncated")
        offsets, counts = page.dataoffsets, page.databytecounts
        if len(offsets) < expected or len(counts) < expected:
            raise SourceError(
                f"{path}: page {number} lists {min(len(offsets), len(counts))} segments "
                f"of {expected}; it is truncated or damaged"
            )
        for at, nbytes in zip(offsets, counts, strict=False):
            # A tile without bytes is empty by convention (sparse files of GDAL and others).
            if at + nbytes > size_bytes or (nbytes <= 0 and not key.is_tiled):
                raise SourceError(
                    f"{path}: page {number} lists a segment of {nbytes} bytes at {at}, "
                    f"and the file has {size_bytes}; it is truncated or damaged"
                )


def segment_shape(page: tifffile.TiffPage) -> tuple[int, int]:
    """Return (height, width) of a strip or tile, in pixels."""
    if page.is_tiled:
        return int(page.tilelength), int(page.tilewidth)
    return min(int(page.rowsperstrip), int(page.imagelength)), int(page.imagewidth)


def _segment_count(page: tifffile.TiffPage) -> int:
    height, width = segment_shape(page)
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    return planes * math.ceil(page.imagelength / height) * math.ceil(page.imagewidth / width)
