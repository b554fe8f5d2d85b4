"""What a patch is, and the patches of one image: pixels copied or averaged, and the steps done."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .averaged import average_windows
from .copied import copy_windows
from .image import ImageOptions
from .resolution import Resolution
from .source import ImageSource
from .stepped import stepped_patches


@dataclass(frozen=True)
class PatchSpec:
    """What every patch of a store is: a window of an image, and the border around it.

    Attributes
    ----------
    channels
        Number of them.
    size
        (z, y, x) of the window in pixels of the patch, without the border.
    dtype
        Of the store.
    pad
        What lies beyond an image's edges: "reflect" or a value.
    codec, level
        Of a chunk.
    rows_per_shard
        Entries in a shard's index.
    margin_px
        Width of the border on each side in y and x.
    is_3d
        Whether a stored patch has an axis z.
    project_z, project_t
        "max" or "mean" of all planes of an image; empty where a patch is of planes as they are.
    halo_px
        What steps read beyond the border on each side in y and x.
    output_size
        (y, x) of what is stored, where a step makes another size of the window.
    """

    channels: int
    size: tuple[int, int, int]
    dtype: np.dtype[Any]
    pad: str | float
    codec: str
    level: int
    rows_per_shard: int
    margin_px: int = 0
    is_3d: bool = False
    project_z: str = ""
    project_t: str = ""
    halo_px: int = 0
    output_size: tuple[int, int] | None = None

    @property
    def stored_size(self) -> tuple[int, int, int]:
        """(z, y, x) of the window and its border in pixels; stored, but for `output_size`."""
        z, y, x = self.size
        return z, y + 2 * self.margin_px, x + 2 * self.margin_px

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a stored patch: (c, y, x) or (c, z, y, x)."""
        depth, height, width = self.stored_size
        height, width = self.output_size or (height, width)
        return self.channels, *(depth, height, width)[0 if self.is_3d else 1 :]

    @property
    def read_size(self) -> tuple[int, int, int]:
        """(z, y, x) of what a patch is made from, in its pixels: with what steps need around it."""
        z, y, x = self.stored_size
        return z, y + 2 * self.halo_px, x + 2 * self.halo_px

    @property
    def nbytes(self) -> int:
        """Size of a stored patch, uncompressed."""
        return math.prod(self.shape) * self.dtype.itemsize

    def averages(self, resolution: Resolution) -> bool:
        """Whether pixels are made of several of an image, and kept as sums until all have come."""
        projects_mean = "mean" in (self.project_z, self.project_t)
        return projects_mean or resolution.zoom != (1.0, 1.0, 1.0)


def cut_patches(
    source: ImageSource,
    options: ImageOptions,
    corners: NDArray[np.int64],
    patch: PatchSpec,
) -> NDArray[Any]:
    """Cut patches out of one image.

    Parameters
    ----------
    source, options
        The image, and how its files are opened.
    corners
        int64, shape (n, 4): t, and z, y and x of the windows in level-0 pixels; a border lies
        around these.

    Returns
    -------
    patches
        Shape (n, c, y, x) or (n, c, z, y, x), borders included, C order, of the store's type; valid
        until the same thread calls again.
    """
    return cut_counted(source, options, corners, patch)[0]


def cut_counted(
    source: ImageSource,
    options: ImageOptions,
    corners: NDArray[np.int64],
    patch: PatchSpec,
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Cut patches as `cut_patches` does, and count what did not fit into the store's type.

    Returns
    -------
    patches
        As `cut_patches` returns them.
    clipped
        int64, shape (n, c, 2): how many of a patch's own pixels lay below the type's range, and
        above it; padding and borders do not count.
    """
    if source.steps:
        patches, clipped = stepped_patches(source, options, corners, patch)
    else:
        cut = average_windows if patch.averages(source.kind.resolution) else copy_windows
        patches = cut(source, options, corners, patch)
        clipped = np.zeros((len(corners), patch.channels, 2), np.int64)
    return patches.reshape(len(corners), *patch.shape), clipped
