"""At which resolution an image is cut: which level of its pyramid, and how far that is rescaled.

Pure arithmetic. Positions are counted in pixels of a patch along one axis; corners are whole pixels
of level 0, rounded down, so that what a store says is exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: What lies this close to what was asked for is taken as it is.
TOLERANCE = 0.01

_Zyx = tuple[int, int, int]
_Factors = tuple[float, float, float]


@dataclass(frozen=True)
class Resolution:
    """How pixels of a patch lie on an image; every tuple is (z, y, x).

    Attributes
    ----------
    level
        Of the pyramid, 0 is the finest.
    shape
        Of the image at that level, in pixels.
    zoom
        Pixels of that level in one pixel of a patch; 1.0 where the level is taken as it is.
    scale
        Pixels of level 0 in one pixel of a patch.
    """

    level: int
    shape: _Zyx
    zoom: _Factors
    scale: _Factors

    @property
    def size(self) -> _Zyx:
        """The image in pixels of a patch; what does not fill one is left out."""
        z, y, x = (
            max(1, int(length / zoom + 1e-6))
            for length, zoom in zip(self.shape, self.zoom, strict=True)
        )
        return z, y, x

    def corners(self, axis: int, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the level-0 pixels of positions along an axis (0 is z), rounded down."""
        scale = self.scale[axis]
        if scale == 1:
            return positions
        found: NDArray[np.int64] = np.floor(positions * scale + 1e-6).astype(np.int64)
        return found

    def positions(self, axis: int, corners: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions along an axis that have these corners: `corners` backwards.

        Scales are 1 or more, so a position is found again from its rounded corner.
        """
        scale = self.scale[axis]
        if scale == 1:
            return corners
        found: NDArray[np.int64] = np.ceil(corners / scale - 1e-6).astype(np.int64)
        return found

    def origins(self, axis: int, corners: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return where corners lie in pixels of the level along an axis."""
        if self.zoom[axis] == 1:
            return self.positions(axis, corners).astype(np.float64)
        return corners.astype(np.float64) * (self.zoom[axis] / self.scale[axis])


def downsampling(full: int, length: int) -> float:
    """Return by how much a level is coarser than level 0 along an axis.

    Programs round the length of a level up or down; where a whole factor explains it, that it is.

    Examples
    --------
    >>> downsampling(1001, 501), downsampling(1000, 300)
    (2.0, 3.3333333333333335)
    """
    whole = max(1, round(full / length))
    if length in (full // whole, -(-full // whole)):
        return float(whole)
    return full / length


def as_level(shapes: Sequence[_Zyx], level: int) -> Resolution:
    """Return the resolution of a level, taken as it is; `shapes` are those of all levels."""
    z, y, x = (
        downsampling(full, length) for full, length in zip(shapes[0], shapes[level], strict=True)
    )
    return Resolution(level, shapes[level], (1.0, 1.0, 1.0), (z, y, x))


def rescaled(shapes: Sequence[_Zyx], factors: _Factors) -> Resolution | None:
    """Return the resolution whose pixels are `factors` times as large as those of level 0.

    The coarsest level that is still fine enough along every axis is rescaled by what is left. None
    where level 0 itself is too coarse.
    """
    best = None
    for level in range(len(shapes)):
        own = as_level(shapes, level)
        zoom = [wanted / scale for wanted, scale in zip(factors, own.scale, strict=True)]
        zoom = [1.0 if abs(z - 1) <= TOLERANCE else z for z in zoom]
        if min(zoom) >= 1:
            scale = tuple(z * s for z, s in zip(zoom, own.scale, strict=True))
            best = Resolution(level, own.shape, _three(zoom), _three(scale))
    return best


def _three(values: Sequence[float]) -> _Factors:
    z, y, x = values
    return z, y, x


def is_known(voxel_um: Sequence[float]) -> bool:
    """Whether every length of a voxel is a number above 0."""
    return all(math.isfinite(length) and length > 0 for length in voxel_um)
