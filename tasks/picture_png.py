"""What a PNG is: its chunks, the size and colours that they declare, and its palette's numbers.

Of the format: https://www.w3.org/TR/png-3/. Chunks and pixels have checksums, which libpng checks.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bytes import Bytes
from .image import ImageOptions
from .picture_header import GREY, GREY_ALPHA, RGB, RGBA, PictureHeader, decode_by_opencv
from .source import SourceError

#: Chunks before the pixels that are looked at.
_MOST_CHUNKS = 4096
MAGIC = b"\x89PNG\r\n\x1a\n"
#: Colour types, and the bits of a sample that each may have.
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGBA = 0, 2, 3, 4, 6
_BITS = {
    _GREY: (1, 2, 4, 8, 16),
    _RGB: (8, 16),
    _PALETTE: (1, 2, 4, 8),
    _GREY_ALPHA: (8, 16),
    _RGBA: (8, 16),
}


def describe_png(data: Bytes, options: ImageOptions) -> PictureHeader:
    """Return what the chunks before the pixels say.

    Numbers of fewer than eight bits, and those of a palette, are given as they are stored:
    OpenCV's would be spread over 0 to 255, or be colours.

    Raises
    ------
    SourceError
        Where it is animated, or says what no PNG may.
    """
    names: set[bytes] = set()
    for name, _, _ in islice(_chunks(data.pread, data.size), _MOST_CHUNKS):
        if name == b"IDAT":
            break
        names.add(name)
    head = data.pread(29, 0)
    width, height, bits, colour, _, _, _ = struct.unpack(">IIBBBBB", head[16:29])
    if head[12:16] != b"IHDR" or bits not in _BITS.get(colour, ()):
        raise SourceError(
            f"{data.path}: has no valid PNG header ({bits} bits of colour type {colour}); mend it "
            "or leave it out"
        )
    if b"acTL" in names:
        raise SourceError(
            f"{data.path}: is an animated PNG, of which only one frame would be read; write one "
            "file per frame, or leave it out"
        )
    notes: list[str] = []
    decode: Callable[[bytes], NDArray[Any]] = decode_by_opencv
    if colour == _PALETTE:
        if options.palette == "index":
            samples, decode = GREY, partial(_decode_numbers, bits)
            notes.append('numbers of a palette; images.palette = "colour" gives its colours')
        else:
            samples = RGBA if b"tRNS" in names else RGB
    else:
        samples = {_GREY: GREY, _RGB: RGB, _GREY_ALPHA: GREY_ALPHA, _RGBA: RGBA}[colour]
        if b"tRNS" in names:
            notes.append("one colour of the picture stands for transparency, which is left out")
        if bits < 8:
            decode = partial(_decode_numbers, bits)
            notes.append(f"grey of {bits} bits, given as stored: 0 to {2**bits - 1}")
    dtype = "uint16" if bits == 16 else "uint8"
    return PictureHeader(height, width, dtype, samples, _lacking, decode, tuple(notes))


def _chunks(pread: Callable[[int, int], bytes], size: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, offset and whole length of each chunk, as long as they end before `size`."""
    offset, name = len(MAGIC), b""
    while name != b"IEND" and offset + 12 <= size:
        nbytes, name = struct.unpack(">I4s", pread(8, offset))
        if offset + nbytes + 12 > size:
            return
        yield name, offset, nbytes + 12
        offset += nbytes + 12


def _lacking(data: Bytes) -> str:
    whole = data.pread(data.size, 0)  # chunks of 8 kB would each be a request to a remote store
    names = {name for name, _, _ in _chunks(_slicing(whole), len(whole))}
    if b"IDAT" not in names:
        return "holds no pixels"
    return "" if b"IEND" in names else "is cut short: it lacks the last of its chunks, IEND"


def _slicing(whole: bytes) -> Callable[[int, int], bytes]:
    return lambda nbytes, offset: whole[offset : offset + nbytes]


def _decode_numbers(bits: int, data: bytes) -> NDArray[Any]:
    """Return numbers of up to eight bits as they are stored: no palette, not spread to 255.

    libpng is given the same pixels as grey; what it spreads over 0 to 255 is divided again.
    """
    header = data[12:25] + bytes([_GREY]) + data[26:29]
    parts = [MAGIC, data[8:12], header, struct.pack(">I", zlib.crc32(header))]
    for name, offset, length in _chunks(_slicing(data), len(data)):
        if name in (b"IDAT", b"IEND"):
            parts.append(data[offset : offset + length])
    pixels = decode_by_opencv(b"".join(parts))
    if bits < 8:
        np.floor_divide(pixels, 255 // (2**bits - 1), out=pixels)
    return pixels
