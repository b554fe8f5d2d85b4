"""Steps done once for several windows that lie close together, not for each with its own border.

A border of 60 pixels around a patch of 256 doubles the work, and patches that overlap have most of
their pixels in common. A step gives a pixel the same value whatever window it lies in, so windows
can be taken out of a region that went through the steps as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .image import ImageOptions
from .mirrored import in_batches, read_mirrored
from .scratch import scratch
from .source import ImageSource
from .step import Pixels, Step, Window, halo_of, run_steps

#: Windows that begin in one cell of this many pixels are one region: wide enough that borders do
#: not matter, small enough that a few copies of it are no matter either.
CELL_PX = 512
MOST_CELL_PX = 1024


def cell_px(size: int) -> int:
    """Return the side of a cell, for windows of a size in pixels."""
    return min(max(CELL_PX, 2 * size), MOST_CELL_PX)


def shared_steps(steps: Sequence[Step]) -> int:
    """Return how many steps, from the first, are worth doing on regions: up to the last border.

    None after one that asks which pixels are the patch's own (its attribute `is_of_patch`).
    """
    shared = 0
    for number, step in enumerate(steps):
        if getattr(step, "is_of_patch", False) or getattr(step, "output_size", None):
            break
        if step.halo_px:
            shared = number + 1
    return shared


def region_windows(
    source: ImageSource,
    options: ImageOptions,
    times: NDArray[np.int64],
    starts: NDArray[np.int64],
    size: tuple[int, int, int],
    steps: Sequence[Step],
) -> Pixels:
    """Return windows of an image after some steps.

    Parameters
    ----------
    source, options
        The image, whose pixels are taken as they are, and how its files are opened.
    times
        int64, shape (n,): the time of each window.
    starts
        int64, shape (n, 3): first z, y and x of each.
    size
        (z, y, x) of all of them.
    steps
        Which ask for no patch's own pixels.

    Returns
    -------
    windows
        float32, shape (n, c, z, y, x); valid until the same thread calls again.
    """
    halo, shape = halo_of(steps), source.kind.resolution.shape
    windows = scratch("windows", (len(starts), len(source.kind.planes[0]), *size), np.float32)
    regions = _regions(times, starts, size, halo)
    border = np.array([0, halo, halo])
    first = np.array([starts[own].min(axis=0) for own in regions])
    sizes = np.array([starts[own].max(axis=0) for own in regions]) + size - first + 2 * border
    of_regions = np.array([times[own[0]] for own in regions])
    for chosen in in_batches(sizes.prod(axis=1) * windows.shape[1] * windows.itemsize):
        begin = first[chosen] - border
        read = read_mirrored(source, options, of_regions[chosen], begin, sizes[chosen])
        for number, region in zip(chosen.tolist(), read, strict=True):
            z0, y0, x0 = first[number].tolist()
            window = Window.of_all(y0 - halo, x0 - halo, shape[1:], region)
            done, _ = run_steps(steps, region, window)
            for i in regions[number].tolist():
                z, y, x = (starts[i] - (z0, y0, x0)).tolist()
                windows[i] = done[:, z : z + size[0], y : y + size[1], x : x + size[2]]
    return windows


def _regions(
    times: NDArray[np.int64], starts: NDArray[np.int64], size: tuple[int, int, int], halo: int
) -> list[NDArray[np.intp]]:
    """Return which windows are taken out of one region: those of one plane that begin in a cell."""
    _, height, width = size
    cells = np.stack(
        [times, starts[:, 0], starts[:, 1] // cell_px(height), starts[:, 2] // cell_px(width)],
        axis=1,
    )
    _, of = np.unique(cells, axis=0, return_inverse=True)
    of = of.reshape(-1)
    alone = (height + 2 * halo) * (width + 2 * halo)
    regions: list[NDArray[np.intp]] = []
    for number in range(int(of.max()) + 1):
        own = np.flatnonzero(of == number)
        sides = starts[own, 1:].max(axis=0) - starts[own, 1:].min(axis=0)
        together = (int(sides[0]) + height + 2 * halo) * (int(sides[1]) + width + 2 * halo)
        if together > len(own) * alone:  # few, and far apart
            regions += np.split(own, len(own))
        else:
            regions.append(own)
    return regions
