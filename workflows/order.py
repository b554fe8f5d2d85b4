"""The order of the rows of one image, so that a shard is a compact window of it.

Consecutive rows share one task. In plain reading order a task on a wide tiled image would take a
thin band across all of it, and every tile under the band's edges would be decoded by two tasks.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def compact_order(
    z: NDArray[np.int64],
    y: NDArray[np.int64],
    x: NDArray[np.int64],
    shape: tuple[int, int],
    segment: tuple[int, int, int],
    stride: tuple[float, float],
    rows_per_shard: int,
) -> NDArray[np.intp]:
    """Return the order in which the patches of one time of an image become rows.

    Planes that are decoded together stay together. Each of them is divided into bands of whole
    segments, about as high as a shard's patches are wide; in a band, patches run by columns of
    segments, then from top to bottom, then from left to right. Where segments span the image, or a
    shard holds it all, this is reading order.

    Parameters
    ----------
    z, y, x
        First corners of the patches, in pixels of the level that is cut.
    shape
        (height, width) of the image, in pixels.
    segment
        (depth, height, width) of what must be decoded at once, in pixels.
    stride
        (y, x) of the grid, in pixels.
    rows_per_shard
        Patches in a shard.
    """
    depth = z // segment[0]
    height, width = shape
    together = max(np.unique(depth, return_counts=True)[1], default=0)
    if segment[2] >= width or together <= rows_per_shard:
        return np.lexsort((x, y, z, depth))
    side = math.sqrt(rows_per_shard * stride[0] * stride[1])
    bands = max(1, round(height / max(side, segment[1])))
    band = -(-height // bands)
    band = -(-band // segment[1]) * segment[1]
    return np.lexsort((x, y, z, x // segment[2], y // band, depth))
