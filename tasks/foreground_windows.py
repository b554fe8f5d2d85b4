"""A foreground mask, and what of it lies in windows of an image."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .resolution import Resolution


@dataclass(frozen=True, eq=False)
class ForegroundMask:
    """The foreground of an image.

    Attributes
    ----------
    mask
        bool, shape (n, y, x): the planes that were made.
    plane
        int32, shape (t, z), lengths 1 along an axis whose planes share one: the number of each
        plane's mask, -1 where it was not made.
    scale
        Pixels of level 0 in one pixel of the mask, (y, x).
    extent
        (y, x) of the image in pixels of level 0; the mask's last pixels may lie in part beyond.
    """

    mask: NDArray[np.bool_]
    plane: NDArray[np.int32]
    scale: tuple[float, float]
    extent: tuple[float, float]
    _tables: dict[int, NDArray[np.float64]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def fractions(
        self, resolution: Resolution, corners: NDArray[np.int64], size: tuple[int, ...]
    ) -> NDArray[np.float64]:
        """Return how much of each window is foreground, 0 to 1, shape (n,).

        A pixel of the mask that lies in a window in part counts by that part.

        Parameters
        ----------
        resolution
            At which the image is cut.
        corners
            int64, shape (n, 4): t, z, y and x of the windows, in level-0 pixels; t and z as
            `cut_patches` takes them.
        size
            (y, x) or (z, y, x) of a window in pixels of the patch; what lies beyond the image does
            not count.
        """
        depth, height, width = (1, *size)[-3:]
        ends = []
        for axis, length in ((1, height), (2, width)):
            first = self._first(resolution, axis, corners[:, 1 + axis])
            last = first + length * resolution.scale[axis]
            ends += [np.clip(end, 0, self.extent[axis - 1]) for end in (first, last)]
        top, bottom, left, right = ends
        area = (bottom - top) * (right - left)
        scale_y, scale_x = self.scale
        ys, xs = (top / scale_y, bottom / scale_y), (left / scale_x, right / scale_x)
        sums = np.zeros(len(corners))
        for own, planes in self._planes(resolution, corners, depth):
            for number, weight in planes:
                table = self._table(number)
                part = _up_to(table, ys[1][own], xs[1][own]) - _up_to(table, ys[0][own], xs[1][own])
                part -= _up_to(table, ys[1][own], xs[0][own]) - _up_to(
                    table, ys[0][own], xs[0][own]
                )
                sums[own] += weight * part
        inside = np.divide(sums * scale_y * scale_x, area, out=np.zeros_like(sums), where=area > 0)
        found: NDArray[np.float64] = np.clip(inside, 0, 1)
        return found

    def pixels(
        self, resolution: Resolution, corner: NDArray[np.int64], size: tuple[int, ...]
    ) -> NDArray[np.bool_]:
        """Return which pixels of one window are foreground: those whose centre is.

        Parameters
        ----------
        resolution, size
            As in `fractions`.
        corner
            int64, shape (4,).

        Returns
        -------
        pixels
            bool, of shape `size`; what lies beyond the image is no foreground.
        """
        depth, height, width = (1, *size)[-3:]
        at, inside = [], []
        for axis, length in ((1, height), (2, width)):
            first = self._first(resolution, axis, corner[1 + axis : 2 + axis])
            centre = first + (np.arange(length) + 0.5) * resolution.scale[axis]
            inside.append((centre >= 0) & (centre < self.extent[axis - 1]))
            place = np.floor(centre / self.scale[axis - 1]).astype(np.int64)
            at.append(np.clip(place, 0, self.mask.shape[axis] - 1))
        held = inside[0][:, None] & inside[1]
        planes = [
            next(self._planes(resolution, corner[None] + _deeper(resolution, n), 1))[1][0][0]
            for n in range(depth)
        ]
        found: NDArray[np.bool_] = self.mask[planes][:, at[0][:, None], at[1]] & held
        return found.reshape(size)

    def _first(
        self, resolution: Resolution, axis: int, corners: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return where windows begin, in pixels of level 0: as they are cut, not rounded down."""
        scale = resolution.scale[axis] / resolution.zoom[axis]
        found: NDArray[np.float64] = resolution.origins(axis, corners) * scale
        return found

    def _planes(
        self, resolution: Resolution, corners: NDArray[np.int64], depth: int
    ) -> Iterator[tuple[NDArray[np.intp], list[tuple[int, float]]]]:
        """Yield windows that are of the same planes, and the number and the weight of each."""
        n_t, n_z = self.plane.shape
        times = corners[:, 0] if n_t > 1 else np.zeros(len(corners), np.int64)
        first = resolution.origins(0, corners[:, 1]) if n_z > 1 else np.zeros(len(corners))
        zoom = resolution.zoom[0] * depth
        places, of = np.unique(np.stack([times, first], 1), axis=0, return_inverse=True)
        for number, (t, begin) in enumerate(places.tolist()):
            if n_z == 1:
                weights = {0: 1.0}
            else:
                end = min(begin + zoom, n_z)
                weights = {
                    z: (min(z + 1, end) - max(z, begin)) / (end - begin)
                    for z in range(math.floor(begin), math.ceil(end))
                }
            planes = [(int(self.plane[int(t), z]), share) for z, share in weights.items()]
            if any(made < 0 for made, _ in planes):
                raise ValueError(f"no mask was made of plane t = {t:g}, z = {begin:g}; name it")
            yield np.flatnonzero(of.reshape(-1) == number), planes

    def _table(self, number: int) -> NDArray[np.float64]:
        """Return sums of all pixels above and to the left of each corner of a pixel."""
        if number not in self._tables:
            height, width = self.mask.shape[1:]
            table = np.zeros((height + 1, width + 1))
            table[1:, 1:] = self.mask[number].cumsum(0, dtype=np.int64).cumsum(1)
            self._tables.clear()  # planes are asked for one after another
            self._tables[number] = table
        return self._tables[number]


def _deeper(resolution: Resolution, planes: int) -> NDArray[np.int64]:
    """Return what a corner is moved by, so many planes of a patch down."""
    down = resolution.corners(0, np.array([planes], np.int64))
    return np.array([0, int(down[0]), 0, 0], np.int64)


def _up_to(
    table: NDArray[np.float64], y: NDArray[np.float64], x: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the sum of all that lies above y and to the left of x, which may cut through pixels.

    Between the corners of a pixel the sum is bilinear, so that this is exact.
    """
    top = np.minimum(y.astype(np.int64), table.shape[0] - 2)
    left = np.minimum(x.astype(np.int64), table.shape[1] - 2)
    down, across = y - top, x - left
    above = table[top, left] * (1 - across) + table[top, left + 1] * across
    below = table[top + 1, left] * (1 - across) + table[top + 1, left + 1] * across
    found: NDArray[np.float64] = above * (1 - down) + below * down
    return found
