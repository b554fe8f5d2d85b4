"""Units of length as files write them, in micrometres."""

from __future__ import annotations

import math

_MICROMETRES = {
    **dict.fromkeys(("µm", "μm", "um", "micron", "microns", "micrometer", "micrometre"), 1.0),
    **dict.fromkeys(("pm", "picometer", "picometre"), 1e-6),
    **dict.fromkeys(("å", "Å", "angstrom"), 1e-4),
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1e-3),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1e3),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 1e4),
    **dict.fromkeys(("m", "meter", "metre"), 1e6),
    **dict.fromkeys(("in", "inch"), 25_400.0),
}


def micrometres_of(unit: str | None) -> float:
    """Return how many micrometres a unit has; NaN for none, or for one that is no length.

    Symbols are those of OME-XML, words those of UDUNITS (OME-Zarr), in one number or the plural.

    Examples
    --------
    >>> micrometres_of("nanometer")
    0.001
    """
    word = (unit or "").strip()
    for spelling in (word, word.lower(), word.lower().removesuffix("s")):
        if spelling in _MICROMETRES:
            return _MICROMETRES[spelling]
    return math.nan
