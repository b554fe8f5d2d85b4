"""Reads windows of any sizes as float32; beyond the image stands its mirror image."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .grid import reflect_index, source_span
from .image import ImageOptions
from .read import read_boxes
from .scratch import scratch
from .source import ImageSource
from .step import Pixels
from .takes import copying

#: What windows that are read at once may hold, beside the last of them. Where it is reached,
#: segments that two groups of windows share are decoded twice.
BATCH_BYTES = 1 << 26


def in_batches(nbytes: NDArray[np.int64]) -> Iterator[NDArray[np.intp]]:
    """Yield windows in groups that may be read at once, by number.

    Parameters
    ----------
    nbytes
        Shape (n,): what each of them holds.
    """
    of = np.cumsum(nbytes) // BATCH_BYTES
    for batch in np.unique(of).tolist():
        yield np.flatnonzero(of == batch)


def read_mirrored(
    source: ImageSource,
    options: ImageOptions,
    times: NDArray[np.int64],
    starts: NDArray[np.int64],
    sizes: NDArray[np.int64],
) -> list[Pixels]:
    """Read windows, each segment under any of them once.

    Parameters
    ----------
    source, options
        The image, and how its files are opened.
    times
        int64, shape (n,): the time of each window.
    starts, sizes
        int64, shape (n, 3): first z, y and x of each, in pixels of the level, and how many.

    Returns
    -------
    windows
        Each float32, shape (c, z, y, x), C order; valid until the same thread calls again.
    """
    shape, n_c = source.kind.resolution.shape, len(source.kind.planes[0])
    boxes = np.empty((len(starts), 8), np.int64)
    boxes[:, 0], boxes[:, 1] = times, times + 1
    for axis in range(3):
        for size in np.unique(sizes[:, axis]).tolist():
            own = np.flatnonzero(sizes[:, axis] == size)
            low, high = source_span(starts[own, axis], size, shape[axis], reflect=True)
            boxes[own, 2 + 2 * axis], boxes[own, 3 + 2 * axis] = low, high
    lengths = boxes[:, 3::2] - boxes[:, 2::2]
    counts = n_c * lengths.prod(axis=1)
    held = scratch("mirrored", (int(counts.sum()),), np.float32)
    ends = np.cumsum(counts)
    targets = [
        held[end - count : end].reshape(n_c, *length)
        for end, count, length in zip(ends.tolist(), counts.tolist(), lengths.tolist(), strict=True)
    ]
    read_boxes(source, options, boxes, copying(targets, boxes))
    inside = ((starts >= 0) & (starts + sizes <= shape)).all(axis=1)
    for i in np.flatnonzero(~inside).tolist():
        z, y, x = (
            reflect_index(int(starts[i, axis]), int(sizes[i, axis]), shape[axis])
            - boxes[i, 2 + 2 * axis]
            for axis in range(3)
        )
        # Indexing makes a copy, but in another order.
        targets[i] = np.ascontiguousarray(targets[i][:, z[:, None, None], y[:, None], x])
    return targets
