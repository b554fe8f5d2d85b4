"""The list of pages of a TIFF, walked before a library does: it may loop, or lead out of the file.

tifffile goes on with the pages before a break and calls that the file, and follows some loops for
ever.
"""

from __future__ import annotations

import struct

from .bytes import Bytes
from .source import SourceError

#: A page has fewer tags; tifffile draws the line there too.
MAX_TAGS = 4096
#: Read at once: a page's tags, and where the next one is.
_AHEAD_BYTES = 1024


def check_chain(file: Bytes, path: str) -> int:
    """Follow the list of pages to its end; return how many there are.

    Raises
    ------
    SourceError
        Where it leads out of the file or back to an earlier page.
    """
    header = file.pread(min(16, file.size), 0)
    order = {b"II": "<", b"MM": ">"}.get(header[:2])
    if order is None or len(header) < 8:
        raise SourceError(f"{path}: is not a TIFF; mend it or leave it out")
    version = struct.unpack(order + "H", header[2:4])[0]
    # NDPI of Hamamatsu is a classic TIFF whose pages are found by 64-bit offsets.
    wide = version == 43 or (order == "<" and path.lower().endswith(".ndpi"))
    count, tag_bytes = (order + "Q", 20) if version == 43 else (order + "H", 12)
    offset = order + ("Q" if wide else "I")
    at = 8 if version == 43 else 4
    if len(header) < at + struct.calcsize(offset):
        raise SourceError(f"{path}: ends within its header; it is truncated")
    seen: set[int] = set()
    (page,) = struct.unpack_from(offset, header, at)
    while page:
        if page in seen:
            raise SourceError(
                f"{path}: its list of pages leads from page {len(seen) - 1} back to byte {page}, "
                "where an earlier one is; it is damaged; mend it or leave it out"
            )
        seen.add(page)
        page = _next(file, path, page, count, tag_bytes, offset)
    return len(seen)


def _next(file: Bytes, path: str, page: int, count: str, tag_bytes: int, offset: str) -> int:
    """Return where the page after this one is, 0 after the last."""
    first = struct.calcsize(count)
    if page + first > file.size:
        raise SourceError(
            f"{path}: its list of pages goes on at byte {page}, and the file has {file.size}; "
            "it is truncated; mend it or leave it out"
        )
    ahead = file.pread(min(_AHEAD_BYTES, file.size - page), page)
    (tags,) = struct.unpack_from(count, ahead)
    end = first + tags * tag_bytes
    if tags > MAX_TAGS or page + end + struct.calcsize(offset) > file.size:
        raise SourceError(
            f"{path}: the page at byte {page} has {tags} tags, which the file of {file.size} bytes "
            "has no room for; it is truncated or damaged; mend it or leave it out"
        )
    if end + struct.calcsize(offset) <= len(ahead):
        return int(struct.unpack_from(offset, ahead, end)[0])
    return int(struct.unpack(offset, file.pread(struct.calcsize(offset), page + end))[0])
