"""XResolution and YResolution of a TIFF as the size of a pixel, where they may be measured."""

from __future__ import annotations

import math
from typing import Any

#: What the ResolutionUnit tag says (TIFF 6.0), in micrometres.
_TAG_UNITS = {2: 25400.0, 3: 10000.0}
#: Resolutions of screens and printers, which programs write where they know nothing, in dots per
#: inch.
NOT_MEASURED = (0, 1, 72, 96, 150, 300)
_X, _Y, _UNIT = 282, 283, 296


def size_by_tags(page: Any, unit_um: float | None = None) -> tuple[float, float]:
    """Return (y, x) of a pixel in micrometres, NaN where the tags do not say it.

    Parameters
    ----------
    page
        A tifffile.TiffPage.
    unit_um
        The unit in micrometres, where something else than the ResolutionUnit tag says it.
    """
    if unit_um is None:
        unit_um = _TAG_UNITS.get(int(page.tags.valueof(_UNIT, 1) or 1), math.nan)
    return _per_pixel(page, _Y, unit_um), _per_pixel(page, _X, unit_um)


def _per_pixel(page: Any, tag: int, unit_um: float) -> float:
    value = page.tags.valueof(tag)
    if value is None:
        return math.nan
    pixels, units = value if isinstance(value, tuple) else (value, 1)
    if not pixels or not units:
        return math.nan
    per_inch = pixels / units * 25400.0 / unit_um
    if any(math.isclose(per_inch, dots, rel_tol=1e-3) for dots in NOT_MEASURED):
        return math.nan
    return float(unit_um * units / pixels)
