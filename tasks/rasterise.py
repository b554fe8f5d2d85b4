"""Which pixels lie in a polygon: their centres decide.

A centre is inside where a ray from it crosses the edges an odd number of times, so that holes are
rings like any other. Of a polygon's outline the left and upper parts belong to it (half-open, as
pixels are), so that polygons that share an edge neither overlap nor leave a gap.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Crossings that are held at once.
_MAX_CROSSINGS = 1 << 18


def polygon_edges(
    points: NDArray[np.float64], ends: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the edges of rings; each ring is closed, whether its last point repeats the first.

    Parameters
    ----------
    points
        float64, shape (n, 2): x and y, ring after ring.
    ends
        int64, shape (rings,): one past the last point of each ring.

    Returns
    -------
    edges
        float64, shape (m, 4): x and y of the upper end, x and y of the lower end. Level edges,
        which no ray along x crosses, are left out.
    counts
        int64, shape (rings,): how many are of each ring.
    """
    following = np.arange(1, len(points) + 1)
    starts = np.concatenate([np.zeros(1, np.int64), ends])[:-1]
    has = ends > starts
    following[ends[has] - 1] = starts[has]
    ring = np.repeat(np.arange(len(ends)), ends - starts)
    edges = np.concatenate([points, points[following]], axis=1)
    # Ends in one order: what two polygons share is then crossed at the same place to the last bit.
    turned = edges[:, 1] > edges[:, 3]
    edges[turned] = edges[turned][:, [2, 3, 0, 1]]
    slopes = edges[:, 1] < edges[:, 3]
    return edges[slopes], np.bincount(ring[slopes], minlength=len(ends)).astype(np.int64)


def rasterise(
    edges: NDArray[np.float64], ys: NDArray[np.float64], xs: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return which points of a grid lie inside, bool, shape (len(ys), len(xs)).

    Parameters
    ----------
    edges
        As `polygon_edges` returns them, of all rings of a polygon.
    ys, xs
        float64, ascending: where the rows and columns of the grid lie.

    Examples
    --------
    >>> points = np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0]])
    >>> edges, _ = polygon_edges(points, np.array([4]))
    >>> rasterise(edges, np.array([0.5, 1.5, 2.5]), np.array([0.0, 1.0, 2.0])).astype(int)
    array([[1, 1, 0],
           [1, 1, 0],
           [0, 0, 0]])
    """
    height, width = len(ys), len(xs)
    if not height or not width:
        return np.zeros((height, width), bool)
    # An edge to the right of all points is crossed by no ray that comes from the left.
    near = (edges[:, 3] > ys[0]) & (edges[:, 1] <= ys[-1])
    near &= np.minimum(edges[:, 0], edges[:, 2]) <= xs[-1]
    edges = edges[near]
    first = np.searchsorted(ys, edges[:, 1])
    counts = np.searchsorted(ys, edges[:, 3]) - first
    crossed = np.zeros(height * (width + 1), np.int64)
    groups = np.cumsum(counts) // _MAX_CROSSINGS
    for start, stop in _runs(groups):
        n = counts[start:stop]
        edge = np.repeat(np.arange(start, stop), n)
        row = np.arange(len(edge)) - np.repeat(np.cumsum(n) - n, n) + first[edge]
        x0, y0, x1, y1 = edges[edge].T
        x = x0 + (ys[row] - y0) * (x1 - x0) / (y1 - y0)
        column = np.searchsorted(xs, x)
        crossed += np.bincount(row * (width + 1) + column, minlength=len(crossed))
    odd = np.cumsum(crossed.reshape(height, width + 1)[:, :width], axis=1) & 1
    return odd.astype(bool)


def _runs(groups: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return the first and one past the last of each run of equal numbers."""
    if not groups.size:
        return []
    changes = (np.flatnonzero(np.diff(groups)) + 1).tolist()
    return list(zip([0, *changes], [*changes, len(groups)], strict=True))
