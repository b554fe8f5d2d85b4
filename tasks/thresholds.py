"""Automatic thresholds of a histogram, which may be of one image or of many.

scikit-image has the same methods for the pixels of one image; a threshold of a group of images
comes from their merged histogram, so here they take values and counts. What is brighter than the
threshold is foreground.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

#: Different values, ascending, and how many pixels have each.
Threshold = Callable[[NDArray[np.float64], NDArray[np.int64]], float]

#: What a histogram has that a line is drawn over, where there are more different values.
TRIANGLE_BINS = 256


def otsu(values: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    """Return the threshold between whose sides the variance is largest.

    Otsu, IEEE Trans. Syst. Man Cybern. 9:62 (1979).

    Parameters
    ----------
    values
        float64, shape (n,), ascending: the different values, at least one.
    counts
        int64, shape (n,): pixels of each, above 0.

    Examples
    --------
    >>> otsu(np.array([1.0, 2.0, 9.0]), np.array([5, 5, 5]))
    2.0
    """
    if len(values) == 1:
        return float(values[0])
    weights = counts.astype(np.float64)
    below, sums = np.cumsum(weights)[:-1], np.cumsum(weights * values)
    above = counts.sum() - below
    apart = sums[:-1] / below - (sums[-1] - sums[:-1]) / above
    return float(values[int(np.argmax(below * above * apart**2))])


def li(values: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    """Return the threshold of minimum cross entropy.

    Li and Tam, Pattern Recognit. Lett. 19:771 (1998): an iteration that begins at the mean.

    Parameters
    ----------
    values, counts
        As in `otsu`.
    """
    if len(values) == 1:
        return float(values[0])
    lowest = float(values[0])
    values = values - lowest
    # Half a grey value; of fractions not below what a threshold could mean.
    tolerance = max(float(np.diff(values).min()) / 2, float(values[-1]) * 1e-6)
    found, former = float(np.average(values, weights=counts)), -math.inf
    while abs(found - former) > tolerance:
        former = found
        above = values > found
        low = float(np.average(values[~above], weights=counts[~above]))
        high = float(np.average(values[above], weights=counts[above]))
        if low == 0:
            break
        found = (high - low) / (math.log(high) - math.log(low))
    return found + lowest


def triangle(values: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    """Return the value farthest from the line from a histogram's peak to its longer end.

    Zack, Rogers and Latt, J. Histochem. Cytochem. 25:741 (1977). More than `TRIANGLE_BINS` values
    are counted in that many bins of one width.

    Parameters
    ----------
    values, counts
        As in `otsu`.
    """
    if len(values) == 1:
        return float(values[0])
    centres, heights = _even_bins(values, counts)
    peak = int(np.argmax(heights))
    first, last = 0, len(heights) - 1
    # From the longer end to the peak; the first of those that are equally far counts.
    at = np.arange(last, peak, -1) if peak - first < last - peak else np.arange(first, peak)
    line = heights[peak] * np.arange(len(at)) / len(at)
    return float(centres[at[int(np.argmax(line - heights[at]))]])


def _even_bins(
    values: NDArray[np.float64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the centres and the heights of bins of one width, from the first to the last value."""
    low, high = float(values[0]), float(values[-1])
    if high - low < TRIANGLE_BINS and np.array_equal(values, np.rint(values)):
        heights = np.zeros(int(high - low) + 1)
        heights[(values - low).astype(np.int64)] = counts
        return low + np.arange(len(heights), dtype=np.float64), heights
    heights, edges = np.histogram(values, TRIANGLE_BINS, (low, high), weights=counts)
    edges = edges.astype(np.float64)
    return (edges[:-1] + edges[1:]) / 2, heights.astype(np.float64)


#: By the names that recipes use.
THRESHOLDS: dict[str, Threshold] = {"otsu": otsu, "triangle": triangle, "li": li}
