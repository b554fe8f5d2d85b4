"""Whether a page of a series is laid out as the first one, whose decoding serves for all.

Of the pages behind the first tifffile reads where the pixels are, and takes for granted that they
are stored alike.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

#: Tags that say how pixels are stored, and what they are where the tag is missing (TIFF 6.0).
LAYOUT = {
    256: ("width", ()),
    257: ("height", ()),
    258: ("number of bits", (1,)),
    259: ("compression", (1,)),
    266: ("order of bits", (1,)),
    277: ("number of samples", (1,)),
    278: ("height of strips", ()),
    284: ("order of samples", (1,)),
    317: ("predictor", (1,)),
    322: ("width of tiles", ()),
    323: ("height of tiles", ()),
    339: ("kind of numbers", (1,)),
}
_INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_MAX_VALUES = 64

Read = Callable[[int, int], bytes]


def other_layout(page: Any, read: Read, read_key: Read) -> str:
    """Return what is different between a page and its keyframe; "" where nothing is.

    Parameters
    ----------
    page
        A tifffile.TiffFrame.
    read, read_key
        Return so many bytes (first) of the file of the page, and of the keyframe, from a place
        (second).
    """
    key_page = page.keyframe
    if page.parent.byteorder != key_page.parent.byteorder:
        return "order of bytes"
    own = _layout(page.parent.tiff, page.offset, read)
    key = _layout(key_page.parent.tiff, key_page.offset, read_key)
    for tag, (name, default) in LAYOUT.items():
        if own.get(tag, default) != key.get(tag, default) and not _one_strip(tag, own, key):
            return name
    return ""


def _one_strip(tag: int, *layouts: dict[int, tuple[int, ...]]) -> bool:
    """Whether both have one strip, however high it says that it is."""
    return tag == 278 and all(own.get(278, own.get(257, ())) >= own.get(257, ()) for own in layouts)


def _layout(tiff: Any, offset: int, read: Read) -> dict[int, tuple[int, ...]]:
    order, inline = tiff.byteorder, tiff.tagoffsetthreshold
    (count,) = struct.unpack(tiff.tagnoformat, read(tiff.tagnosize, offset))
    data = read(count * tiff.tagsize, offset + tiff.tagnosize)
    found: dict[int, tuple[int, ...]] = {}
    for at in range(0, len(data), tiff.tagsize):
        tag, kind = struct.unpack_from(order + "HH", data, at)
        if tag not in LAYOUT or kind not in _INTEGERS:
            continue
        (length,) = struct.unpack_from(order + ("Q" if tiff.is_bigtiff else "I"), data, at + 4)
        values = f"{order}{min(length, _MAX_VALUES)}{_INTEGERS[kind]}"
        start = at + tiff.tagsize - inline
        if length * struct.calcsize(_INTEGERS[kind]) <= inline:
            found[tag] = struct.unpack_from(values, data, start)
        else:
            place = struct.unpack_from(tiff.offsetformat, data, start)[0]
            found[tag] = struct.unpack(values, read(struct.calcsize(values), place))
    return found
