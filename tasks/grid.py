"""Where patches lie along one axis, and what they hold beyond the image's edges.

Pure integer arithmetic: no pixels, no files.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def axis_starts(
    length: int, size: int, stride: int, edge: str
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the grid positions along one axis, and which of them are kept.

    The grid runs from 0 in steps of `stride` until a patch reaches the end of the image; the
    last patch may stick out.

    Parameters
    ----------
    length, size, stride
        Of the image, the patch and the grid along this axis, in pixels.
    edge
        What becomes of a patch that sticks out: "drop" rejects it, "pad" keeps it, "shift" moves
        it back inside (and rejects it where the image is smaller than the patch).

    Returns
    -------
    starts
        int64, shape (n,): the first pixel of each position.
    kept
        bool, shape (n,).

    Examples
    --------
    >>> axis_starts(10, 4, 4, "drop")
    (array([0, 4, 8]), array([ True,  True, False]))
    >>> axis_starts(10, 4, 4, "shift")
    (array([0, 4, 6]), array([ True,  True,  True]))
    """
    # The next position is of use while the last one ends before the image does; with gaps
    # between patches it must also begin inside the image.
    until_covered = -(-(length - size) // stride)
    until_outside = -(-length // stride) - 1
    steps = max(0, min(until_covered, until_outside))
    starts = np.arange(steps + 1, dtype=np.int64) * stride
    inside = starts + size <= length
    if edge == "pad":
        return starts, np.ones(len(starts), bool)
    if edge == "shift" and size <= length:
        starts[~inside] = length - size
        inside[:] = True
    return starts, inside


def reflect_index(start: int, size: int, length: int) -> NDArray[np.int64]:
    """Return the source pixel of each pixel of a window, mirrored about the first and last pixel.

    The edge pixel itself is not repeated, as in NumPy's `pad(mode="reflect")`.

    Examples
    --------
    >>> reflect_index(3, 4, 5)
    array([3, 4, 3, 2])
    """
    at = np.arange(start, start + size, dtype=np.int64)
    if length == 1:
        return np.zeros_like(at)
    period = 2 * (length - 1)
    at %= period
    return np.minimum(at, period - at)


def source_span(
    starts: NDArray[np.int64], size: int, length: int, reflect: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first and one past the last source pixel that windows along one axis need.

    Parameters
    ----------
    starts
        int64, shape (n,): first pixel of each window, negative for one that begins before the
        image; each window must have at least one pixel of it.
    size, length
        Of the window and the image, in pixels.
    reflect
        Whether what lies beyond the edges is mirrored, which reads pixels beside the window.
    """
    first, last = np.maximum(starts, 0), np.minimum(starts + size, length)
    if reflect:
        before = np.maximum(-starts, 0)
        beyond = np.maximum(starts + size - length, 0)
        # A mirror image reaches as far into the image as it reaches out of it, at most through it.
        first = np.minimum(first, np.maximum(length - 1 - beyond, 0))
        last = np.maximum(last, np.where(before > 0, np.minimum(before + 1, length), 0))
    return first, last
