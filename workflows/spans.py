"""Which pixels of an image windows read, border included."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..tasks.grid import source_span
from ..tasks.resolution import Resolution

Span = tuple[NDArray[np.int64], NDArray[np.int64]]


def level_span(
    corners: NDArray[np.int64],
    axis: int,
    resolution: Resolution,
    stored_size: tuple[int, int, int],
    margin_px: int,
    reflect: bool,
) -> Span:
    """Return the first and one past the last pixel of the level that windows read along an axis.

    Parameters
    ----------
    corners
        int64, shape (n,): of the windows, in level-0 pixels.
    axis
        0 is z, 1 is y, 2 is x.
    resolution
        At which the image is cut.
    stored_size
        (z, y, x) of a patch in its own pixels, border included.
    margin_px
        Width of the border in y and x.
    reflect
        Whether what lies beyond the edges is mirrored.
    """
    zoom, length = resolution.zoom[axis], resolution.shape[axis]
    starts = resolution.positions(axis, corners) - (margin_px if axis else 0)
    size = stored_size[axis]
    if zoom == 1:
        return source_span(starts, size, length, reflect)
    first, last = source_span(starts, size, resolution.size[axis], reflect)
    # Corners are rounded down to level-0 pixels: a window may begin a pixel earlier.
    low = np.maximum(np.floor(first * zoom).astype(np.int64) - 1, 0)
    return low, np.minimum(np.ceil(last * zoom).astype(np.int64) + 1, length)


def full_span(span: Span, axis: int, resolution: Resolution) -> Span:
    """Return a span of a level in pixels of level 0."""
    factor = resolution.scale[axis] / resolution.zoom[axis]
    if factor == 1:
        return span
    first, last = span
    return np.floor(first * factor).astype(np.int64), np.ceil(last * factor).astype(np.int64)
