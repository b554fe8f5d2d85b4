"""Every position of an image's grid: kept, or rejected with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..tasks.grid import axis_starts
from ..tasks.resolution import Resolution
from .patches_section import PatchesRecipe

#: Why a candidate was rejected; the number is what `candidates/reason` holds.
REASONS = ("", "edge", "split border")
KEPT, EDGE, SPLIT_BORDER = range(3)


@dataclass(frozen=True)
class Grid:
    """The candidates of one time of an image, in reading order.

    Attributes
    ----------
    z, y, x
        int64, shape (n,): first corners in level-0 pixels.
    reason
        uint8, shape (n,): index in `REASONS`; 0 is kept.
    """

    z: NDArray[np.int64]
    y: NDArray[np.int64]
    x: NDArray[np.int64]
    reason: NDArray[np.uint8]

    def kept(self) -> NDArray[np.intp]:
        """Return the positions that become patches."""
        return np.flatnonzero(self.reason == KEPT)


def image_grid(resolution: Resolution, patches: PatchesRecipe) -> Grid:
    """Return the candidates of one time of an image that is cut at that resolution.

    Many images are of one shape, so the last few grids are kept; do not write into them.
    """
    return _grid(
        resolution,
        patches.size_zyx,
        patches.stride_zyx,
        patches.edge,
        bool(patches.project_z),
    )


@lru_cache(maxsize=8)
def _grid(
    resolution: Resolution,
    size: tuple[int, int, int],
    stride: tuple[int, int, int],
    edge: str,
    project_z: bool,
) -> Grid:
    starts, kept = [], []
    for axis in range(3):
        length = 1 if axis == 0 and project_z else resolution.size[axis]
        positions, inside = axis_starts(length, size[axis], stride[axis], edge)
        starts.append(resolution.corners(axis, positions))
        kept.append(inside)
    z, y, x = (values.reshape(-1) for values in np.meshgrid(*starts, indexing="ij"))
    inside = kept[0][:, None, None] & kept[1][:, None] & kept[2]
    return Grid(z, y, x, np.where(inside.reshape(-1), KEPT, EDGE).astype(np.uint8))
