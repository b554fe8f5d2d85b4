"""A histogram of one channel's pixels that merges in any order: exact, or with narrow fixed bins.

Pixels that are whole numbers of up to 16 bits have a bin for each value, so everything is exact.
Other pixels are binned by the first bits of their float32 pattern, which the usual trick (flip the
sign bit of what is positive, every bit of what is negative) puts into the order of the numbers:
sign, exponent and `MANTISSA_BITS` of the mantissa. Beside its count a bin keeps the sum of the
remaining bits and of their squares, which are integers; so mean and standard deviation are of the
pixels themselves. Only percentiles know a pixel no better than its bin, whose width is at most
2**-12 (0.025 %) of the value. All that is kept are integers and extremes, so that partial results
merge to the same, bit for bit, in any order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..reader.histograms import percentiles

#: Of a float32's 23, how many tell bins apart.
MANTISSA_BITS = 12
_REST_BITS = 23 - MANTISSA_BITS
_SIGN = np.uint32(1 << 31)
_EVERY = np.uint32(0xFFFFFFFF)
_REST = np.uint32((1 << _REST_BITS) - 1)


@dataclass(frozen=True, eq=False)
class Sketch:
    """The pixels of one channel; those that are NaN or infinite are none.

    Attributes
    ----------
    is_whole
        Whether keys are the values themselves, else the first bits of their pattern.
    bins
        int64, shape (2, n) or, unless `is_whole`, (4, n). The keys of the bins that hold pixels,
        ascending; how many each holds; the sums of the remaining bits of their patterns, and of
        the squares of these.
    low, high
        The smallest and the largest value; infinity and minus infinity where there is no pixel.
    """

    is_whole: bool
    bins: NDArray[np.int64]
    low: float
    high: float

    @property
    def count(self) -> int:
        """Number of pixels."""
        return int(self.counts.sum())

    @property
    def counts(self) -> NDArray[np.int64]:
        """Pixels in each bin, int64, shape (n,)."""
        counts: NDArray[np.int64] = self.bins[1]
        return counts

    @property
    def mean(self) -> float:
        """The mean; NaN where there is no pixel."""
        if not self.count:
            return math.nan
        first, unit = self._starts()
        terms = first * self.counts
        if not self.is_whole:
            terms += unit * self.bins[2]
        return math.fsum(terms.tolist()) / self.count

    @property
    def std(self) -> float:
        """The standard deviation of the population (ddof = 0); NaN where there is no pixel."""
        if not self.count:
            return math.nan
        if self.low == self.high:
            return 0.0  # which rounding would make a tiny number, to divide by
        first, unit = self._starts()
        first -= self.mean
        squares = first * first * self.counts
        if not self.is_whole:
            squares += 2 * first * unit * self.bins[2] + unit * unit * self.bins[3]
        return math.sqrt(max(0.0, math.fsum(squares.tolist())) / self.count)

    @property
    def values(self) -> NDArray[np.float64]:
        """The value of each bin, ascending: the mean of its pixels; float64, shape (n,)."""
        first, unit = self._starts()
        if self.is_whole:
            return first
        found: NDArray[np.float64] = first + unit * (self.bins[2] / self.bins[1])
        # Rounding must not lead out of what there is.
        return np.clip(found, self.low, self.high)

    def percentiles(self, percents: Sequence[float]) -> NDArray[np.float64]:
        """Return percentiles, as `numpy.percentile(..., method="linear")` does; NaN of no pixel.

        Exact where `is_whole`. Else a pixel stands for the mean of its bin, but the first and the
        last for themselves: less than 2**-12 of the value away.

        Parameters
        ----------
        percents
            0 to 100.
        """
        if self.count < 2:
            return np.full(len(percents), self.low if self.count else math.nan)
        counts = self.counts.copy()
        counts[0] -= 1
        counts[-1] -= 1
        return percentiles(
            np.concatenate([[self.low], self.values, [self.high]]),
            np.concatenate([[1], counts, [1]]),
            percents,
        )

    def _starts(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the first value of each bin, and how much one more of its pattern is."""
        if self.is_whole:
            return self.bins[0].astype(np.float64), np.zeros(self.bins.shape[1])
        patterns = (self.bins[0] << _REST_BITS).astype(np.uint32)
        first = _numbers(patterns)
        return first, _numbers(patterns + np.uint32(1)) - first


