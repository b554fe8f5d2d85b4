"""What a task holds in memory at most: its patches, and what making them takes.

A task reads the patches of one image, then finishes them where they are averages, then encodes one
after the other; what it needs for these goes and is never held together. Measured in the tests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..reader.remote import REQUEST_BYTES, is_remote
from ..reader.remote_fetch import MOST_REQUESTS
from ..tasks.annotation import AnnotationField
from ..tasks.corrected import BATCH_BYTES
from ..tasks.image import BAND_BYTES
from ..tasks.opened import MAX_OPEN_IMAGES
from ..tasks.patches import PatchSpec
from ..tasks.region_windows import cell_px
from ..tasks.remote_bytes import BLOCK_BYTES, MOST_BLOCKS
from ..tasks.source import ImageKind, ImageSource
from .rows import Rows

#: What is held beside: a band of strips, the shard's index, the tables of open files.
FIXED_BYTES = 8_000_000
#: A segment as it is stored, as it is decoded, and copied out of there: compressed noise is as
#: large as what it holds.
SEGMENT_COPIES = 3
#: Of sums, when they become means: the quotient, rounded, and kept in range.
MEAN_COPIES = 3
#: Of one window, while a step makes another of it: filters and percentiles take a few.
STEP_COPIES = 6
_SUM_BYTES = np.dtype(np.float64).itemsize
_STEP_BYTES = np.dtype(np.float32).itemsize


def peak_bytes(
    sources: Sequence[ImageSource],
    rows: Rows,
    patch: PatchSpec,
    fields: Sequence[AnnotationField] = (),
    has_steps: bool = False,
) -> int:
    """Return what a thread of a worker holds at once, at most, above its imports.

    Parameters
    ----------
    sources
        The images, in the order of the rows' column `image`.
    rows
        That are cut.
    patch
        What each of them becomes.
    fields
        Masks and label maps that are cut with them.
    has_steps
        Whether pixels go through steps.
    """
    kinds = {id(source.kind): source.kind for source in sources}.values()
    # A step gets its window as float32, with the border that all of them need.
    read = patch
    if has_steps:
        border = patch.margin_px + patch.halo_px
        dtype = np.dtype(np.float32)
        read = replace(patch, dtype=dtype, margin_px=border, output_size=None)
    row = max((_row_bytes(kind, read) for kind in kinds), default=0)
    making = max((_making_bytes(kind, read) for kind in kinds), default=0)
    if has_steps:
        # Windows are taken out of regions, and rounded; a region goes through the steps at once.
        row += patch.nbytes + patch.nbytes // patch.dtype.itemsize * _STEP_BYTES
        making += STEP_COPIES * _region_bytes(patch) + BATCH_BYTES
    pixels = math.prod(patch.shape[1:])
    row += sum(pixels * field.dtype.itemsize for field in fields)
    # What annotates is kept, encoded, until the image's file is written.
    kept = min(patch.rows_per_shard, len(rows)) * pixels * sum(f.dtype.itemsize for f in fields)
    held = _most_rows_at_once(rows, patch.rows_per_shard) * row + kept
    annotating = max((_annotating_bytes(source, patch) for source in sources), default=0)
    return held + making + annotating + _remote_bytes(sources) + FIXED_BYTES


def _region_bytes(patch: PatchSpec) -> int:
    """Return what the largest window or region that goes through the steps holds."""
    depth, height, width = patch.read_size
    if patch.halo_px:
        height, width = (
            side + cell_px(own) for side, own in zip((height, width), patch.size[1:], strict=True)
        )
    return patch.channels * depth * height * width * _STEP_BYTES


def _annotating_bytes(source: ImageSource, patch: PatchSpec) -> int:
    return sum(own.held_bytes(source, patch) for own in source.annotations)


def _most_rows_at_once(rows: Rows, rows_per_shard: int) -> int:
    """Return the longest run of rows of one image in one shard: a task holds these at once."""
    n = len(rows)
    if not n:
        return 0
    starts = np.zeros(n, bool)
    starts[::rows_per_shard] = True
    image = rows.columns["image"]
    starts[1:] |= image[1:] != image[:-1]
    return int(np.diff(np.flatnonzero(starts), append=n).max())


def _row_bytes(kind: ImageKind, patch: PatchSpec) -> int:
    """Return what is held for each row: the patch, its sums, and what these are of."""
    nbytes = patch.nbytes
    if patch.averages(kind.resolution):
        nbytes += _SUM_BYTES * math.prod(patch.shape)
        if "max" in (patch.project_z, patch.project_t):
            depth, height, width = _window(kind, patch)
            depth = 1 if patch.project_z else depth
            nbytes += patch.channels * depth * height * width * kind.dtype.itemsize
    return nbytes


def _window(kind: ImageKind, patch: PatchSpec) -> tuple[int, int, int]:
    """Return how many pixels of the level a patch is made of, (z, y, x), at most."""
    resolution = kind.resolution
    z, y, x = (
        min(length, size if zoom == 1 else math.ceil(size * zoom) + 1)
        for size, zoom, length in zip(
            patch.stored_size, resolution.zoom, resolution.shape, strict=True
        )
    )
    return z, y, x


def _making_bytes(kind: ImageKind, patch: PatchSpec) -> int:
    """Return what the most demanding step holds beside the rows."""
    segment = math.prod(kind.segment) * kind.dtype.itemsize
    kept, adding, finishing = kind.held_bytes, 0, 0
    if patch.averages(kind.resolution):
        scratch, adding = _area_bytes(kind, patch)
        kept += scratch
        finishing = MEAN_COPIES * _SUM_BYTES * math.prod(patch.shape)
        if not isinstance(patch.pad, str):
            finishing += _SUM_BYTES * math.prod(patch.stored_size)
    # The one that is written is held while the next one is made.
    encoding = 2 * patch.nbytes
    return kept + max(SEGMENT_COPIES * segment + adding, segment + max(finishing, encoding))


def _area_bytes(kind: ImageKind, patch: PatchSpec) -> tuple[int, int]:
    """Return what `add_area` keeps for the next part of an image, and what it needs beside."""
    _, high, wide = _window(kind, patch)
    _, _, width = kind.resolution.shape
    segment_y, segment_x = kind.segment[3:]
    itemsize = kind.dtype.itemsize
    run = max(1, BAND_BYTES // (segment_y * segment_x * itemsize))
    down, across = (run, 1) if segment_x >= width else (1, run)
    height, width = min(high, down * segment_y) + 1, min(wide, across * segment_x) + 1
    out_y, out_x = (
        min(size, math.ceil(length / zoom) + 1)
        for size, length, zoom in zip(
            patch.stored_size[1:], (height, width), kind.resolution.zoom[1:], strict=True
        )
    )
    kept = height * width * itemsize + out_y * (width + out_x) * _SUM_BYTES
    return kept, out_y * width * (itemsize + _SUM_BYTES) + 2 * out_y * out_x * _SUM_BYTES


def _remote_bytes(sources: Sequence[ImageSource]) -> int:
    """Return what is kept of files on servers, and what of them is under way."""
    files = {path for source in sources for path in source.paths if is_remote(path)}
    if not files:
        return 0
    kept = min(len(files), MAX_OPEN_IMAGES) * MOST_BLOCKS * BLOCK_BYTES
    segment = max(math.prod(s.kind.segment) * s.kind.dtype.itemsize for s in sources)
    return kept + min(segment, MOST_REQUESTS * REQUEST_BYTES)
