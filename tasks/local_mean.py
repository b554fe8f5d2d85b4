"""The weighted mean of each pixel's square neighbourhood, the same to the last bit in any window.

It adds single float32 numbers in an order that the kernel alone decides. A filter that sums a row
with vector instructions gives the row's end another last bit than its middle, and one patch's end
is another one's middle.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .missing import missing_of

Planes = NDArray[np.float32]


def local_mean(planes: Planes, weights: NDArray[np.float32]) -> Planes:
    """Return the mean of the pixels around each, weighted by their distance along y and x.

    Parameters
    ----------
    planes
        float32, shape (n, y, x); each plane is for itself.
    weights
        float32, shape (k + 1,): of a pixel's own row and column, and of those beside it; with
        those of both sides, their sum is 1.

    Returns
    -------
    means
        float32, shape (n, y - 2 k, x - 2 k): of the pixels whose neighbourhood is there. Pixels
        that are no finite number do not count; around such, the mean is of the others and divided
        by their weights. It is 0 where there are no others.
    """
    missing = missing_of(planes)
    if missing is None:
        return _weighted(planes, weights)
    sums = _weighted(np.where(missing, np.float32(0), planes), weights)
    shares = _weighted((~missing).astype(np.float32), weights)
    # Elsewhere a share is 1 but for its last bit, which no window may add that another does not.
    near = _weighted(missing.astype(np.float32), weights) > 0
    return np.divide(sums, shares, out=sums, where=near & (shares > 0))


def _weighted(planes: Planes, weights: NDArray[np.float32]) -> Planes:
    reach = len(weights) - 1
    for axis in (1, 2):
        planes = np.moveaxis(planes, axis, 1)
        length = planes.shape[1] - 2 * reach
        total = planes[:, reach : reach + length] * weights[0]
        pair = np.empty_like(total)
        for k in range(1, reach + 1):
            before, after = reach - k, reach + k
            np.add(planes[:, before : before + length], planes[:, after : after + length], out=pair)
            pair *= weights[k]
            total += pair
        planes = np.moveaxis(total, 1, axis)
    return planes
