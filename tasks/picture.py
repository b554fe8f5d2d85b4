"""Opens PNG, JPEG, BMP and WebP: one picture per file, decoded whole."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from . import picture_bmp, picture_jpeg, picture_png, picture_webp
from .axes import axes_of
from .bytes import Bytes, open_bytes
from .image import UNKNOWN_VOXEL, ImageOptions
from .picture_header import PictureHeader
from .scratch import scratch
from .source import SourceError


class Picture:
    """An open picture; an `ImageReader`.

    Its pixels are as stored: no orientation of EXIF, no gamma, no colour profile is applied. Grey
    has axes YX, colours are channels R, G, B and A, grey with alpha L and A. Densities (pHYs, JFIF)
    are of a screen or of paper, so `voxel_um` is unknown.

    Parameters
    ----------
    data
        The file; closed by `close`.
    header
        What it says of itself.
    options
        `axes` may name the dimensions otherwise; files that hold more than `max_segment_bytes` are
        refused.

    Raises
    ------
    SourceError
        Where it does not fit the options.
    """

    items = ()
    voxel_um = UNKNOWN_VOXEL
    files = ()
    band_bytes = 0  # each picture is one segment
    held_bytes = 0

    def __init__(self, data: Bytes, header: PictureHeader, options: ImageOptions) -> None:
        self._data = data
        self._header = header
        channels = (len(header.samples),) if header.samples else ()
        shape = (*channels, header.height, header.width)
        self.axes = axes_of(data.path, shape, "CYX"[-len(shape) :], options)
        self.shapes = (shape,)
        self.segments = (shape,)
        self.dtype = np.dtype(header.dtype)
        self.channels = tuple(header.samples) if "C" in self.axes else ()
        self.notes = header.notes
        if data.size > options.max_segment_bytes:
            raise SourceError(
                f"{data.path}: holds {data.size} bytes, which must be read at once, more than "
                f"images.max_segment_bytes = {options.max_segment_bytes}; write it as tiled TIFF, "
                "or raise the limit"
            )

    def read(self, level: int, region: tuple[slice, ...]) -> NDArray[Any]:
        """Return the pixels of a region, see `ImageReader.read`; all of it is decoded."""
        header = self._header
        pixels = header.decode(self._data.pread(self._data.size, 0))
        stored = 1 + max(header.samples.values(), default=0)
        if (
            pixels.shape[:2] != (header.height, header.width)
            or pixels.dtype != self.dtype
            or (pixels.ndim == 3) != bool(header.samples)
            or (pixels.ndim == 3 and pixels.shape[2] < stored)
        ):
            raise ValueError(
                f"its header says {self.shapes[0]} {self.dtype}, its pixels are {pixels.shape} "
                f"{pixels.dtype}"
            )
        if not header.samples:
            return pixels[region]
        pixels = pixels[region[1:]]
        chosen = list(header.samples.values())[region[0]]
        planes = scratch("picture", (len(chosen), *pixels.shape[:2]), self.dtype)
        for plane, sample in zip(planes, chosen, strict=True):
            cv2.extractChannel(pixels, sample, plane)
        return planes

    def check(self) -> None:
        """Raise a SourceError where the file is cut short; a PNG or JPEG is read for that."""
        lacking = self._header.lacking(self._data)
        if lacking:
            raise SourceError(f"{self._data.path}: {lacking}; copy it again or leave it out")

    def close(self) -> None:
        """Let go of the file."""
        self._data.close()


def open_picture(path: str, options: ImageOptions) -> Picture:
    """Open a picture; only its header is read.

    Parameters
    ----------
    path
        Of the file, or a URL.
    options
        `palette` says whether a palette's numbers or its colours are wanted.

    Raises
    ------
    SourceError
        Where its kind is not read, such as animations and CMYK.
    """
    data = open_bytes(path, options.storage)
    try:
        return Picture(data, _describe(data, options), options)
    except BaseException:
        data.close()
        raise


def _describe(data: Bytes, options: ImageOptions) -> PictureHeader:
    begin = data.pread(min(8, data.size), 0)
    if begin == picture_png.MAGIC:
        return picture_png.describe_png(data, options)
    if begin.startswith(picture_jpeg.MAGIC):
        return picture_jpeg.describe_jpeg(data)
    if begin.startswith(picture_bmp.MAGIC):
        return picture_bmp.describe_bmp(data, options)
    if begin.startswith(picture_webp.MAGIC):
        return picture_webp.describe_webp(data)
    raise SourceError(f"{data.path}: begins like no PNG, JPEG, BMP or WebP; leave it out")
