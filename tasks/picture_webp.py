"""What a WebP is: the size and the colours that its first chunk declares.

Of the format: RFC 9649. It has no checksum: a changed byte that still decodes is not found out.
"""

from __future__ import annotations

import struct

from .bytes import Bytes
from .picture_header import RGB, RGBA, PictureHeader
from .source import SourceError

MAGIC = b"RIFF"
_ANIMATED, _ALPHA = 0x02, 0x10


def describe_webp(data: Bytes) -> PictureHeader:
    """Return what the first chunk says.

    Raises
    ------
    SourceError
        Where it is animated, or no WebP.
    """
    head = data.pread(30, 0)
    kind, body = head[12:16], head[20:]
    if head[8:12] != b"WEBP" or kind not in (b"VP8 ", b"VP8L", b"VP8X"):
        raise SourceError(f"{data.path}: begins like a RIFF file that is no WebP; leave it out")
    alpha = False
    if kind == b"VP8X":
        if body[0] & _ANIMATED:
            raise SourceError(
                f"{data.path}: is an animated WebP, of which only one frame would be read; write "
                "one file per frame, or leave it out"
            )
        alpha = bool(body[0] & _ALPHA)
        width = 1 + int.from_bytes(body[4:7], "little")
        height = 1 + int.from_bytes(body[7:10], "little")
    elif kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        width, height, alpha = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), bool(bits >> 28 & 1)
    else:
        width, height = (n & 0x3FFF for n in struct.unpack("<HH", body[6:10]))
    return PictureHeader(height, width, "uint8", RGBA if alpha else RGB, _lacking)


def _lacking(data: Bytes) -> str:
    declared = 8 + int.from_bytes(data.pread(4, 4), "little")
    if data.size < declared:
        return f"is cut short: it has {data.size} of {declared} bytes"
    return ""
