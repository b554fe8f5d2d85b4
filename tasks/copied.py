"""Windows of an image whose pixels are taken as they are, or are the largest of all planes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .grid import reflect_index, source_span
from .image import ImageOptions
from .read import Channels, Take, read_boxes
from .scratch import scratch
from .source import ImageSource

if TYPE_CHECKING:
    from .patches import PatchSpec


def copy_windows(
    source: ImageSource, options: ImageOptions, corners: NDArray[np.int64], patch: PatchSpec
) -> NDArray[Any]:
    """Cut windows, see `patchmill.tasks.patches.cut_patches`; shape (n, c, z, y, x)."""
    resolution, size = source.kind.resolution, patch.stored_size
    reflect = patch.pad == "reflect"
    patches = scratch("patches", (len(corners), patch.channels, *size), patch.dtype)
    starts = window_starts(source, corners, patch)
    spans = [
        source_span(starts[:, axis], size[axis], resolution.shape[axis], reflect)
        for axis in range(3)
    ]
    boxes = np.stack([*time_span(source, corners, patch), *(s for span in spans for s in span)], 1)
    if patch.project_z:
        boxes[:, 2], boxes[:, 3] = 0, resolution.shape[0]
    inside = (starts >= 0) & (starts + np.array(size) <= resolution.shape)
    inside[:, 0] |= bool(patch.project_z)
    beyond = np.flatnonzero(~inside.all(axis=1)).tolist()
    targets: list[NDArray[Any]] = list(patches)
    for i in beyond:
        low = np.array([span[0][i] for span in spans])
        lengths = np.array([span[1][i] for span in spans]) - low
        if not reflect:
            patches[i] = patch.pad
        # What is read never takes more room than the patch. Mirrored pixels are moved about
        # afterwards; a value is left around what is read into its place.
        first = np.zeros(3, np.int64) if reflect else low - starts[i]
        z, y, x = (slice(a, a + n) for a, n in zip(first.tolist(), lengths.tolist(), strict=True))
        targets[i] = patches[i, :, z, y, x]
    if patch.project_z or patch.project_t:
        take = keeping_largest(targets, boxes, bool(patch.project_z))
    else:
        take = copying(targets, boxes)
    read_boxes(source, options, boxes, take)
    if reflect:
        for i in beyond:
            planes, rows, columns = (
                reflect_index(int(starts[i, axis]), size[axis], resolution.shape[axis])
                - spans[axis][0][i]
                for axis in range(3)
            )
            planes = np.zeros(1, np.int64) if patch.project_z else planes
            # Indexing makes a copy.
            patches[i] = targets[i][:, planes[:, None, None], rows[:, None], columns]
    return patches


def window_starts(
    source: ImageSource, corners: NDArray[np.int64], patch: PatchSpec
) -> NDArray[np.int64]:
    """Return the first pixel of each window and its border at the level, int64, shape (n, 3)."""
    resolution, margin = source.kind.resolution, (0, patch.margin_px, patch.margin_px)
    return np.stack(
        [resolution.positions(axis, corners[:, 1 + axis]) - margin[axis] for axis in range(3)], 1
    )


def time_span(
    source: ImageSource, corners: NDArray[np.int64], patch: PatchSpec
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first and one past the last time of each window."""
    if patch.project_t:
        first = np.zeros(len(corners), np.int64)
        return first, first + len(source.kind.planes)
    return corners[:, 0], corners[:, 0] + 1


def copying(targets: list[NDArray[Any]], boxes: NDArray[np.int64]) -> Take:
    """Return what copies parts into the targets of boxes, each of shape (c, z, y, x)."""
    firsts = boxes[:, 2::2].tolist()

    def take(
        box: int, channels: Channels, t: int, z: int, y: int, x: int, part: NDArray[Any]
    ) -> None:
        z0, y0, x0 = firsts[box]
        top, left, (_, height, width) = y - y0, x - x0, part.shape
        targets[box][channels, z - z0, top : top + height, left : left + width] = part

    return take


def keeping_largest(targets: list[NDArray[Any]], boxes: NDArray[np.int64], over_z: bool) -> Take:
    """Return what keeps the largest value of all times, and of all z where `over_z`.

    A target has then one plane.
    """
    firsts = boxes[:, ::2].tolist()

    def take(
        box: int, channels: Channels, t: int, z: int, y: int, x: int, part: NDArray[Any]
    ) -> None:
        t0, z0, y0, x0 = firsts[box]
        top, left, (_, height, width) = y - y0, x - x0, part.shape
        plane = 0 if over_z else z - z0
        target = targets[box][:, plane, top : top + height, left : left + width]
        is_first = t == t0 and (z == z0 or not over_z)
        target[channels] = part if is_first else np.maximum(target[channels], part)

    return take
