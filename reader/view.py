"""Some rows of a store: samples and blocks by position, statistics, a loader; nothing is copied."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from .errors import IncompleteStoreError
from .field import Field
from .loader import Batch, Loader
from .statistics import Statistics, merge_statistics

if TYPE_CHECKING:
    from .store import Store

#: Rows of a store, ascending; a range where they follow each other.
Rows = range | NDArray[np.int64]


class View:
    """The valid rows of some splits of a store, in row order; made by `Store.select`.

    Parameters
    ----------
    store
        Where the patches are.
    splits
        Names of the splits, in row order.
    rows
        Rows of the store, ascending.
    """

    def __init__(self, store: Store, splits: Sequence[str], rows: Rows) -> None:
        self.store = store
        self.splits = tuple(splits)
        self.rows = rows

    @property
    def fields(self) -> Mapping[str, Field]:
        """The fields by name."""
        return self.store.fields

    @property
    def channels(self) -> tuple[str, ...]:
        """Names along the axis `c` of `image`."""
        return self.store.channels

    @property
    def statistics(self) -> Statistics:
        """Statistics of the view's pixels: count, mean, std, min, max, each of shape (c,)."""
        known = self.store.statistics
        if not all(split in known for split in self.splits):
            raise IncompleteStoreError(
                f"{self.store.path} has no statistics of {', '.join(self.splits)}; "
                "they are written when its run finishes"
            )
        return merge_statistics(known[split] for split in self.splits)

    def select(self, *, split: str | Sequence[str]) -> View:
        """Return the view of some of this view's splits.

        Parameters
        ----------
        split
            Name of a split, or several; the rows come in row order in any case.

        Raises
        ------
        ValueError
            For a split that is not there; it names those that are.
        """
        wanted = [split] if isinstance(split, str) else list(split)
        unknown = [name for name in wanted if name not in self.splits]
        if unknown or not wanted:
            found = ", ".join(map(repr, unknown)) or "none"
            raise ValueError(f"split {found} is not among {', '.join(map(repr, self.splits))}")
        chosen = [name for name in self.splits if name in wanted]
        ranges = [range(*self.store.splits[name]) for name in chosen]
        return View(self.store, chosen, _rows_within(self.rows, ranges))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: SupportsIndex) -> dict[str, Any]:
        """Return one sample: each field's array (c, y, x), and "index", its row in the store."""
        block = self.read([operator.index(position)])
        return {name: array[0] for name, array in block.items()}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[position] for position in range(len(self)))

    def __repr__(self) -> str:
        return f"View({str(self.store.path)!r}, {', '.join(self.splits)}: {len(self)} patches)"

    def read(self, rows: Sequence[int] | NDArray[Any]) -> Batch:
        """Read several samples at once.

        Parameters
        ----------
        rows
            Positions in this view, in any order, repeated at will; negative ones count from the
            end.

        Returns
        -------
        dict
            Each field's array (n, c, y, x), and "index" (n,), int64, the rows in the store.

        Raises
        ------
        IndexError
            For a position that the view does not have.
        """
        positions = np.asarray(rows)
        if positions.ndim != 1 or (positions.size and positions.dtype.kind not in "iu"):
            raise ValueError(
                f"rows are {positions.dtype} of shape {positions.shape}; give a list of integers"
            )
        outside = (positions < -len(self)) | (positions >= len(self))
        if outside.any():
            raise IndexError(
                f"row {positions[outside][0]} is not in this view, which has {len(self)}"
            )
        positions = np.where(positions < 0, positions + len(self), positions).astype(np.int64)
        block = {
            name: np.empty((len(positions), *field.shape), field.dtype)
            for name, field in self.fields.items()
        }
        index = self.read_into(positions, block)
        return block | {"index": index}

    def read_into(
        self, positions: NDArray[np.int64], out: Mapping[str, NDArray[Any]]
    ) -> NDArray[np.int64]:
        """Read samples into given arrays, and return their rows in the store.

        Parameters
        ----------
        positions
            Shape (n,), each from 0 to `len(self)` - 1.
        out
            Field names to arrays of shape (n, *field.shape), the field's dtype, C order.
        """
        rows = _rows_at(self.rows, positions)
        self.store.read_rows_into(rows, out)
        return rows

    def choose_fields(self, names: Sequence[str] | None) -> list[Field]:
        """Return the named fields, or all; a ValueError names those that there are."""
        chosen = list(self.fields) if names is None else list(names)
        unknown = [name for name in chosen if name not in self.fields]
        if unknown or isinstance(names, str):
            raise ValueError(f"fields are {names!r}; give a list out of {list(self.fields)}")
        return [self.fields[name] for name in chosen]

    def loader(
        self,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        num_workers: int = 1,
        prefetch: int = 2,
        drop_last: bool = False,
        fields: Sequence[str] | None = None,
    ) -> Loader:
        """Return a `Loader` of this view; see there for the arguments."""
        return Loader(
            self,
            batch_size,
            shuffle=shuffle,
            seed=seed,
            num_workers=num_workers,
            prefetch=prefetch,
            drop_last=drop_last,
            fields=fields,
        )


def _rows_at(rows: Rows, positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows at some positions."""
    if isinstance(rows, range):
        return positions + rows.start
    return rows[positions]


def _rows_within(rows: Rows, ranges: Sequence[range]) -> Rows:
    """Return those rows that lie in any of the ascending ranges."""
    if not isinstance(rows, range):
        cuts = np.searchsorted(rows, [[part.start, part.stop] for part in ranges])
        return np.concatenate([rows[start:stop] for start, stop in cuts])
    parts = [
        range(max(part.start, rows.start), min(part.stop, rows.stop)) for part in ranges if part
    ]
    parts = [part for part in parts if part]
    if not parts:
        return range(0)
    if all(one.stop == next_.start for one, next_ in pairwise(parts)):
        return range(parts[0].start, parts[-1].stop)
    return np.concatenate([np.arange(part.start, part.stop) for part in parts])
