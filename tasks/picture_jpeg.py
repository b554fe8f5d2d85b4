"""What a JPEG is: the size and the colours that its frame header declares.

Of the format: ITU-T T.81. It has no checksum. Zeros in place of data, and data that ends early,
make libjpeg warn and go on with grey. simplejpeg makes errors of such warnings and OpenCV drops
them, so simplejpeg decodes; the library and the pixels are the same. A changed bit that still
decodes to the right number of pixels is not found out, by any decoder.
"""

from __future__ import annotations

import struct
from functools import partial
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from .bytes import Bytes
from .picture_header import GREY, PictureHeader
from .scratch import scratch
from .source import SourceError

MAGIC = b"\xff\xd8\xff"
#: Markers that begin a frame header: all of C0 to CF but DHT, JPG and DAC.
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
#: Markers without a length: TEM, RSTn, SOI.
_BARE = {0x01, *range(0xD0, 0xD9)}
#: Segments before the frame header; an ICC profile may have 255, EXIF's kin about as many.
_MOST_SEGMENTS = 4096
_END = b"\xff\xd9"


def describe_jpeg(data: Bytes) -> PictureHeader:
    """Return what the frame header says; EXIF's orientation is left alone.

    Raises
    ------
    SourceError
        Where it is of inks (CMYK), or of other than eight bits.
    """
    offset = _frame(data)
    bits, height, width, samples = struct.unpack(">BHHB", data.pread(6, offset + 4))
    if bits != 8 or samples not in (1, 3) or 0 in (height, width):
        raise SourceError(
            f"{data.path}: is a JPEG of {height} x {width} pixels with {samples} samples of {bits} "
            "bits; grey or RGB of 8 bits is read; write it as PNG"
        )
    colours = {"R": 0, "G": 1, "B": 2} if samples == 3 else GREY
    decode = partial(_decode, "RGB" if colours else "GRAY", (height, width, samples))
    return PictureHeader(height, width, "uint8", colours, partial(_lacking, offset), decode)


def _frame(data: Bytes) -> int:
    """Return where the frame header begins."""
    offset = 2
    for _ in range(_MOST_SEGMENTS):
        prefix, marker, nbytes = struct.unpack(">BBH", data.pread(4, offset))
        if prefix != 0xFF or marker in (0xD9, 0xDA):
            break
        if marker in _FRAMES:
            return offset
        if marker == 0xFF:  # padding
            offset += 1
        else:
            offset += 2 + (0 if marker in _BARE else nbytes)
    raise SourceError(
        f"{data.path}: has no JPEG frame header before byte {offset}; mend it or leave it out"
    )


def _lacking(frame: int, data: Bytes) -> str:
    # A thumbnail before the frame has an end of its own.
    after = data.pread(data.size - frame, frame)
    return "" if _END in after else "is cut short: it lacks the marker of its end"


def _decode(colours: str, shape: tuple[int, int, int], data: bytes) -> NDArray[Any]:
    pixels: NDArray[Any] = simplejpeg.decode_jpeg(
        data, colours, buffer=scratch("jpeg", shape, np.uint8), strict=True
    )
    return pixels if shape[2] > 1 else pixels[:, :, 0]
