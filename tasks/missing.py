"""Pixels that are no finite number: they stay what they are, and no filter hears of them.

A float image may hold NaN where a mosaic has no field, or infinity where a division failed. A
filter that took them for values would spread them over its whole neighbourhood.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def missing_of(planes: NDArray[np.float32]) -> NDArray[np.bool_] | None:
    """Return which pixels are no finite number, or None where all are.

    Examples
    --------
    >>> missing_of(np.array([1, np.nan, np.inf], np.float32))
    array([False,  True,  True])
    >>> missing_of(np.zeros(3, np.float32)) is None
    True
    """
    finite = np.isfinite(planes)
    return None if finite.all() else ~finite
