"""Writes the columns of a store's rows, block by block, and merges their statistics on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from ..tasks.statistics import is_exact
from .columns import CHUNK_ROWS, add_column, write_column
from .ledger import Ledger
from .planned import Plan
from .split_statistics import SplitStatistics
from .summary import Merged, row_columns


class ImageStatistics:
    """What is known of the stored pixels of one image, by channel.

    Attributes
    ----------
    merged
        Of each channel.
    clipped
        int64, shape (c, 2): pixels that lay below the store's type, and above it.
    """

    def __init__(self, channels: int, exact: bool) -> None:
        self.merged = [Merged(exact) for _ in range(channels)]
        self.clipped = np.zeros((channels, 2), np.int64)

    def add(self, records: NDArray[Any]) -> None:
        """Add rows of the image, records of `record_dtype`."""
        for number, channel in enumerate(self.merged):
            channel.add(records["moments"][:, number])
        self.clipped += records["clipped"].sum(axis=0, dtype=np.int64)


def write_index(
    staged: Path, plan: Plan, ledger: Ledger
) -> tuple[SplitStatistics, dict[int, ImageStatistics], int]:
    """Write `index/`, and merge the statistics in the order of the rows.

    Returns
    -------
    by_split, by_image, void
        Statistics of the splits; of the images that have rows, by number; and how many rows are
        void.
    """
    group = zarr.create_group(staged, zarr_format=3)
    rows, exact = plan.rows, is_exact(plan.patch.dtype)
    names = {"split": plan.splits.names, **rows.names}
    for name, values in rows.columns.items():
        named = {"names": list(names[name])} if name in names else None
        write_column(group, name, values, ["patch"], named)
    levels = np.array([image.source.kind.resolution.level for image in plan.images], np.uint8)
    write_column(group, "level", levels[rows.columns["image"]], ["patch"])
    for name, planes in _focus_columns(plan):
        write_column(group, name, planes, ["patch"])
    valid_column = add_column(group, "valid", np.dtype(bool), (len(rows),), ["patch"])
    measured = _Measured(group, plan)
    by_split = SplitStatistics(plan.patch.dtype, plan.splits.names, plan.channels, exact)
    by_image: dict[int, ImageStatistics] = {}
    void = 0
    for shards, where in _blocks(plan):
        records = np.concatenate([ledger.records(shard) for shard in shards])
        valid = np.concatenate([ledger.shards[shard].valid for shard in shards])
        valid_column[where] = valid
        void += int((~valid).sum())
        measured.write(where, records, rows.columns["image"][where])
        for shard in shards:
            by_split.histograms.add_packed(ledger.histograms(shard))
        for number, part in _runs(rows.columns["split"][where]):
            by_split.add(number, records[part])
        for number, part in _runs(rows.columns["image"][where]):
            if number not in by_image:
                by_image[number] = ImageStatistics(len(plan.channels), exact)
            by_image[number].add(records[part])
    return by_split, by_image, void


class _Measured:
    """The columns that come from the records of rows."""

    def __init__(self, group: zarr.Group, plan: Plan) -> None:
        self._plan = plan
        self._columns: dict[str, zarr.Array[Any]] = {}
        of_pixels = np.dtype(plan.patch.dtype)
        for channel in plan.channels:
            for statistic, dtype in (
                ("count", np.dtype(np.uint32)),
                ("mean", np.dtype(np.float64)),
                ("std", np.dtype(np.float64)),
                ("min", of_pixels),
                ("max", of_pixels),
            ):
                name = f"{statistic}_{channel}"
                shape = (len(plan.rows),)
                self._columns[name] = add_column(group, name, dtype, shape, ["patch"])

        for label in plan.labels:
            named = None if label.names is None else {"names": list(label.names)}
            shape = (len(plan.rows),)
            self._columns[label.name] = add_column(
                group, label.name, label.dtype, shape, ["patch"], named
            )

    def write(self, where: slice, records: NDArray[Any], image: NDArray[np.generic]) -> None:
        """Write the columns of some rows, of which each is of an image."""
        for label in self._plan.labels:
            self._columns[label.name][where] = label.values(records, image.astype(np.int32))
        for number, channel in enumerate(self._plan.channels):
            columns = row_columns(records["moments"][:, number], self._plan.patch.dtype)
            for statistic, values in columns.items():
                self._columns[f"{statistic}_{channel}"][where] = values


def _blocks(plan: Plan) -> Iterator[tuple[range, slice]]:
    """Yield runs of shards with their rows, of bounded size and aligned to the columns' chunks."""
    at_once = max(1, CHUNK_ROWS // plan.patch.rows_per_shard)
    for first in range(0, plan.n_shards, at_once):
        shards = range(first, min(first + at_once, plan.n_shards))
        yield shards, slice(plan.shard_rows(shards[0]).start, plan.shard_rows(shards[-1]).stop)


def _focus_columns(plan: Plan) -> Iterator[tuple[str, NDArray[np.int32]]]:
    """Yield for each channel the plane of each row, where every channel has a focus of its own."""
    if plan.recipe.patches.focus != "each":
        return
    image, t = plan.rows.columns["image"], plan.rows.columns["t"]
    first = np.cumsum([0, *(len(own.times) for own in plan.images)])
    focus = np.concatenate(
        [own.focus[: len(own.times)] for own in plan.images if own.focus is not None]
    )
    begins = np.array([own.times.start for own in plan.images])
    for number, channel in enumerate(plan.channels):
        yield f"focus_{channel}", focus[first[image] + t - begins[image], number]


def _runs(values: NDArray[Any]) -> Iterator[tuple[int, slice]]:
    """Yield each value with the run of places where it stands."""
    edges = np.flatnonzero(values[1:] != values[:-1]) + 1
    starts = [0, *edges.tolist()]
    for start, stop in zip(starts, [*starts[1:], len(values)], strict=True):
        yield int(values[start]), slice(start, stop)
