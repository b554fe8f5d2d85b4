"""What a plan costs before it runs: bytes, files, decoding and the memory of a worker."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..tasks.cut import PatchSpec
from ..tasks.grid import source_span
from .images import SurveyedImage
from .rows import Rows

#: What a task holds beside patches and a segment: write buffer, a band of strips, an index.
FIXED_BYTES = 8_000_000


@dataclass(frozen=True)
class Cost:
    """The price of a plan.

    Attributes
    ----------
    patch_bytes
        Of all patches, uncompressed.
    decoded_bytes
        That all tasks together read or decode, over all channels.
    needed_bytes
        The same, if each segment under a patch were decoded once in the whole run.
    peak_bytes
        That a thread of a worker holds at once, at most, above its imports.
    """

    patch_bytes: int
    decoded_bytes: int
    needed_bytes: int
    peak_bytes: int


def cost_of(images: Sequence[SurveyedImage], rows: Rows, patch: PatchSpec) -> Cost:
    """Work out the price of the rows."""
    decoded, needed = _segments(images, rows, patch)
    segment_bytes = max((image.segment_bytes for image in images), default=0)
    # The window of a patch with a border is copied to be measured, and a mirrored patch once more.
    copies = 2 * patch.nbytes if patch.margin_px else 0
    return Cost(
        patch_bytes=len(rows) * patch.nbytes,
        decoded_bytes=decoded,
        needed_bytes=needed,
        # A compressed segment is at most about as large as what it holds.
        peak_bytes=_most_rows_at_once(rows, patch.rows_per_shard) * patch.nbytes
        + copies
        + 2 * segment_bytes
        + FIXED_BYTES,
    )


def _most_rows_at_once(rows: Rows, rows_per_shard: int) -> int:
    """Return the longest run of rows of one plane in one shard: a task holds these at once."""
    n = len(rows)
    if not n:
        return 0
    starts = np.zeros(n, bool)
    starts[::rows_per_shard] = True
    for name in ("image", "t", "z"):
        values = rows.columns[name]
        starts[1:] |= values[1:] != values[:-1]
    return int(np.diff(np.flatnonzero(starts), append=n).max())


def _segments(images: Sequence[SurveyedImage], rows: Rows, patch: PatchSpec) -> tuple[int, int]:
    """Count the bytes of segments that are decoded, and of those that need be."""
    columns = rows.columns
    shard = np.arange(len(rows)) // patch.rows_per_shard
    order = np.argsort(columns["image"], kind="stable")
    edges = np.searchsorted(columns["image"][order], np.arange(len(images) + 1))
    decoded = needed = 0
    for number, image in enumerate(images):
        own = order[edges[number] : edges[number + 1]]
        if not own.size:
            continue
        y, x = columns["y"][own].astype(np.int64), columns["x"][own].astype(np.int64)
        t, z = columns["t"][own].astype(np.int64), columns["z"][own].astype(np.int64)
        plane = t * image.shape[2] + z
        at, row = _touched(y, x, patch, image)
        at = at + plane[row] * (int(at.max()) + 1)
        once = len(np.unique(at))
        often = len(np.unique(at + (shard[own][row] - shard[own].min()) * (int(at.max()) + 1)))
        nbytes = math.prod(image.segment) * image.shape[1] * image.source.dtype.itemsize
        needed += once * nbytes
        decoded += often * nbytes
    return decoded, needed


def _touched(
    y: NDArray[np.int64], x: NDArray[np.int64], patch: PatchSpec, image: SurveyedImage
) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Return the number of every segment that each patch touches, and the patch."""
    reflect = patch.pad == "reflect"
    first, count = [], []
    for axis, starts in enumerate((y, x)):
        low, high = source_span(
            starts - patch.margin_px, patch.stored_size[axis], image.shape[3 + axis], reflect
        )
        first.append(low // image.segment[axis])
        count.append((high - 1) // image.segment[axis] - first[-1] + 1)
    across = -(-image.shape[4] // image.segment[1])
    numbers, of_row = [], []
    for dy in range(int(count[0].max())):
        for dx in range(int(count[1].max())):
            row = np.flatnonzero((count[0] > dy) & (count[1] > dx))
            numbers.append((first[0][row] + dy) * across + first[1][row] + dx)
            of_row.append(row)
    return np.concatenate(numbers), np.concatenate(of_row)
