"""Histograms of what is stored: exact for integers of 8 and 16 bit, else in narrow fixed bins.

The bins of all other types are those of `patchmill.tasks.sketch`: the first bits of a float32,
which are at most 2**-12 (0.025 %) of the value wide. Counts are integers, so that histograms merge
to the same in any order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import cv2
import numcodecs.blosc
import numpy as np
from numpy.typing import NDArray

from .sketch import bin_values, pattern_bins
from .statistics import is_exact

_HEADER = struct.Struct("<BIQ")  # split, channel, bins
#: Pixels that are counted at once: fewer than the whole numbers that a float32 has, and few enough
#: for a core's cache.
BLOCK_PIXELS = 1 << 16
#: Values that lie closer together are counted by OpenCV.
NARROW = 1 << 14
#: The split and the channel.
Place = tuple[int, int]
#: Bins, and their counts.
Sparse = tuple[NDArray[np.int64], NDArray[np.int64]]


class Counts:
    """How often each bin is there; grows with what is added."""

    def __init__(self) -> None:
        self._first = 0
        self._counts = np.zeros(0, np.int64)
        self._settled: Sparse | None = None

    def settle(self) -> None:
        """Let go of the bins that are not there, which may be most, until more are added."""
        if self._settled is None:
            self._settled = self.sparse()
            self._counts = np.zeros(0, np.int64)

    def add(self, bins: NDArray[np.integer[Any]], counts: NDArray[np.int64] | None = None) -> None:
        """Add bins, each once or as often as `counts` says.

        Parameters
        ----------
        bins
            Integers, shape (n,), at most `BLOCK_PIXELS`; with `counts` any number, each once.
        """
        if self._settled is not None:
            before, self._settled = self._settled, None
            self.add(*before)
        if not bins.size:
            return
        low, high = int(bins.min()), int(bins.max())
        self._grow(low, high + 1)
        if counts is not None:
            self._counts[bins.astype(np.int64) - self._first] += counts
            return
        held = self._counts[low - self._first : high + 1 - self._first]
        if high - low >= NARROW:
            np.add.at(held, np.subtract(bins, low, dtype=np.int64), 1)
        else:
            held += _occurrences(bins, low, high)

    def _grow(self, first: int, stop: int) -> None:
        if not self._counts.size:
            self._first, self._counts = first, np.zeros(stop - first, np.int64)
            return
        before = max(0, self._first - first)
        after = max(0, stop - self._first - len(self._counts))
        if before or after:
            self._counts = np.pad(self._counts, (before, after))
            self._first -= before

    def sparse(self) -> Sparse:
        """Return the bins that are there, ascending, and their counts."""
        if self._settled is not None:
            return self._settled
        held = np.flatnonzero(self._counts)
        return held + self._first, self._counts[held]


def _occurrences(bins: NDArray[np.integer[Any]], low: int, high: int) -> NDArray[np.int64]:
    """Return how often each number from `low` to `high` is there."""
    # OpenCV counts unsigned numbers of 8 and 16 bit four times as fast as NumPy, in float32.
    if bins.dtype not in (np.uint8, np.uint16):
        bins = np.subtract(bins, low, dtype=np.int64).astype(np.uint16)
        low, high = 0, high - low
    range_ = [low, high + 1]
    found = cv2.calcHist([bins.reshape(1, -1)], [0], None, [high - low + 1], range_)
    return np.ravel(found).astype(np.int64)


class Histograms:
    """The histograms of each split and channel.

    Parameters
    ----------
    dtype
        Of the pixels.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._places: dict[Place, Counts] = {}
        self._split = -1

    def add(self, split: int, pixels: NDArray[Any]) -> None:
        """Add the pixels of a patch, shape (c, ...); NaN and infinity count as no pixel."""
        for channel, values in enumerate(pixels):
            own = np.ascontiguousarray(values).reshape(-1)
            counts = self._of(split, channel)
            for start in range(0, own.size, BLOCK_PIXELS):
                counts.add(self._bins(own[start : start + BLOCK_PIXELS]))

    def _bins(self, values: NDArray[Any]) -> NDArray[np.integer[Any]]:
        if is_exact(self._dtype):
            return values
        with np.errstate(over="ignore"):  # infinity, which is no pixel
            return pattern_bins(values.astype(np.float32))

    def items(self) -> Iterator[tuple[Place, NDArray[np.int64], NDArray[np.int64]]]:
        """Yield each split and channel with its bins and their counts."""
        for place, counts in sorted(self._places.items()):
            yield place, *counts.sparse()

    def values(self, bins: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the value of bins: of integers their own, else the lowest of the bin."""
        return bins.astype(np.float64) if is_exact(self._dtype) else bin_values(bins)

    def packed(self) -> bytes:
        """Return all of it in few bytes."""
        parts = []
        for (split, channel), bins, counts in self.items():
            steps = np.diff(bins, prepend=0)
            parts.append(_HEADER.pack(split, channel, len(bins)))
            parts += [steps.astype("<i4").tobytes(), counts.astype("<i8").tobytes()]
        data: bytes = numcodecs.blosc.compress(b"".join(parts) or b"\0", b"zstd", 3, 0, 0)
        return data

    def add_packed(self, data: bytes) -> None:
        """Add what another one has packed."""
        content = numcodecs.blosc.decompress(data)
        at = 0
        while at + _HEADER.size <= len(content):
            split, channel, n = _HEADER.unpack_from(content, at)
            at += _HEADER.size
            steps = np.frombuffer(content, "<i4", n, at)
            counts = np.frombuffer(content, "<i8", n, at + 4 * n)
            at += 12 * n
            self._of(split, channel).add(np.cumsum(steps, dtype=np.int64), counts)

    def _of(self, split: int, channel: int) -> Counts:
        if split != self._split:
            # Rows come split by split: what is counted of another one is hardly needed again.
            for (other, _), counts in self._places.items():
                if other == self._split:
                    counts.settle()
            self._split = split
        return self._places.setdefault((split, channel), Counts())
