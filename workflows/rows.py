"""The rows of a store and its candidates, as columns made image by image.

Ten million patches are a few hundred megabytes here; one Python object each would be gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from ..tasks.resolution import Resolution
from .blocks import windows_split
from .candidates import SPLIT_BORDER, Grid, image_grid
from .images import SurveyedImage
from .order import compact_order
from .patches_section import PatchesRecipe
from .spans import full_span, level_span

Columns = dict[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Rows:
    """What becomes a patch, in the order of the store, and what was considered.

    Attributes
    ----------
    columns
        Of the rows: image (int32), t, z (int32), y, x (int64), split (uint8).
    candidates
        Columns image, t, z, y, x, kept (bool), reason (uint8), in the order of the images.
    splits
        First row and one past the last of each split, by number.
    """

    columns: Columns
    candidates: Columns
    splits: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.columns["image"])


def block_split_of(
    grid: Grid,
    resolution: Resolution,
    patches: PatchesRecipe,
    blocks: NDArray[np.int8],
    blocks_px: tuple[int, int],
) -> NDArray[np.int8]:
    """Return the split of each candidate by the blocks it reads from, -1 where they differ.

    Its border is read too: what is stored in one split must not come from another's blocks.
    """
    margin, reflect = patches.margin_px, patches.pad == "reflect"
    depth, height, width = patches.size_zyx
    stored = (depth, height + 2 * margin, width + 2 * margin)
    (y0, y1), (x0, x1) = (
        full_span(level_span(corners, axis, resolution, stored, margin, reflect), axis, resolution)
        for axis, corners in ((1, grid.y), (2, grid.x))
    )
    return windows_split(blocks, blocks_px, y0, y1, x0, x1)


def make_rows(
    images: Sequence[SurveyedImage],
    patches: PatchesRecipe,
    n_splits: int,
    image_split: NDArray[np.int8],
    blocks: Sequence[NDArray[np.int8]] | None,
    blocks_px: tuple[int, int] | None,
    rows_per_shard: int,
) -> Rows:
    """Lay out the rows: by split, then image, then time, then in compact order.

    Parameters
    ----------
    images
        In the order of `images/`.
    patches
        What is cut.
    n_splits
        Number of splits.
    image_split
        int8, shape (images,): the split of each image; not used with blocks.
    blocks, blocks_px
        The split of each block of each image, where splits are spatial.
    rows_per_shard
        Patches in a shard.
    """
    rows: list[list[Columns]] = [[] for _ in range(n_splits)]
    candidates: list[Columns] = []
    for numbers in _alike(images, blocks is not None):
        image = images[numbers[0]]
        resolution = image.source.kind.resolution
        grid = image_grid(resolution, patches)
        reason = grid.reason
        if blocks is not None and blocks_px is not None:
            of = block_split_of(grid, resolution, patches, blocks[numbers[0]], blocks_px)
            reason = np.where((of < 0) & (reason == 0), SPLIT_BORDER, reason).astype(np.uint8)
        kept = np.flatnonzero(reason == 0)
        kept = kept[_order(grid, kept, image, patches, rows_per_shard)]
        every = _columns(numbers, image, grid, np.arange(len(grid.y)))
        candidates.append(every | _kept(reason, numbers, image))
        if blocks is not None:
            for split in np.unique(of[kept]).tolist():
                rows[split].append(_columns(numbers, image, grid, kept[of[kept] == split]))
        else:
            for split in np.unique(image_split[numbers]).tolist():
                own = numbers[image_split[numbers] == split]
                rows[split].append(_columns(own, image, grid, kept))
    parts = [part for split in rows for part in split]
    columns = _join(parts, ("image", "t", "z", "y", "x"))
    lengths = [sum(len(part["y"]) for part in split) for split in rows]
    ends = np.cumsum(lengths).tolist()
    columns["split"] = np.repeat(np.arange(n_splits, dtype=np.uint8), lengths)
    return Rows(
        columns=columns,
        candidates=_join(candidates, ("image", "t", "z", "y", "x", "kept", "reason")),
        splits=tuple((end - length, end) for end, length in zip(ends, lengths, strict=True)),
    )


def _order(
    grid: Grid,
    kept: NDArray[np.intp],
    image: SurveyedImage,
    patches: PatchesRecipe,
    rows_per_shard: int,
) -> NDArray[np.intp]:
    """Return the order of the kept candidates of one time of an image, in pixels of its level."""
    resolution = image.source.kind.resolution
    z, y, x = (
        resolution.origins(axis, corners[kept]).astype(np.int64)
        for axis, corners in enumerate((grid.z, grid.y, grid.x))
    )
    zoom = resolution.zoom[1:]
    stride_y, stride_x = (step * z for step, z in zip(patches.stride_zyx[1:], zoom, strict=True))
    _, shape_y, shape_x = resolution.shape
    return compact_order(
        z,
        y,
        x,
        (shape_y, shape_x),
        image.source.kind.segment[2:],
        (stride_y, stride_x),
        rows_per_shard,
    )


def _alike(images: Sequence[SurveyedImage], one_by_one: bool) -> Iterator[NDArray[np.int32]]:
    """Yield runs of images that have the same grid, by number: many small images are columns."""

    def key(number: int) -> object:
        image = images[number]
        alone = one_by_one or image.focus is not None
        return number if alone else (id(image.source.kind), image.times)

    for _, run in groupby(range(len(images)), key):
        yield np.fromiter(run, np.int32)


def _columns(
    numbers: NDArray[np.int32], image: SurveyedImage, grid: Grid, chosen: NDArray[np.intp]
) -> Columns:
    """Return the chosen positions of images with one grid: by image, then time, then position."""
    times = np.array(image.times, np.int32)
    often = len(numbers) * len(times)
    z = np.tile(grid.z[chosen], often)
    if image.focus is not None:
        z = np.repeat(image.focus[:, 0], len(chosen))
    return {
        "image": np.repeat(numbers, len(times) * len(chosen)),
        "t": np.tile(np.repeat(times, len(chosen)), len(numbers)),
        "z": z.astype(np.int32),
        "y": np.tile(grid.y[chosen], often),
        "x": np.tile(grid.x[chosen], often),
    }


def _kept(reason: NDArray[np.uint8], numbers: NDArray[np.int32], image: SurveyedImage) -> Columns:
    often = len(numbers) * len(image.times)
    return {"kept": np.tile(reason == 0, often), "reason": np.tile(reason, often)}


def _join(parts: list[Columns], names: tuple[str, ...]) -> Columns:
    dtypes = {"y": np.int64, "x": np.int64, "kept": np.bool_, "reason": np.uint8}
    return {
        name: np.concatenate([part[name] for part in parts])
        if parts
        else np.empty(0, dtypes.get(name, np.int32))
        for name in names
    }
