"""Blocks of a window's pixels, and pixels of blocks.

Blocks are counted from the image's first pixel, not the window's: so every window that holds a
block finds the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from .missing import missing_of

Planes = NDArray[np.float32]


def first_block(start: int, side: int) -> int:
    """Return the first block that lies wholly behind a pixel.

    Examples
    --------
    >>> first_block(0, 4), first_block(1, 4), first_block(-5, 4)
    (0, 1, -1)
    """
    return -(-start // side)


def shrink(planes: Planes, y: int, x: int, side: int, how: str) -> Planes:
    """Return the mean or the minimum of each block of side x side pixels.

    Parameters
    ----------
    planes
        float32, shape (n, y, x).
    y, x
        Of the first pixel, in pixels of the image; may be negative.
    side
        Of a block, in pixels.
    how
        "mean" or "min".

    Returns
    -------
    blocks
        float32, shape (n, rows, columns): those that lie wholly in the planes, from
        `first_block` on. Pixels that are no finite number do not count; a block that has no other
        is infinite.
    """
    top, left = first_block(y, side) * side - y, first_block(x, side) * side - x
    rows, columns = (planes.shape[1] - top) // side, (planes.shape[2] - left) // side
    whole = planes[:, top : top + rows * side, left : left + columns * side]
    missing = missing_of(whole)
    if how == "min":
        filled = whole if missing is None else np.where(missing, np.float32(np.inf), whole)
        return _reduce(filled, side, np.minimum)
    if missing is None:
        return _reduce(whole, side, np.add) / np.float32(side * side)
    sums = _reduce(np.where(missing, np.float32(0), whole), side, np.add)
    counts = _reduce((~missing).astype(np.float32), side, np.add)
    return np.divide(sums, counts, out=np.full_like(sums, np.inf), where=counts > 0)


def enlarge(
    blocks: Planes, first: tuple[int, int], corner: tuple[int, int], side: int, shape: Sequence[int]
) -> Planes:
    """Return pixels between the centres of blocks, bilinearly.

    Parameters
    ----------
    blocks
        float32, shape (n, rows, columns).
    first
        Which row and column of blocks, counted from the image's first pixel, comes first.
    corner, shape
        (y, x) of the first pixel in the image, and (height, width), of what is asked for.
    side
        Of a block, in pixels.

    Returns
    -------
    planes
        float32, shape (n, height, width). Beyond the outer centres, the outer blocks are repeated.
    """
    lower, upper, weight = _between(corner[0], shape[0], side, first[0], blocks.shape[1])
    rows = blocks.take(upper, 1)
    rows *= weight[:, None]
    low = blocks.take(lower, 1)
    low *= (1 - weight)[:, None]
    rows += low
    lower, upper, weight = _between(corner[1], shape[1], side, first[1], blocks.shape[2])
    planes = rows.take(upper, 2)
    planes *= weight
    low = rows.take(lower, 2)
    low *= 1 - weight
    planes += low
    return planes


def _reduce(whole: Planes, side: int, function: Callable[..., Planes]) -> Planes:
    # One pixel of all blocks after another: the order of a block's sum is the same everywhere.
    for axis in (1, 2):
        parts = [whole[:, k::side] if axis == 1 else whole[:, :, k::side] for k in range(side)]
        total = parts[0].copy()
        for part in parts[1:]:
            function(total, part, out=total)
        whole = total
    return whole


def _between(
    start: int, size: int, side: int, first: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return for each pixel the blocks before and behind its centre, and the latter's weight."""
    lower, rest = np.divmod(2 * np.arange(start, start + size) + 1 - side, 2 * side)
    lower -= first
    weight = (rest / (2 * side)).astype(np.float32)
    return lower.clip(0, count - 1), (lower + 1).clip(0, count - 1), weight
