"""What a segment may hold: it is decoded whole, and a damaged file may say that it is any size."""

from __future__ import annotations

from .image import ImageOptions
from .source import SourceError


def check_segment_bytes(path: str, nbytes: int, options: ImageOptions) -> None:
    """Raise a SourceError where a strip, tile or chunk takes too much memory.

    Parameters
    ----------
    path
        Of the file, for the error.
    nbytes
        Of what must be decoded at once; it may reach beyond its image.
    options
        `max_segment_bytes` is the limit.
    """
    if nbytes > options.max_segment_bytes:
        raise SourceError(
            f"{path}: its strips, tiles or chunks must be decoded whole and hold {nbytes} bytes "
            f"each, more than images.max_segment_bytes = {options.max_segment_bytes}; write "
            "smaller ones, or raise the limit"
        )
