"""Windows of integers that lie beside an image, such as a mask's: the nearest pixel, never a mean.

A patch's pixel i has its centre at (i + 0.5) · zoom in the image's level; what it gets is the
pixel of the other file in which that centre lies. Where nothing is rescaled that is a copy. At even
factors a centre lies on the edge of pixels that are all equally near: what most of them have is
taken. To take always the same one, as OpenCV's INTER_NEAREST_EXACT does, would move labels by a
quarter of a pixel at half the resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .image import ImageOptions
from .read import Channels, Take, read_boxes
from .resolution import Resolution
from .scratch import scratch
from .source import ImageSource

#: A centre this close to an edge, in pixels, lies on it.
SNAP_PX = 1e-6


@dataclass(frozen=True, eq=False)
class Run:
    """Which pixels of a window have one in the file, along one axis, and which.

    Attributes
    ----------
    start
        The first such pixel of the window.
    index
        int64, shape (k · each,): pixels of the file, ascending; none where the window lies beyond
        it.
    each
        How many of them there are for each pixel of the window: 2 where some are equally near.
    """

    start: int
    index: NDArray[np.int64]
    each: int = 1

    @property
    def own(self) -> slice:
        """The pixels of the window."""
        return slice(self.start, self.start + len(self.index) // self.each)

    @property
    def held(self) -> slice:
        """Where the pixels of the file are held that `read_nearest` returns."""
        return slice(self.start * self.each, self.start * self.each + len(self.index))

    def within(self, first: int, length: int) -> slice:
        """Return which entries of `index` lie in `length` pixels of the file from `first` on."""
        low, high = np.searchsorted(self.index, [first, first + length]).tolist()
        return slice(low, high)


def nearest_runs(
    resolution: Resolution,
    axis: int,
    corners: NDArray[np.int64],
    size: int,
    margin_px: int,
    scale: float,
    length: int,
) -> list[Run]:
    """Return which pixels of a file are nearest to those of windows along one axis.

    Parameters
    ----------
    resolution
        At which the image is cut.
    axis
        0 is z.
    corners
        int64, shape (n,): of the windows, in level-0 pixels of the image.
    size, margin_px
        Of what is stored of a window, and of the border that is part of it, in pixels of the patch.
    scale
        Level-0 pixels of the image in one pixel of the file.
    length
        Of the file, in its pixels.

    Returns
    -------
    runs
        One per window; what lies beyond the image, or beyond the file, is in none.
    """
    zoom = resolution.zoom[axis]
    first = resolution.positions(axis, corners)[:, None]
    offset = np.arange(size) - margin_px
    at = first + offset
    centre = resolution.origins(axis, corners)[:, None] + (offset + 0.5) * zoom
    centre *= resolution.scale[axis] / zoom / scale
    edge = np.rint(centre)
    on_edge = np.abs(centre - edge) < SNAP_PX
    low = np.where(on_edge, edge - 1, np.floor(centre)).astype(np.int64)
    high = low + on_edge
    inside = (at >= 0) & (at < resolution.size[axis]) & (low >= 0) & (high < length)
    near = np.stack([low, high], -1) if (on_edge & inside).any() else low[..., None]
    return [
        Run(int(held.argmax()), own[held].reshape(-1), near.shape[-1])
        for own, held in zip(near, inside, strict=True)
    ]


def read_nearest(
    source: ImageSource,
    options: ImageOptions,
    times: NDArray[np.int64],
    runs: Sequence[Sequence[Run]],
    size: tuple[int, int, int],
) -> NDArray[Any]:
    """Read the nearest pixels of windows; each segment of the file is decoded once.

    Parameters
    ----------
    source, options
        The file, and how it is opened; its level is read as it is.
    times
        int64, shape (n,): the time of each window in the file.
    runs
        For each window those along z, y and x.
    size
        (z, y, x) of a window.

    Returns
    -------
    pixels
        Shape (n, c, z, y, x), of the file's type, `Run.each` along each axis for every pixel of a
        window; arbitrary where there is none; valid until the same thread calls again.

    Raises
    ------
    SourceError
        Where the file has changed since the survey, or cannot be read.
    """
    channels = source.kind.planes.shape[1]
    held = [length * run.each for length, run in zip(size, runs[0], strict=True)]
    pixels = scratch("nearest", (len(runs), channels, *held), source.kind.dtype)
    read = [n for n, window in enumerate(runs) if all(len(run.index) for run in window)]
    spans = [
        [int(times[n]), int(times[n]) + 1]
        + [end for run in runs[n] for end in (int(run.index[0]), int(run.index[-1]) + 1)]
        for n in read
    ]
    if read:
        boxes = np.array(spans, np.int64)
        read_boxes(source, options, boxes, _gathering(pixels, runs, read))
    return pixels


def _gathering(pixels: NDArray[Any], runs: Sequence[Sequence[Run]], read: Sequence[int]) -> Take:
    """Return what puts the nearest pixels of parts into windows; box i is window `read[i]`."""

    def take(
        box: int, channels: Channels, t: int, z: int, y: int, x: int, part: NDArray[Any]
    ) -> None:
        window = read[box]
        depth, rows, columns = runs[window]
        planes, down, across = (
            run.within(first, length)
            for run, first, length in (
                (depth, z, 1),
                (rows, y, part.shape[1]),
                (columns, x, part.shape[2]),
            )
        )
        taken = part[:, _compact(rows.index[down] - y)][:, :, _compact(columns.index[across] - x)]
        own = pixels[window][:, depth.held, rows.held, columns.held]
        for plane in range(planes.start, planes.stop):
            own[channels, plane, down, across] = taken

    return take


def _compact(index: NDArray[np.int64]) -> slice | NDArray[np.int64]:
    """Return a slice where it says the same: it makes a view, an array makes a copy."""
    if len(index) and (np.diff(index) == 1).all():
        return slice(int(index[0]), int(index[-1]) + 1)
    return index


def most_frequent(numbers: NDArray[Any], each: tuple[int, int, int]) -> NDArray[Any]:
    """Return for each block what most of its numbers are, the largest of these where several are.

    Parameters
    ----------
    numbers
        Integers, shape (z, y, x).
    each
        Of a block, along each axis.

    Examples
    --------
    >>> most_frequent(np.array([[[3, 3, 0, 7], [0, 3, 0, 7]]]), (1, 2, 2))
    array([[[3, 7]]])
    """
    z, y, x = each
    first, *others = (numbers[i::z, j::y, k::x] for i, j, k in np.ndindex(z, y, x))
    if not others:
        return numbers
    best = first.copy()
    # Within an object, all of a block have its number.
    mixed = np.logical_or.reduce([other != first for other in others])
    candidates = np.stack([one[mixed] for one in (first, *others)])
    chosen, most = candidates[0], np.zeros(candidates.shape[1], np.intp)
    for one in candidates:
        count = (candidates == one).sum(0)
        better = (count > most) | ((count == most) & (one > chosen))
        chosen, most = np.where(better, one, chosen), np.where(better, count, most)
    best[mixed] = chosen
    return best
