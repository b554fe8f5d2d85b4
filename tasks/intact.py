"""Whether all of a TIFF is there: its list of pages, its planes, and every strip or tile.

tifffile opens a truncated file without a word and fills in other planes; so this is asked before
a pixel is read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import tifffile

from .ome import declared_planes
from .page_tags import other_layout
from .source import SourceError
from .tiff_segments import is_raw, segment_count


def check_planes(
    tif: tifffile.TiffFile,
    series: tifffile.TiffPageSeries,
    path: str,
    size_of: Callable[[str], int],
    read: Callable[[str, int, int], bytes],
) -> None:
    """Raise where planes that are declared are not there, or lie outside the file.

    Parameters
    ----------
    tif, series
        The file, and a level of the image in it.
    path
        For the sentence.
    size_of
        Of a file of the set, by its path.
    read
        Returns bytes of a file (first): so many (second) from a place (third).
    """
    count = math.prod(series.shape) // math.prod(series.keyframe.shape)
    _check_count(tif, series, path, count)
    if series.is_truncated:
        _check_planes_without_pages(series, path, size_of(path))
        return
    if len(series) < count:
        raise SourceError(f"{path}: plane {len(series)} of {count} is missing; it is truncated")
    for number in range(count):
        page: Any = series[number]
        if page is None or not page.dataoffsets:
            raise SourceError(f"{path}: plane {number} of {count} is missing; it is truncated")
        file = file_of(page, tif, path)
        key_file = file_of(page.keyframe, tif, path)
        if page.is_frame and page.offset and not page.parent.tiff.is_ndpi:
            different = other_layout(page, partial(read, file), partial(read, key_file))
            if different:
                raise SourceError(
                    f"{path}: page {number} has another {different} than the first of its kind; "
                    "write all pages alike, or one per file"
                )
        _check_segments(page, number, path, size_of(file))


def file_of(page: Any, tif: tifffile.TiffFile, path: str) -> str:
    """Return the path of the file that a page lies in; `path` is that of the image, `tif` it."""
    handle = page.parent.filehandle
    return path if handle is tif.filehandle else str(handle.path)


def _check_count(
    tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, path: str, count: int
) -> None:
    declared = declared_planes(tif)
    samples = series.keyframe.samplesperpixel
    if declared and count not in declared and count * samples not in declared:
        raise SourceError(
            f"{path}: declares {' and '.join(map(str, declared))} planes and has {count}; it is "
            "truncated or its metadata is wrong; mend it or leave it out"
        )


def _check_planes_without_pages(
    series: tifffile.TiffPageSeries, path: str, size_bytes: int
) -> None:
    """Planes lie one after another behind the first; there are no pages for the others."""
    offset = series.dataoffset
    if offset is None:
        raise SourceError(
            f"{path}: has one page for {series.shape} pixels that do not lie one after another; "
            "it is truncated, or of a kind that is not read; write it as OME-TIFF"
        )
    end = offset + math.prod(series.shape) * np.dtype(series.keyframe.dtype).itemsize
    if end > size_bytes:
        raise SourceError(f"{path}: is truncated: {end} bytes are declared, {size_bytes} there")


def _check_segments(page: Any, number: int, path: str, size_bytes: int) -> None:
    key = page.keyframe
    offsets = np.asarray(page.dataoffsets, np.uint64)
    counts = np.asarray(page.databytecounts, np.uint64)
    expected, listed = segment_count(key), min(len(offsets), len(counts))
    if listed < expected:
        raise SourceError(
            f"{path}: page {number} lists {listed} segments of {expected}; "
            "it is truncated or damaged"
        )
    offsets, counts = offsets[:expected], counts[:expected]
    if is_raw(key) and expected == 1 and counts[0] > 0:
        counts = np.maximum(counts, np.uint64(key.nbytes))  # read by rows, whatever it says
    # uint64 wraps around; so each is compared by itself.
    outside = (offsets > size_bytes) | (counts > size_bytes) | (offsets + counts > size_bytes)
    # A tile without bytes is empty by convention (sparse files of GDAL and others).
    bad = np.flatnonzero(outside | ((counts == 0) & (not key.is_tiled)))
    if len(bad):
        raise SourceError(
            f"{path}: page {number} lists a segment of {counts[bad[0]]} bytes at "
            f"{offsets[bad[0]]}, and the file has {size_bytes}; it is truncated or damaged"
        )
