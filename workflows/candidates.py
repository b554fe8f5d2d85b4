"""Every position of an image that is considered: kept, or rejected with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..tasks.grid import axis_starts
from ..tasks.resolution import Resolution
from .images import SurveyedImage
from .patches_section import PatchesRecipe

Columns = dict[str, NDArray[np.generic]]

#: Why a candidate was rejected; the number is what `candidates/reason` holds. What a recipe
#: rejects by scores comes after these.
REASONS = ("", "edge", "split border", "object area", "max_per_image")
KEPT, EDGE, SPLIT_BORDER, OBJECT_AREA, MAX_PER_IMAGE = range(5)


@dataclass(frozen=True, eq=False)
class Candidates:
    """The candidates of an image, by time; images that are alike share one object.

    Attributes
    ----------
    t, z
        int32, shape (n,): the time; and the first plane, or the one that was chosen.
    y, x
        int64, shape (n,): first corners in level-0 pixels, negative before the image.
    reason
        uint8, shape (n,): a number of `REASONS`, or one beyond them; 0 is kept.
    columns
        What else is known of each: scores, and what a table says. Floats are NaN where nobody
        looked.
    split
        int8, shape (n,): of the blocks that a candidate reads from, -1 where they are of several;
        None where images are in one split each.
    """

    t: NDArray[np.int32]
    z: NDArray[np.int32]
    y: NDArray[np.int64]
    x: NDArray[np.int64]
    reason: NDArray[np.uint8]
    columns: Columns = field(default_factory=dict)
    split: NDArray[np.int8] | None = None

    def __len__(self) -> int:
        return len(self.reason)

    def kept(self) -> NDArray[np.intp]:
        """Return those that become patches, as far as it is known."""
        return np.flatnonzero(self.reason == KEPT)

    def fits(self) -> NDArray[np.bool_]:
        """Return which lie where they should, whatever else was rejected since, shape (n,)."""
        return ~np.isin(self.reason, (EDGE, OBJECT_AREA))

    def corners(self) -> NDArray[np.int64]:
        """Return (t, z, y, x) of each, int64, shape (n, 4)."""
        return np.stack([self.t, self.z, self.y, self.x], axis=1, dtype=np.int64)


def corners_read(
    patches: PatchesRecipe, columns: Mapping[str, NDArray[np.generic]]
) -> NDArray[np.int64]:
    """Return (t, z, y, x) as workers count, int64, shape (n, 4): a plane that was chosen is 0.

    `columns` has t, z, y and x, as in `Candidates`.
    """
    corners = np.stack([columns[axis].astype(np.int64) for axis in "tzyx"], axis=1)
    if isinstance(patches.t, int):
        corners[:, 0] = 0
    if patches.one_z:
        corners[:, 1] = 0
    return corners


@dataclass(frozen=True)
class Grid:
    """The grid of one time of an image, in reading order.

    Attributes
    ----------
    z, y, x
        int64, shape (n,): in pixels of the patch.
    reason
        uint8, shape (n,): index in `REASONS`; 0 is kept.
    """

    z: NDArray[np.int64]
    y: NDArray[np.int64]
    x: NDArray[np.int64]
    reason: NDArray[np.uint8]


def grid_candidates(image: SurveyedImage, patches: PatchesRecipe) -> Candidates:
    """Return the grid of an image, time after time."""
    resolution = image.source.kind.resolution
    grid = _grid(
        resolution,
        patches.size_zyx,
        patches.stride_zyx,
        patches.edge,
        bool(patches.project_z),
    )
    often = len(image.times)
    times = np.repeat(np.arange(often), len(grid.y))
    positions = [np.tile(values, often) for values in (grid.z, grid.y, grid.x)]
    return candidates_at(image, times, positions, np.tile(grid.reason, often))


def candidates_at(
    image: SurveyedImage,
    times: NDArray[np.integer],
    positions: Sequence[NDArray[np.int64]],
    reason: NDArray[np.uint8],
    columns: Columns | None = None,
) -> Candidates:
    """Return candidates at positions in pixels of the patch.

    Parameters
    ----------
    image
        That they are of.
    times
        Ascending: the number of each one's time among `image.times`.
    positions
        First pixels along z, y and x.
    reason, columns
        As in `Candidates`.
    """
    resolution = image.source.kind.resolution
    z, y, x = (resolution.corners(axis, values) for axis, values in enumerate(positions))
    if image.focus is not None:
        z = image.focus[times, 0]
    t = np.array(image.times, np.int32)[times]
    return Candidates(t, z.astype(np.int32), y, x, reason, columns or {})


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
        starts.append(positions)
        kept.append(inside)
    z, y, x = (values.reshape(-1) for values in np.meshgrid(*starts, indexing="ij"))
    inside = kept[0][:, None, None] & kept[1][:, None] & kept[2]
    return Grid(z, y, x, np.where(inside.reshape(-1), KEPT, EDGE).astype(np.uint8))
