"""Reads boxes of an image after the steps that come before planes are projected and rescaled.

Such a step needs whole windows, border included; they are held plane by plane, and a bounded number
of them at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .grid import reflect_index, source_span
from .image import ImageOptions
from .read import Take, read_boxes
from .scratch import scratch
from .source import ImageSource
from .step import Window, halo_of, run_steps
from .takes import copying

#: What windows of the level may hold at once. Where it is reached, segments that two groups of
#: windows share are decoded twice.
BATCH_BYTES = 1 << 26


def read_corrected(
    source: ImageSource, options: ImageOptions, boxes: NDArray[np.int64], take: Take
) -> None:
    """Read boxes as `read_boxes` does, each plane after `source.steps.before`.

    Parameters
    ----------
    take
        Gets whole planes of boxes, float32, where there are such steps.
    """
    if not source.steps.before:
        read_boxes(source, options, boxes, take)
        return
    for own in _batches(source, boxes):
        for t, z0, z1 in _planes(source, boxes[own]):
            has = (boxes[own, 0] <= t) & (boxes[own, 1] > t)
            has &= (boxes[own, 2] < z1) & (boxes[own, 3] > z0)
            _read_planes(source, options, boxes, own[has], (t, z0, z1), take)


def _batches(source: ImageSource, boxes: NDArray[np.int64]) -> Iterator[NDArray[np.intp]]:
    """Yield boxes in groups that fit, by number."""
    halo = halo_of(source.steps.before)
    height, width = (boxes[:, i + 1] - boxes[:, i] + 2 * halo for i in (4, 6))
    n_c, depth = len(source.kind.planes[0]), source.kind.segment[2]
    ends = np.cumsum(height * width * n_c * depth * np.dtype(np.float32).itemsize)
    for group in np.unique(ends // BATCH_BYTES).tolist():
        yield np.flatnonzero(ends // BATCH_BYTES == group)


def _planes(source: ImageSource, boxes: NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
    """Yield each time with each run of planes that are decoded together."""
    depth = source.kind.segment[2]
    first, last = int(boxes[:, 2].min()), int(boxes[:, 3].max())
    for t in range(int(boxes[:, 0].min()), int(boxes[:, 1].max())):
        z = first
        while z < last:
            stop = min(last, z - z % depth + depth)
            yield t, z, stop
            z = stop


def _read_planes(
    source: ImageSource,
    options: ImageOptions,
    boxes: NDArray[np.int64],
    own: NDArray[np.intp],
    planes: tuple[int, int, int],
    take: Take,
) -> None:
    """Read one run of planes of some boxes, and hand them over after the steps."""
    if not own.size:
        return
    t, z0, z1 = planes
    steps, shape = source.steps.before, source.kind.resolution.shape
    halo, n_c = halo_of(steps), len(source.kind.planes[0])
    first = boxes[own][:, [4, 6]] - halo
    sizes = boxes[own][:, [5, 7]] + halo - first
    spans = np.empty((len(own), 8), np.int64)
    spans[:, 0], spans[:, 1] = t, t + 1
    spans[:, 2], spans[:, 3] = np.maximum(boxes[own, 2], z0), np.minimum(boxes[own, 3], z1)
    for axis in range(2):
        for i, (start, size) in enumerate(zip(first[:, axis], sizes[:, axis], strict=True)):
            low, high = source_span(np.array([start]), int(size), shape[1 + axis], reflect=True)
            spans[i, 4 + 2 * axis], spans[i, 5 + 2 * axis] = low[0], high[0]
    lengths = spans[:, 3::2] - spans[:, 2::2]
    ends = np.cumsum(n_c * lengths.prod(axis=1))
    held = scratch("corrected", (int(ends[-1]),), np.float32)
    targets = [
        held[end - n_c * int(np.prod(length)) : end].reshape(n_c, *length)
        for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)
    ]
    read_boxes(source, options, spans, copying(targets, spans))
    for i, box in enumerate(own.tolist()):
        (y, x), (height, width) = first[i].tolist(), sizes[i].tolist()
        rows = reflect_index(y, height, shape[1]) - spans[i, 4]
        columns = reflect_index(x, width, shape[2]) - spans[i, 6]
        # Indexing makes a copy, which the steps may write into, but in another order.
        pixels = np.ascontiguousarray(targets[i][:, :, rows[:, None], columns])
        inside = (
            slice(0, pixels.shape[1]),
            slice(halo, height - halo),
            slice(halo, width - halo),
        )
        done, _ = run_steps(steps, pixels, Window(y, x, shape[1:], inside))
        for plane in range(done.shape[1]):
            z = int(spans[i, 2]) + plane
            take(box, slice(0, n_c), t, z, y + halo, x + halo, done[:, plane])
