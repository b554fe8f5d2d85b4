"""Cuts the patches of one image: whole pixels copied, projected, or averaged."""

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

    @property
    def stored_size(self) -> tuple[int, int, int]:
        """(z, y, x) of a stored patch in pixels: the window and its border."""
        z, y, x = self.size
        return z, y + 2 * self.margin_px, x + 2 * self.margin_px

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a stored patch: (c, y, x) or (c, z, y, x)."""
        return self.channels, *self.stored_size[0 if self.is_3d else 1 :]

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
    cut = average_windows if patch.averages(source.kind.resolution) else copy_windows
    patches = cut(source, options, corners, patch)
    return patches.reshape(len(corners), *patch.shape)
