"""What a task holds in memory at most: its patches, and what making them takes.

A task reads the patches of one image, then finishes them where they are averages, then encodes one
after the other; what it needs for these goes and is never held together. Measured in the tests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..reader.remote import REQUEST_BYTES, is_remote
from ..reader.remote_fetch import MOST_REQUESTS
from ..tasks.annotation import AnnotationField
from ..tasks.annotation_thresholds import MAX_KEPT_BYTES
from ..tasks.image import BAND_BYTES
from ..tasks.mirrored import BATCH_BYTES
from ..tasks.opened import MAX_OPEN_IMAGES
from ..tasks.patches import PatchSpec
from ..tasks.remote_bytes import BLOCK_BYTES, MOST_BLOCKS
from ..tasks.source import ImageKind, ImageSource
from ..tasks.statistics import is_exact
from .rows import Rows

#: What is held beside: a band of strips, the shard's index, the tables of open files.
FIXED_BYTES = 8_000_000
#: A segment as it is stored, as it is decoded, and copied out of there: compressed noise is as
#: large as what it holds.
SEGMENT_COPIES = 3
#: Of sums, when they become means: the quotient, rounded, and kept in range.
MEAN_COPIES = 3
#: Of one window, while a step makes another of it: most by `hot_pixels`.
STEP_COPIES = 10
#: Of a histogram whose pixels lie on both sides of 0 and are small numbers.
FLOAT_BINS = 9 << 17
_SUM_BYTES = np.dtype(np.float64).itemsize


@dataclass(frozen=True)
class Stepping:
    """What is known of a recipe's steps before they are bound.

    Attributes
    ----------
    halo_px
        What those that work on patches read around each, together.
    of_patch_px
        The part of it that belongs to steps which each patch goes through by itself.
    spread_px
        How far apart, (y, x), windows begin at most that go through the others together.
    is_before
        Whether some work on the pixels of the level.
    held_bytes
        That a process keeps for them.
    """

    halo_px: int
    of_patch_px: int
    spread_px: tuple[int, int]
    is_before: bool = False
    held_bytes: int = 0


def peak_bytes(
    sources: Sequence[ImageSource],
    rows: Rows,
    patch: PatchSpec,
    fields: Sequence[AnnotationField] = (),
    steps: Stepping | None = None,
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
    steps
        What pixels go through.
    """
    kinds = {id(source.kind): source.kind for source in sources}.values()
    at_once = _most_rows_at_once(rows, patch.rows_per_shard)
    cutting = max((_cutting_bytes(kind, patch, steps, at_once) for kind in kinds), default=0)
    pixels = math.prod(patch.shape[1:]) * sum(field.dtype.itemsize for field in fields)
    # What annotates is kept, encoded, until the image's file is written.
    fields_bytes = pixels * (at_once + min(patch.rows_per_shard, len(rows)))
    held = fields_bytes + _annotating_bytes(sources, patch, at_once) + _histogram_bytes(patch)
    if steps:
        held += steps.held_bytes
    return cutting + held + _remote_bytes(sources) + FIXED_BYTES


def _cutting_bytes(kind: ImageKind, patch: PatchSpec, steps: Stepping | None, at_once: int) -> int:
    """Return what the patches of an image take while they are made."""
    if steps is None:
        return at_once * _row_bytes(kind, patch) + _making_bytes(kind, patch)
    is_moved = patch.averages(kind.resolution) or bool(patch.project_z or patch.project_t)
    alone = steps.halo_px if is_moved or steps.is_before else steps.of_patch_px
    # A step gets its window as float32, with the border that it needs.
    border = patch.margin_px + alone
    dtype = np.dtype(np.float32)
    read = replace(patch, dtype=dtype, margin_px=border, output_size=None)
    # Steps before hand over float32.
    level = replace(kind, dtype=dtype) if steps.is_before else kind
    row = _row_bytes(level, read) + patch.nbytes
    making = _making_bytes(kind, read)
    shared = steps.halo_px - alone
    if steps.is_before:
        depth, height, width = _window(kind, read)
        depth = kind.segment[2] if patch.project_z else min(depth, kind.segment[2])
        largest = patch.channels * depth * height * width * dtype.itemsize
        making += _mirrored_bytes(largest, largest, at_once)
    if shared:
        depth, height, width = read.stored_size
        sides = height + 2 * shared, width + 2 * shared
        window, region = (
            patch.channels * depth * dtype.itemsize * math.prod(each)
            for each in (sides, [a + b for a, b in zip(sides, steps.spread_px, strict=True)])
        )
        return at_once * row + making + _mirrored_bytes(window, region, at_once)
    return at_once * row + making + STEP_COPIES * read.nbytes


def _mirrored_bytes(window: int, largest: int, at_once: int) -> int:
    """Return what regions take that go through steps one after another, and what steps make."""
    # Windows are taken together where that is less than each by itself.
    largest = min(largest, at_once * window)
    return min(at_once * window, BATCH_BYTES + largest) + STEP_COPIES * largest


def _histogram_bytes(patch: PatchSpec) -> int:
    bins = 1 << 8 * patch.dtype.itemsize if is_exact(patch.dtype) else FLOAT_BINS
    # One grows while it is copied.
    return (patch.channels + 1) * bins * np.dtype(np.int64).itemsize


def _annotating_bytes(sources: Sequence[ImageSource], patch: PatchSpec, at_once: int) -> int:
    """Return what masks and label maps are made of, and what is kept of other images."""
    making, kept = 0, 0
    for source in sources:
        making = max(
            making, sum(own.held_bytes(source, patch, at_once) for own in source.annotations)
        )
        kept += sum(own.kept_bytes(source, patch) for own in source.annotations)
    return making + min(kept, MAX_KEPT_BYTES)


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
