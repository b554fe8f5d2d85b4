"""Spatial splits of large images: blocks of pixels fall into splits, whole.

A patch belongs to the split of the blocks that it reads from; where those differ it must be
rejected, so that no source pixel lies in two splits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .assign import assign
from .splits import SplitShare, class_counts, share_table, split_fractions

if TYPE_CHECKING:
    from .recipe import Recipe


@dataclass(frozen=True)
class BlockSplits:
    """The split of each block of each image.

    Attributes
    ----------
    names
        Of the splits, in the order of the store's rows.
    maps
        Per image, int8, shape (blocks in y, blocks in x): index into `names`.
    table
        Shares by the patches' corners, before patches across a border are rejected; make it anew
        with `share_table` and check it with `require_patches` once they are.
    """

    names: tuple[str, ...]
    maps: tuple[NDArray[np.int8], ...]
    table: tuple[SplitShare, ...]


def block_counts(
    shape_yx: tuple[int, int], blocks_px: tuple[int, int], y: ArrayLike, x: ArrayLike
) -> NDArray[np.int64]:
    """Count patches per block, by their top-left corners.

    Parameters
    ----------
    shape_yx
        Of the image, in level-0 pixels.
    blocks_px
        Size of a block (y, x); blocks start at the image's corner, the last may be cut off.
    y, x
        Corners in level-0 pixels.

    Returns
    -------
    numpy.ndarray
        int64, shape (blocks in y, blocks in x).
    """
    grid = [max(1, -(-n // size)) for n, size in zip(shape_yx, blocks_px, strict=True)]
    rows = np.clip(np.asarray(y, np.int64) // blocks_px[0], 0, grid[0] - 1)
    cols = np.clip(np.asarray(x, np.int64) // blocks_px[1], 0, grid[1] - 1)
    flat = np.bincount(rows * grid[1] + cols, minlength=grid[0] * grid[1])
    return flat.astype(np.int64).reshape(grid)


def assign_blocks(
    recipe: Recipe,
    image_ids: Sequence[str],
    counts: Sequence[NDArray[np.int64]],
    columns: Sequence[Mapping[str, str]],
) -> BlockSplits:
    """Assign the blocks of all images to splits, each block a group of its own.

    Blocks without a patch's corner go into the largest split, so that every window has a clear
    answer.

    Parameters
    ----------
    recipe
        With `split.blocks_px`.
    image_ids
        Unique.
    counts
        Per image, patches per block, as `block_counts` returns them.
    columns
        Named groups of each image, for `split.stratify`.

    Raises
    ------
    SplitError
        When there are fewer blocks with patches than splits.
    """
    if recipe.split is None or recipe.split.blocks_px is None:
        raise ValueError("the recipe has no split.blocks_px; use assign_splits")
    fractions = split_fractions(recipe.split)
    sizes = [image.size for image in counts]
    keys = [
        f"{name}\x1f{y},{x}"
        for name, image in zip(image_ids, counts, strict=True)
        for y, x in np.ndindex(*image.shape)
    ]
    flat = np.concatenate([image.ravel() for image in counts]) if counts else np.zeros(0, np.int64)
    kinds = [column for column, size in zip(columns, sizes, strict=True) for _ in range(size)]
    classes = class_counts(recipe.split, np.arange(len(flat)), len(flat), flat, kinds)
    chosen = assign(classes, fractions, keys, recipe.seed)
    patches = np.zeros(len(fractions), np.int64)
    np.add.at(patches, chosen, flat)
    groups = np.bincount(chosen, minlength=len(fractions))
    ends = np.cumsum(sizes)
    maps = tuple(
        chosen[end - size : end].astype(np.int8).reshape(image.shape)
        for image, size, end in zip(counts, sizes, ends.tolist(), strict=True)
    )
    names = tuple(fractions)
    return BlockSplits(names, maps, share_table(names, fractions, patches, groups))


def windows_split(
    block_map: NDArray[np.int8],
    blocks_px: tuple[int, int],
    y0: ArrayLike,
    y1: ArrayLike,
    x0: ArrayLike,
    x1: ArrayLike,
) -> NDArray[np.int8]:
    """Return the split of each window, -1 for one that touches blocks of two splits.

    Parameters
    ----------
    block_map
        Shape (blocks in y, blocks in x): the split of each block.
    blocks_px
        Size of a block (y, x) in level-0 pixels; it may be smaller than a window.
    y0, y1, x0, x1
        The pixels that a window reads, [y0, y1) and [x0, x1), not empty; what lies beyond the
        image is left out of account.
    """
    top, bottom = _span(y0, y1, blocks_px[0], block_map.shape[0])
    left, right = _span(x0, x1, blocks_px[1], block_map.shape[1])
    found = block_map[top, left]
    area = (bottom - top) * (right - left)
    # One table of prefix sums per split: a window is of one split if all its blocks are.
    result = np.full(found.shape, -1, np.int8)
    for split in np.unique(block_map).tolist():
        sums = np.zeros((block_map.shape[0] + 1, block_map.shape[1] + 1), np.int64)
        sums[1:, 1:] = (block_map == split).cumsum(axis=0).cumsum(axis=1)
        inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
        result[(found == split) & (inside == area)] = split
    return result


def _span(
    start: ArrayLike, stop: ArrayLike, size: int, blocks: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first block of each window and one past the last."""
    start, stop = np.asarray(start, np.int64), np.asarray(stop, np.int64)
    if (stop <= start).any():
        raise ValueError("a window must have at least one pixel: its stop must be above its start")
    first = np.clip(start // size, 0, blocks - 1)
    return first, np.clip((stop - 1) // size, first, blocks - 1) + 1
