"""What a BMP is: the size and the colours that its header declares, and its palette's numbers.

Of the format: BITMAPINFOHEADER and BITMAPV4HEADER of the Windows documentation. It has no checksum.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from typing import Any

from numpy.typing import NDArray

from .bytes import Bytes
from .image import ImageOptions
from .picture_header import GREY, RGB, RGBA, PictureHeader, decode_by_opencv
from .source import SourceError

MAGIC = b"BM"
_FILE_HEADER, _INFO_HEADER, _V4_HEADER = 14, 40, 108
_PLAIN, _BITFIELDS = 0, 3
#: Masks of red, green and blue, where a pixel lies in memory as blue, green, red, alpha.
_BGRX = (0xFF0000, 0xFF00, 0xFF)
_BGRA = (*_BGRX, 0xFF000000)


def describe_bmp(data: Bytes, options: ImageOptions) -> PictureHeader:
    """Return what the header says.

    Raises
    ------
    SourceError
        Where it is compressed, or of 16 bits per pixel.
    """
    head = data.pread(_FILE_HEADER + _INFO_HEADER, 0)
    (first,) = struct.unpack_from("<I", head, 10)
    header, width, height, _, bits, packing = struct.unpack_from("<IiiHHI", head, _FILE_HEADER)
    if header < _INFO_HEADER or bits not in (1, 4, 8, 24, 32) or width < 1 or height == 0:
        raise _refused(data.path, bits, packing)
    samples, notes = RGB, list[str]()
    decode: Callable[[bytes], NDArray[Any]] = decode_by_opencv
    if packing == _BITFIELDS and bits == 32:
        masks = struct.unpack("<IIII", data.pread(16, len(head)))
        if masks[:3] != _BGRX:
            raise _refused(data.path, bits, packing)
        samples = RGBA if header >= _V4_HEADER and masks == _BGRA else RGB
    elif packing != _PLAIN:
        raise _refused(data.path, bits, packing)
    elif bits <= 8:
        at = _FILE_HEADER + header
        palette = data.pread(min(4 << bits, max(0, first - at)), at)
        if options.palette == "index":
            samples, decode = GREY, partial(_decode_numbers, bits)
            if palette[0::4] != bytes(range(256)) or not _is_grey(palette):
                notes.append('numbers of a palette; images.palette = "colour" gives its colours')
        elif _is_grey(palette):
            samples = GREY
    nbytes = (bits * width + 31) // 32 * 4 * abs(height)
    lacking = partial(_lacking, first + nbytes)
    return PictureHeader(abs(height), width, "uint8", samples, lacking, decode, tuple(notes))


def _is_grey(palette: bytes) -> bool:
    return palette[0::4] == palette[1::4] == palette[2::4]


def _refused(path: str, bits: int, packing: int) -> SourceError:
    return SourceError(
        f"{path}: is a BMP of {bits} bits per pixel, packed by method {packing}; plain ones of 1, "
        "4, 8, 24 and 32 bits are read; write it as PNG"
    )


def _lacking(declared: int, data: Bytes) -> str:
    return f"is cut short: it has {data.size} of {declared} bytes" if data.size < declared else ""


def _decode_numbers(bits: int, data: bytes) -> NDArray[Any]:
    """Return the palette's numbers: OpenCV is given a palette in which each is its own grey."""
    (first,) = struct.unpack_from("<I", data, 10)
    palette = b"".join(bytes((n, n, n, 0)) for n in range(1 << bits))
    _, width, height = struct.unpack_from("<Iii", data, _FILE_HEADER)
    info = struct.pack(
        "<IiiHHIIiiII", _INFO_HEADER, width, height, 1, bits, _PLAIN, 0, 0, 0, 1 << bits, 0
    )
    before = _FILE_HEADER + _INFO_HEADER + len(palette)
    parts = (struct.pack("<2sIII", MAGIC, before + len(data) - first, 0, before), info, palette)
    return decode_by_opencv(b"".join(parts) + data[first:])