def sketch(pixels: NDArray[np.float32], is_whole: bool = False) -> Sketch:
    """Return the sketch of pixels.

    Parameters
    ----------
    pixels
        float32, any shape.
    is_whole
        Whether all of them are known to be whole numbers from -65535 to 65535.

    Examples
    --------
    >>> found = sketch(np.array([1, 2, 3, 4, np.nan], np.float32))
    >>> found.count, found.mean, found.percentiles([0, 100]).tolist()
    (4, 2.5, [1.0, 4.0])
    """
    # Zero has two signs, and only one of them is a place in the order.
    values = np.ravel(pixels) + np.float32(0)
    finite = np.isfinite(values)
    if not finite.all():
        values = values[finite]
    if not values.size:
        none = np.zeros((2 if is_whole else 4, 0), np.int64)
        return Sketch(is_whole, none, math.inf, -math.inf)
    low, high = float(values.min()), float(values.max())
    if is_whole:
        return Sketch(True, _binned(values.astype(np.int64)), low, high)
    patterns = _patterns(values)
    rest = (patterns & _REST).astype(np.float64)
    keys = (patterns >> np.uint32(_REST_BITS)).astype(np.int64)
    return Sketch(False, _binned(keys, rest, rest * rest), low, high)


def merge(parts: Sequence[Sketch]) -> Sketch:
    """Return the sketch of all pixels of several, in whatever order they come.

    Raises
    ------
    ValueError
        For no sketches, or sketches of two kinds.
    """
    if len({part.is_whole for part in parts}) != 1:
        raise ValueError(f"{len(parts)} sketches of one kind were expected; give them all alike")
    every = np.concatenate([part.bins for part in parts], axis=1)
    keys, of = np.unique(every[0], return_inverse=True)
    bins = np.zeros((len(every), len(keys)), np.int64)
    bins[0] = keys
    for own, added in zip(bins[1:], every[1:], strict=True):
        np.add.at(own, of.reshape(-1), added)
    low, high = min(part.low for part in parts), max(part.high for part in parts)
    return Sketch(parts[0].is_whole, bins, low, high)


def _binned(keys: NDArray[np.int64], *weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the different keys, how often each is there, and the sums of its weights, as rows.

    Weights are whole numbers below 2**22, whose sums float64 holds exactly for 2**31 pixels.
    """
    first = int(keys.min())
    places = keys - first
    counts = np.bincount(places)
    held = np.flatnonzero(counts)
    sums = [np.bincount(places, own)[held].astype(np.int64) for own in weights]
    return np.stack([held + first, counts[held], *sums]).astype(np.int64, copy=False)


def pattern_bins(values: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return the bin of each value, int32, shape (n,); NaN and infinity are left out."""
    values = values[np.isfinite(values)] + np.float32(0)
    return (_patterns(values) >> np.uint32(_REST_BITS)).view(np.int32)


def bin_values(bins: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the lowest value of each bin of `pattern_bins`."""
    return _numbers((bins << _REST_BITS).astype(np.uint32))


def _patterns(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Return the patterns of numbers, put into their order."""
    bits = values.view(np.uint32)
    # The sign, shifted down with itself, is every bit of what is negative and none of the rest.
    every = (values.view(np.int32) >> 31).view(np.uint32)
    return bits ^ (every | _SIGN)


def _numbers(patterns: NDArray[Any]) -> NDArray[np.float64]:
    """Return the numbers of patterns that were put into their order."""
    bits = np.where(patterns & _SIGN, patterns ^ _SIGN, patterns ^ _EVERY).astype(np.uint32)
    return bits.view(np.float32).astype(np.float64)
