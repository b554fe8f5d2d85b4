"""Histograms of a store's pixels, and percentiles of them: exact where every value has a bin."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def percentiles(
    values: NDArray[np.float64], counts: NDArray[np.int64], percents: Sequence[float]
) -> NDArray[np.float64]:
    """Return percentiles of counted values, as `numpy.percentile(..., method="linear")` does.

    Parameters
    ----------
    values
        float64, shape (n,), ascending.
    counts
        int64, shape (n,): how often each is there.
    percents
        0 to 100.

    Returns
    -------
    percentiles
        float64; NaN where nothing is counted.

    Examples
    --------
    >>> percentiles(np.array([1.0, 3.0]), np.array([3, 1]), [0, 50, 90])
    array([1. , 1. , 2.4])
    """
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    if not total:
        return np.full(len(percents), np.nan)
    at = (total - 1) * np.true_divide(np.asarray(percents, np.float64), 100)
    before = np.floor(at).astype(np.int64)
    share = at - before
    low = values[np.searchsorted(ends, before, side="right")]
    high = values[np.searchsorted(ends, np.minimum(before + 1, total - 1), side="right")]
    # From the nearer of the two, as NumPy does it, so that whole numbers agree to the last bit.
    between = high - low
    found: NDArray[np.float64] = np.where(
        share < 0.5, low + between * share, high - between * (1 - share)
    )
    return found
