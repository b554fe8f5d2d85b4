"""Windows of an image whose pixels are taken as they are, or are the largest of all planes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .corrected import read_corrected
from .grid import reflect_index, source_span
from .image import ImageOptions
from .scratch import scratch
from .source import ImageSource
from .takes import copying, keeping_largest
from .windows import window_starts

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
    read_corrected(source, options, boxes, take)
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


def time_span(
    source: ImageSource, corners: NDArray[np.int64], patch: PatchSpec
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first and one past the last time of each window."""
    if patch.project_t:
        first = np.zeros(len(corners), np.int64)
        return first, first + len(source.kind.planes)
    return corners[:, 0], corners[:, 0] + 1
