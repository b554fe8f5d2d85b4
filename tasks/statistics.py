"""Mergeable statistics of a patch's channels: count, sum, spread, minimum and maximum.

Integers of 8 and 16 bit are summed exactly, so that any order of merging gives the same result:
their spread is the sum of squares. All other types are summed in float64 in a fixed order: their
spread is the sum of squared deviations from the patch's mean, which does not cancel when patches
are merged (Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance").
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .scratch import scratch

#: 2**16 pixels of at most (2**16)**2 each sum to less than 2**53; and they fit a core's cache.
BLOCK_PIXELS = 1 << 16


def moments_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the record that `channel_moments` fills for pixels of this type."""
    exact = is_exact(dtype)
    return np.dtype(
        [
            ("count", "<i8"),
            ("sum", "<i8" if exact else "<f8"),
            ("spread", "<i8" if exact else "<f8"),
            ("min", dtype.newbyteorder("<")),
            ("max", dtype.newbyteorder("<")),
        ]
    )


def is_exact(dtype: np.dtype[Any]) -> bool:
    """Whether sums of these pixels are kept as integers."""
    return dtype.kind in "ui" and dtype.itemsize <= 2


def channel_moments(pixels: NDArray[Any], out: NDArray[Any]) -> None:
    """Fill in the moments of each channel.

    Parameters
    ----------
    pixels
        Shape (c, y, x). NaN counts as no pixel.
    out
        Records of `moments_dtype`, shape (c,), overwritten.
    """
    for channel, record in zip(pixels, out, strict=True):
        values = np.ascontiguousarray(channel).reshape(-1)
        if values.dtype.kind == "f":
            finite = ~np.isnan(values)
            if not finite.all():
                values = values[finite]
        record["count"] = values.size
        sums = _exact_sums if is_exact(values.dtype) else _float_sums
        record["sum"], record["spread"] = sums(values)
        record["min"] = values.min() if values.size else 0
        record["max"] = values.max() if values.size else 0


def _blocks(values: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
    for start in range(0, values.size, BLOCK_PIXELS):
        part = values[start : start + BLOCK_PIXELS]
        block = scratch("moments", part.shape, np.float64)
        block[...] = part
        yield block


def _exact_sums(values: NDArray[Any]) -> tuple[int, int]:
    """Return the sum and the sum of squares; float64 is exact below 2**53, as all blocks are."""
    total, squares = 0, 0
    for block in _blocks(values):
        total += int(block.sum())
        # In any order the same, so BLAS serves, which is faster.
        squares += int(np.dot(block, block))
    return total, squares


def _float_sums(values: NDArray[Any]) -> tuple[float, float]:
    """Return the sum and the sum of squared deviations from the mean."""
    with np.errstate(all="ignore"):  # an infinite pixel makes its patch's sums infinite or NaN
        total = sum((float(block.sum()) for block in _blocks(values)), 0.0)
        mean = total / values.size if values.size else 0.0
        spread = 0.0
        for block in _blocks(values):
            block -= mean
            # Not by BLAS: its order of summation depends on how many threads it has.
            spread += float(np.square(block, out=block).sum())
        return total, spread
