"""What the numbers of a TIFF stand for: names of samples, palettes, and what to know of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from .source import SourceError

#: Values of the PhotometricInterpretation tag.
MIN_IS_WHITE, RGB, PALETTE, CMYK, YCBCR, CIELAB = 0, 2, 3, 5, 6, 8
_NAMES = {
    RGB: ("R", "G", "B"),
    CMYK: ("C", "M", "Y", "K"),
    YCBCR: ("Y", "Cb", "Cr"),
    CIELAB: ("L", "a", "b"),
}
#: JPEG decoders turn YCbCr into RGB.
_JPEG = frozenset({6, 7, 33007, 34892})
#: Aperio's JPEG 2000 whose components are YCbCr, whatever the page says (OpenSlide, "Aperio").
_APERIO_YCBCR = 33003
#: Values of the ExtraSamples tag that mean opacity.
_ALPHA = (1, 2)


def sample_names(page: tifffile.TiffPage, samples: int) -> tuple[str, ...]:
    """Return the names of the samples of a pixel; empty strings for those that have none.

    Parameters
    ----------
    page
        Any of the image's.
    samples
        How many a pixel has.
    """
    names = list(_NAMES.get(_colour_space(page), ()))[:samples]
    extra = tuple(page.extrasamples or ())
    for number in range(len(names), samples):
        kind = extra[number - samples] if len(extra) >= samples - number else 0
        names.append("A" if kind in _ALPHA and "A" not in names else "")
    return tuple(names)


def _colour_space(page: tifffile.TiffPage) -> int:
    if page.compression == _APERIO_YCBCR:
        return YCBCR
    if page.photometric == YCBCR and page.compression in _JPEG:
        return RGB
    if page.photometric == PALETTE and page.samplesperpixel == 1:
        return RGB
    return int(page.photometric)


def palette_of(series: tifffile.TiffPageSeries, path: str) -> NDArray[Any]:
    """Return the colours of a palette image, shape (3, colours).

    uint8 where the map has no finer colours, else uint16, as TIFF stores them; some programs
    write 8-bit colours into its 16 bit.

    Raises
    ------
    SourceError
        Where the map is missing or too short, or pages have different ones.
    """
    first: NDArray[Any] | None = None
    for number in range(len(series)):
        page: Any = series[number]
        page = page.aspage() if page is not None and page.is_frame else page
        colours = None if page is None else page.colormap
        if colours is None or colours.shape != (3, 1 << int(page.bitspersample)):
            raise SourceError(
                f"{path}: page {number} has no colour map that fits; set images.palette to "
                '"index", or leave it out'
            )
        if first is not None and not np.array_equal(first, colours):
            raise SourceError(
                f"{path}: its pages have different colour maps; set images.palette to "
                '"index", or write it in colours'
            )
        first = colours
    assert first is not None
    if first.max() < 256:
        return first.astype(np.uint8)
    high, low = first >> 8, first & 255
    return high.astype(np.uint8) if ((low == high) | (low == 0)).all() else first


def notes_on(series: tifffile.TiffPageSeries) -> tuple[str, ...]:
    """Return sentences on numbers that are kept as they are stored, and mean something else."""
    page, notes = series.keyframe, []
    if page.photometric == MIN_IS_WHITE:
        notes.append("0 is white in it (MinIsWhite); the numbers are kept as they are stored")
    if page.compression == _APERIO_YCBCR:
        notes.append("its colours are YCbCr (Aperio JPEG 2000), and are kept as they are stored")
    orientation = page.tags.valueof(274)
    if orientation in range(2, 9):
        notes.append(
            f"is meant to be shown turned or mirrored (Orientation {orientation}); its pixels are "
            "kept as they are stored"
        )
    if series.kind == "bif":
        notes.append("its tiles overlap in truth (Ventana BIF), and are not stitched")
    return tuple(notes)
