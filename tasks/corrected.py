"""Reads boxes of an image after the steps that come before planes are projected and rescaled.

Such a step needs whole windows, border included; they are held plane by plane, and a bounded number
of them at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .image import ImageOptions
from .mirrored import in_batches, read_mirrored
from .read import Take, read_boxes
from .source import ImageSource
from .step import Window, halo_of, run_steps


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
    """Return boxes in groups that fit, by number."""
    halo = halo_of(source.steps.before)
    height, width = (boxes[:, i + 1] - boxes[:, i] + 2 * halo for i in (4, 6))
    n_c, depth = len(source.kind.planes[0]), source.kind.segment[2]
    return in_batches(height * width * n_c * depth * np.dtype(np.float32).itemsize)


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
    first = np.empty((len(own), 3), np.int64)
    first[:, 0] = np.maximum(boxes[own, 2], z0)
    first[:, 1:] = boxes[own][:, [4, 6]] - halo
    sizes = np.empty_like(first)
    sizes[:, 0] = np.minimum(boxes[own, 3], z1) - first[:, 0]
    sizes[:, 1:] = boxes[own][:, [5, 7]] + halo - first[:, 1:]
    windows = read_mirrored(source, options, np.full(len(own), t), first, sizes)
    for box, pixels, (z, y, x) in zip(own.tolist(), windows, first.tolist(), strict=True):
        done, _ = run_steps(steps, pixels, Window.of_all(y, x, shape[1:], pixels))
        for plane in range(done.shape[1]):
            take(box, slice(0, n_c), t, z + plane, y + halo, x + halo, done[:, plane])
