"""The pages of a TIFF, looked at before a library does: they may loop, or lead out of the file.

tifffile goes on with the pages before a break and calls that the file, follows some loops for
ever, and leaves out what it cannot read of a page: levels, or the XML that says what it is part of.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from .bytes import Bytes
from .source import SourceError

#: A page has fewer tags; tifffile draws the line there too.
MAX_TAGS = 4096
#: Read at once: a page's tags, and where the next one is.
_AHEAD_BYTES = 1024
#: Bytes of a value by the number of its type (TIFF 6.0, BigTIFF).
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SIZES |= {16: 8, 17: 8, 18: 8}
#: The tag that says where pages below a page are, and the types of such values.
_SUB_PAGES = 330
_PLACES = {4: "I", 13: "I", 16: "Q", 18: "Q"}


@dataclass(frozen=True)
class _Layout:
    """How numbers are written in the directories of a TIFF.

    Attributes
    ----------
    order
        Of bytes, "<" or ">".
    count
        Of tags, as `struct` knows it.
    tag
        Number, type, count and value of a tag.
    link
        Where the next page is.
    """

    order: str
    count: str
    tag: str
    link: str


def check_chain(file: Bytes, path: str) -> int:
    """Follow the list of pages to its end; return how many there are.

    Raises
    ------
    SourceError
        Where it leads out of the file or back to an earlier page, or where what a page says lies
        beyond the end of the file.
    """
    header = file.pread(min(16, file.size), 0)
    order = {b"II": "<", b"MM": ">"}.get(header[:2])
    if order is None or len(header) < 8:
        raise SourceError(f"{path}: is not a TIFF; mend it or leave it out")
    big = struct.unpack(order + "H", header[2:4])[0] == 43
    # NDPI of Hamamatsu is a classic TIFF whose pages are found by 64-bit offsets.
    wide = big or (order == "<" and path.lower().endswith(".ndpi"))
    count, value = ("Q", "8s") if big else ("H", "4s")
    tag = f"{order}HH{'Q' if big else 'I'}{value}"
    layout = _Layout(order, order + count, tag, order + ("Q" if wide else "I"))
    at = 8 if big else 4
    if len(header) < at + struct.calcsize(layout.link):
        raise SourceError(f"{path}: ends within its header; it is truncated")
    seen: set[int] = set()
    (page,) = struct.unpack_from(layout.link, header, at)
    while page:
        if page in seen:
            raise SourceError(
                f"{path}: its list of pages leads from page {len(seen) - 1} back to byte {page}, "
                "where an earlier one is; it is damaged; mend it or leave it out"
            )
        seen.add(page)
        page, below = _check_page(file, path, page, layout)
        for sub_page in filter(None, below):
            _check_page(file, path, sub_page, layout)
    return len(seen)


def _check_page(file: Bytes, path: str, page: int, layout: _Layout) -> tuple[int, list[int]]:
    """Return where the page after this one is, 0 after the last; and where those below it are."""
    first, tag_bytes = struct.calcsize(layout.count), struct.calcsize(layout.tag)
    if page + first > file.size:
        raise SourceError(
            f"{path}: its list of pages goes on at byte {page}, and the file has {file.size}; "
            "it is truncated; mend it or leave it out"
        )
    ahead = file.pread(min(_AHEAD_BYTES, file.size - page), page)
    (tags,) = struct.unpack_from(layout.count, ahead)
    end = first + tags * tag_bytes
    whole = end + struct.calcsize(layout.link)
    if tags > MAX_TAGS or page + whole > file.size:
        raise SourceError(
            f"{path}: the page at byte {page} has {tags} tags, which the file of {file.size} bytes "
            "has no room for; it is truncated or damaged; mend it or leave it out"
        )
    if whole > len(ahead):
        ahead = file.pread(whole, page)
    below: list[int] = []
    for number, kind, count, value in struct.iter_unpack(layout.tag, ahead[first:end]):
        nbytes = _SIZES.get(kind, 0) * count
        at = 0
        if nbytes > len(value):
            at = int.from_bytes(value, "little" if layout.order == "<" else "big")
            if at + nbytes > file.size:
                raise SourceError(
                    f"{path}: tag {number} of the page at byte {page} lies in bytes {at} to "
                    f"{at + nbytes}, and the file has {file.size}; it is truncated or damaged; "
                    "mend it or leave it out"
                )
        if number == _SUB_PAGES and kind in _PLACES:
            if count > MAX_TAGS:
                raise SourceError(
                    f"{path}: the page at byte {page} has {count} pages below it; it is damaged; "
                    "mend it or leave it out"
                )
            places = value[:nbytes] if nbytes <= len(value) else file.pread(nbytes, at)
            below += struct.unpack(f"{layout.order}{count}{_PLACES[kind]}", places)
    return int(struct.unpack_from(layout.link, ahead, end)[0]), below
