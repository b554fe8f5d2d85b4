"""What a compressed image stream says of itself, before it is decoded.

JPEG and JPEG XR decoders fill up what is missing with grey and say nothing, and an image stream
states its own size, for which its decoder takes memory, whatever the page around it says.
"""

from __future__ import annotations

import struct

from .jpeg_xr import jpeg_xr_size

_JPEG = frozenset({6, 7, 33007, 34892})
_JPEG2000 = frozenset({33003, 33004, 33005, 34712})
_JPEG_XR = frozenset({22610, 34934})
_PNG = 34933
_LERC = 34887
#: A stream may hold somewhat more than its tile: rows and columns up to whole blocks.
_MARGIN = 2


def check_stream(data: bytes, compression: int, samples: int) -> None:
    """Raise where a stream breaks off, or is for an image of another size.

    Parameters
    ----------
    data
        Of one strip or tile.
    compression
        The TIFF tag's value.
    samples
        Numbers in the decoded strip or tile.

    Raises
    ------
    ValueError
    """
    size = None
    if compression in _JPEG:
        size = _jpeg(data)
    elif compression in _JPEG2000:
        size = _jpeg2000(data)
    elif compression in _JPEG_XR:
        size = jpeg_xr_size(data)
    elif compression == _LERC:
        size = _lerc(data)
    elif compression == _PNG and len(data) >= 24:
        size = struct.unpack(">II", data[16:24])
    if size is not None and size[0] * size[1] > samples * _MARGIN + (1 << 16):
        raise ValueError(f"a stream of {size[0]} x {size[1]} pixels where {samples} values belong")


def _jpeg(data: bytes) -> tuple[int, int] | None:
    """Return (height, width); None where the stream has no head of its own (NDPI, old JPEG).

    Markers are in ITU-T T.81, Annex B.
    """
    at = 2
    if data[:2] != b"\xff\xd8":
        return None
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            # In coded data 0xFF is followed by 0 or a restart marker: this can be the end alone.
            if data.rfind(b"\xff\xd9", at) < 0:
                raise ValueError("the JPEG stream has no end")
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return height, width
        if marker == 0xDA:
            break
        at += 2 + int(struct.unpack(">H", data[at + 2 : at + 4])[0])
    return None


def _jpeg2000(data: bytes) -> tuple[int, int] | None:
    """Return (height, width) from the SIZ marker, ITU-T T.800, A.5.1."""
    at = data.find(b"\xff\x4f\xff\x51", 0, 4096)
    if at < 0 or at + 24 > len(data):
        return None
    right, bottom, left, top = struct.unpack(">IIII", data[at + 8 : at + 24])
    return bottom - top, right - left


def _lerc(data: bytes) -> tuple[int, int] | None:
    """Return (height, width); None of an older kind, or of one that is compressed once more.

    The head is in https://github.com/Esri/lerc, `Lerc2::HeaderInfo`.
    """
    if data[:6] != b"Lerc2 " or len(data) < 30:
        return None
    (version,) = struct.unpack_from("<i", data, 6)
    values = struct.unpack_from("<3I", data, 14 if version >= 3 else 10)
    height, width = values[:2]
    return height, width * (max(1, values[2]) if version >= 4 else 1)
