"""What a JPEG XR stream says of itself: its decoder (jxrlib) believes all of it, and crashes.

Of the format: ITU-T T.832; the container is in Annex A, the stream's own head in 8.3.
"""

from __future__ import annotations

import struct

#: How the pixels of a container, by its identifier, lie in the stream: colours, and bits of a
#: sample. The decoder writes what the stream says into memory for what the container says.
_FAMILY = bytes.fromhex("24c3dd6f034efe4bb1853d77768dc9")
_KINDS = {
    _FAMILY + bytes([last]): kind
    for last, kind in {
        0x08: 0x01,  # grey of 8 bits
        0x0B: 0x02,  # of 16
        0x13: 0x03,  # of 16, fixed point
        0x3E: 0x04,  # half floats
        0x11: 0x07,  # floats
        0x0C: 0x71,  # blue, green, red of 8 bits
        0x0D: 0x71,  # red, green, blue
        0x0E: 0x71,
        0x0F: 0x71,  # with alpha
        0x15: 0x72,  # of 16 bits
        0x16: 0x72,
        0x12: 0x73,  # fixed point
        0x3B: 0x74,  # half floats
        0x3A: 0x74,
        0x19: 0x77,  # floats
    }.items()
}
_KINDS[bytes.fromhex("2dadc7f58d6add43a7a8a29935261ae9")] = 0x71
_KINDS[bytes.fromhex("8fd7fee3dbe8cf4a84c1e97f6136b327")] = 0x77
_FORMAT, _WIDTH, _HEIGHT = 0xBC01, 0xBC80, 0xBC81
_IMAGE, _IMAGE_BYTES, _ALPHA = 0xBCC0, 0xBCC1, 0xBCC2
_NEEDED = {_FORMAT, _WIDTH, _HEIGHT, _IMAGE, _IMAGE_BYTES}
_MOST_TAGS = 64
_MAGIC, _HEAD_BYTES = b"WMPHOTO\0", 20


def jpeg_xr_size(data: bytes) -> tuple[int, int]:
    """Return (height, width) of a stream in its container.

    Raises
    ------
    ValueError
        Where it breaks off, or contradicts itself.
    """
    if data[:3] != b"II\xbc" or len(data) < 8:
        raise ValueError("no JPEG XR stream")
    (at,) = struct.unpack_from("<I", data, 4)
    count = int.from_bytes(data[at : at + 2], "little")
    end = at + 2 + 12 * count
    if not 0 < count <= _MOST_TAGS or end > len(data):
        raise ValueError("the JPEG XR stream has no list of tags")
    tags: dict[int, int] = {}
    for tag, kind, _, value in struct.iter_unpack("<HHII", data[at + 2 : end]):
        tags[tag] = value & (0xFFFF if kind == 3 else 0xFFFFFFFF)
    if not tags.keys() >= _NEEDED:
        raise ValueError("the JPEG XR stream lacks tags")
    first, place = tags[_IMAGE], tags[_FORMAT]
    if first + tags[_IMAGE_BYTES] > len(data):
        raise ValueError("the JPEG XR stream breaks off")
    kind = _KINDS.get(data[place : place + 16], -1)
    if _kind_at(data, first) != kind:
        raise ValueError("the JPEG XR stream is not of the kind that it says, or of one not read")
    # Of the opacity, which is a stream of its own, of one colour.
    if _ALPHA in tags and _kind_at(data, tags[_ALPHA]) not in (kind, kind & 0x0F):
        raise ValueError("the JPEG XR stream has an opacity of another kind")
    is_short, at = data[first + 10] & 0x80, first + 12
    width, height = struct.unpack_from(">HH" if is_short else ">II", data, at)
    if (tags[_WIDTH], tags[_HEIGHT]) != (width + 1, height + 1):
        raise ValueError(
            f"a JPEG XR stream of {height + 1} x {width + 1} pixels that says to have "
            f"{tags[_HEIGHT]} x {tags[_WIDTH]}"
        )
    at += 4 if is_short else 8
    if data[first + 9] & 0x80:  # tiles: their numbers, of 12 bits each, and their sizes
        numbers = int.from_bytes(data[at : at + 3], "big")
        at += 3 + ((numbers >> 12) + (numbers & 0xFFF)) * (1 if is_short else 2)
    if data[first + 10] & 0x20:  # a window
        at += 3
    # What the colours were turned into: none, or brightness and two colours of several sizes.
    colours = data[at] >> 5 if at < len(data) else -1
    if colours not in ((0,) if kind < 0x10 else (0, 1, 2, 3)):
        raise ValueError("the JPEG XR stream has colours that do not belong to its kind")
    return height + 1, width + 1


def _kind_at(data: bytes, first: int) -> int:
    """Return colours and bits of a sample that the head of a stream says."""
    if data[first : first + len(_MAGIC)] != _MAGIC or len(data) < first + _HEAD_BYTES:
        raise ValueError("the JPEG XR stream has no head")
    return data[first + 11]
