"""Windows of an image whose pixels are averages: rescaled, or the mean of planes.

Sums are kept in float64 and divided once, at the end: the mean of whole numbers rounds once, half
to even.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .area import Taps, add_area, area_taps, finish, span
from .copied import time_span
from .corrected import read_corrected
from .image import ImageOptions
from .read import Channels, Take
from .scratch import scratch
from .source import ImageSource
from .takes import keeping_largest

if TYPE_CHECKING:
    from .patches import PatchSpec

#: For one window, the taps along z, y and x.
_WindowTaps = tuple[Taps, Taps, Taps]


def average_windows(
    source: ImageSource, options: ImageOptions, corners: NDArray[np.int64], patch: PatchSpec
) -> NDArray[Any]:
    """Cut windows, see `patchmill.tasks.patches.cut_patches`; shape (n, c, z, y, x).

    A projection by "max" is of the level's own pixels, and rescaled afterwards.
    """
    shape = (len(corners), patch.channels, *patch.stored_size)
    sums = scratch("sums", shape, np.float64)
    sums[...] = 0
    taps = _taps(source, corners, patch)
    t0, t1 = time_span(source, corners, patch)
    ends = [[span(own) for own in window] for window in taps]
    boxes = np.concatenate([t0[:, None], t1[:, None], np.array(ends).reshape(-1, 6)], axis=1)
    if "max" in (patch.project_z, patch.project_t):
        if patch.project_z:
            # What is left of a projected axis is one plane, whatever planes it was made of.
            taps = [(_all_planes(1), rows, columns) for _, rows, columns in taps]
        _add_largest(source, options, boxes, taps, patch, sums)
    else:
        read_corrected(source, options, boxes, _adding(sums, taps))
    times = len(source.kind.planes) if patch.project_t == "mean" else 1
    patches = scratch("patches", shape, patch.dtype)
    resolution = source.kind.resolution
    for i, (depth, rows, columns) in enumerate(taps):
        planes = len(depth.index[0]) if patch.project_z else resolution.zoom[0]
        total = times * planes * math.prod(resolution.zoom[1:])
        if not isinstance(patch.pad, str):
            held = _held(depth)[:, None, None] * _held(rows)[:, None] * _held(columns)
            sums[i] += patch.pad * np.maximum(total - times * held, 0)
        patches[i] = finish(sums[i], total, patch.dtype)
    return patches


def _taps(source: ImageSource, corners: NDArray[np.int64], patch: PatchSpec) -> list[_WindowTaps]:
    """Return which pixels of the level make each pixel of each window, and with what weight."""
    resolution, reflect = source.kind.resolution, patch.pad == "reflect"
    margin = (0, patch.margin_px, patch.margin_px)
    along = []
    for axis, (size, zoom, length) in enumerate(
        zip(patch.stored_size, resolution.zoom, resolution.shape, strict=True)
    ):
        origins = resolution.origins(axis, corners[:, 1 + axis]) - margin[axis] * zoom
        if axis == 0 and patch.project_z:
            along.append([_all_planes(length)] * len(corners))
        else:
            along.append([_kept_taps(o, zoom, size, length, reflect) for o in origins.tolist()])
    return list(zip(*along, strict=True))


# Windows of one row or column of the grid have the same.
_kept_taps = lru_cache(maxsize=512)(area_taps)


@lru_cache(maxsize=8)
def _all_planes(length: int) -> Taps:
    return Taps(np.arange(length, dtype=np.int64)[None], np.ones((1, length)))


def _held(taps: Taps) -> NDArray[np.float64]:
    """Return how much of each output pixel lies inside the image, in pixels of the level."""
    held: NDArray[np.float64] = taps.weight.sum(axis=1)
    return held


def _adding(sums: NDArray[np.float64], taps: list[_WindowTaps]) -> Take:
    """Return what adds parts to the sums of windows, shape (n, c, z, y, x)."""

    def take(
        box: int, channels: Channels, t: int, z: int, y: int, x: int, part: NDArray[Any]
    ) -> None:
        depth, rows, columns = taps[box]
        for plane, tap in np.argwhere(depth.index == z).tolist():
            weight = float(depth.weight[plane, tap])
            if weight:
                if isinstance(channels, slice):
                    add_area(sums[box, channels, plane], part, y, x, rows, columns, weight)
                else:
                    for own, channel in enumerate(channels):
                        target = sums[box, channel : channel + 1, plane]
                        add_area(target, part[own : own + 1], y, x, rows, columns, weight)

    return take


def _add_largest(
    source: ImageSource,
    options: ImageOptions,
    boxes: NDArray[np.int64],
    taps: list[_WindowTaps],
    patch: PatchSpec,
    sums: NDArray[np.float64],
) -> None:
    """Add the largest values of all planes or times, which are gathered at the level first."""
    over_z = patch.project_z == "max"
    lengths = boxes[:, 3::2] - boxes[:, 2::2]
    if over_z:
        lengths[:, 0] = 1
    counts = patch.channels * lengths.prod(axis=1)
    ends = np.cumsum(counts)
    # Steps hand over float32.
    dtype = np.float32 if source.steps.before else source.kind.dtype
    held = scratch("largest", (int(ends[-1]),), dtype)
    targets = [
        held[end - count : end].reshape(patch.channels, *shape)
        for end, count, shape in zip(ends.tolist(), counts.tolist(), lengths.tolist(), strict=True)
    ]
    read_corrected(source, options, boxes, keeping_largest(targets, boxes, over_z))
    take = _adding(sums, taps)
    for i, (target, box) in enumerate(zip(targets, boxes.tolist(), strict=True)):
        first = 0 if over_z else box[2]
        for plane in range(target.shape[1]):
            take(i, slice(None), 0, first + plane, box[4], box[6], target[:, plane])
