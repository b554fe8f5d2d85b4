"""Histograms of what is stored: exact for integers of 8 and 16 bit, else in narrow fixed bins.

The bins of all other types are those of `patchmill.tasks.sketch`: the first bits of a float32,
which are at most 2**-12 (0.025 %) of the value wide. Counts are integers, so that histograms merge
to the same in any order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numcodecs.blosc
import numpy as np
from numpy.typing import NDArray

from .sketch import bin_values, pattern_bins
from .statistics import is_exact

_HEADER = struct.Struct("<BIQ")  # split, channel, bins
#: The split and the channel.
Place = tuple[int, int]


class Counts:
    """How often each bin is there; grows with what is added."""

    def __init__(self) -> None:
        self._first = 0
        self._counts = np.zeros(0, np.int64)

    def add(self, bins: NDArray[np.integer[Any]], counts: NDArray[np.int64] | None = None) -> None:
        """Add bins, each once or as often as `counts` says.

        Parameters
        ----------
        bins
            Integers, shape (n,); with `counts` each is there once.
        """
        if not bins.size:
            return
        low, high = int(bins.min()), int(bins.max())
        self._grow(low, high + 1)
        if counts is not None:
            self._counts[bins.astype(np.int64) - self._first] += counts
            return
        # Few pixels below the lowest value: counted from 0, they need not be moved first.
        base = 0 if 0 <= low <= 1 << 16 else low
        found = np.bincount(bins.astype(np.int64) - base if base else bins)[low - base :]
        self._counts[low - self._first : high + 1 - self._first] += found

    def _grow(self, first: int, stop: int) -> None:
        if not self._counts.size:
            self._first, self._counts = first, np.zeros(stop - first, np.int64)
            return
        before = max(0, self._first - first)
        after = max(0, stop - self._first - len(self._counts))
        if before or after:
            self._counts = np.pad(self._counts, (before, after))
            self._first -= before

    def sparse(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the bins that are there, ascending, and their counts."""
        held = np.flatnonzero(self._counts)
        return held + self._first, self._counts[held]


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

    def add(self, split: int, pixels: NDArray[Any]) -> None:
        """Add the pixels of a patch, shape (c, ...); NaN and infinity count as no pixel."""
        for channel, values in enumerate(pixels):
            own = np.ascontiguousarray(values).reshape(-1)
            bins = own if is_exact(self._dtype) else pattern_bins(own.astype(np.float32))
            self._of(split, channel).add(bins)

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
            parts += [steps.astype("<i4").tobytes(), counts.astype("<u4").tobytes()]
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
            counts = np.frombuffer(content, "<u4", n, at + 4 * n)
            at += 8 * n
            self._of(split, channel).add(np.cumsum(steps, dtype=np.int64), counts.astype(np.int64))

    def _of(self, split: int, channel: int) -> Counts:
        return self._places.setdefault((split, channel), Counts())
