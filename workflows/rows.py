"""The rows of a store and its candidates, as columns made image by image.

Ten million patches are a few hundred megabytes here; one Python object each would be gigabytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..tasks.grid import source_span
from .blocks import windows_split
from .candidates import SPLIT_BORDER, Grid, plane_grid
from .images import SurveyedImage
from .order import compact_order
from .sections import PatchesRecipe

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
    shape: tuple[int, int],
    patches: PatchesRecipe,
    blocks: NDArray[np.int8],
    blocks_px: tuple[int, int],
) -> NDArray[np.int8]:
    """Return the split of each candidate by the blocks it reads from, -1 where they differ.

    Its border is read too: what is stored in one split must not come from another's blocks.
    """
    margin, reflect = patches.margin_px, patches.pad == "reflect"
    y0, y1 = source_span(grid.y - margin, patches.size[0] + 2 * margin, shape[0], reflect)
    x0, x1 = source_span(grid.x - margin, patches.size[1] + 2 * margin, shape[1], reflect)
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
    """Lay out the rows: by split, then image, then plane, then in compact order.

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
    for number, image in enumerate(images):
        height, width = image.shape[3:]
        grid = plane_grid((height, width), patches)
        reason = grid.reason
        if blocks is not None and blocks_px is not None:
            of = block_split_of(grid, (height, width), patches, blocks[number], blocks_px)
            reason = np.where((of < 0) & (reason == 0), SPLIT_BORDER, reason).astype(np.uint8)
        else:
            of = np.full(len(grid.y), image_split[number], np.int8)
        kept = np.flatnonzero(reason == 0)
        order = compact_order(
            grid.y[kept],
            grid.x[kept],
            (height, width),
            image.segment,
            patches.stride,
            rows_per_shard,
        )
        kept = kept[order]
        planes = [(t, z) for t in range(image.shape[0]) for z in range(image.shape[2])]
        for t, z in planes:
            candidates.append(_columns(number, t, z, grid, slice(None), reason))
            for split in np.unique(of[kept]).tolist():
                rows[split].append(_columns(number, t, z, grid, kept[of[kept] == split]))
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


def _columns(
    image: int,
    t: int,
    z: int,
    grid: Grid,
    chosen: slice | NDArray[np.intp],
    reason: NDArray[np.uint8] | None = None,
) -> Columns:
    y, x = grid.y[chosen], grid.x[chosen]
    columns: Columns = {
        "image": np.broadcast_to(np.int32(image), y.shape),
        "t": np.broadcast_to(np.int32(t), y.shape),
        "z": np.broadcast_to(np.int32(z), y.shape),
        "y": y,
        "x": x,
    }
    if reason is not None:
        columns |= {"kept": reason == 0, "reason": reason}
    return columns


def _join(parts: list[Columns], names: tuple[str, ...]) -> Columns:
    dtypes = {"y": np.int64, "x": np.int64, "kept": np.bool_, "reason": np.uint8}
    return {
        name: np.concatenate([part[name] for part in parts])
        if parts
        else np.empty(0, dtypes.get(name, np.int32))
        for name in names
    }
