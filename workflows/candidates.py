"""Every position of an image's grid: kept, or rejected with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..tasks.grid import axis_starts
from .sections import PatchesRecipe

#: Why a candidate was rejected; the number is what `candidates/reason` holds.
REASONS = ("", "edge", "split border")
KEPT, EDGE, SPLIT_BORDER = range(3)


@dataclass(frozen=True)
class Grid:
    """The candidates of one plane, in reading order.

    Attributes
    ----------
    y, x
        int64, shape (n,): top-left corners in pixels.
    reason
        uint8, shape (n,): index in `REASONS`; 0 is kept.
    """

    y: NDArray[np.int64]
    x: NDArray[np.int64]
    reason: NDArray[np.uint8]

    def kept(self) -> NDArray[np.intp]:
        """Return the positions that become patches."""
        return np.flatnonzero(self.reason == KEPT)


def plane_grid(shape: tuple[int, int], patches: PatchesRecipe) -> Grid:
    """Return the candidates of a plane of that (height, width).

    Many images are of one shape, so the last few grids are kept; do not write into them.
    """
    return _plane_grid(shape, patches.size, patches.stride, patches.edge)


@lru_cache(maxsize=8)
def _plane_grid(
    shape: tuple[int, int], size: tuple[int, int], stride: tuple[int, int], edge: str
) -> Grid:
    (ys, y_kept), (xs, x_kept) = (
        axis_starts(shape[axis], size[axis], stride[axis], edge) for axis in (0, 1)
    )
    inside = y_kept[:, None] & x_kept[None, :]
    return Grid(
        y=np.repeat(ys, len(xs)),
        x=np.tile(xs, len(ys)),
        reason=np.where(inside.reshape(-1), KEPT, EDGE).astype(np.uint8),
    )
