"""Some rows of a store: samples and blocks by position, statistics, a loader; nothing is copied."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, SupportsIndex, Unpack

import numpy as np
from numpy.typing import NDArray

from .field import Field
from .lookup import Lookup, Rows
from .options import Batch, LoaderOptions
from .selection import (
    group_columns,
    in_groups,
    places_of,
    rows_in_both,
    rows_kept,
    rows_within,
    shard_edges,
    split_ranges,
)
from .some_rows import rows_statistics
from .statistics import Statistics
from .where import holds

if TYPE_CHECKING:
    from .loader import Loader
    from .several import SeveralStores
    from .store import Store


class View:
    """Some valid rows of a store, in row order; made by `Store.select`.

    Parameters
    ----------
    store
        Where the patches are.
    splits
        Names of the splits that its rows are from, in the store's order; after a condition there
        may be none of one of them.
    rows
        Rows of the store, ascending.
    """

    def __init__(self, store: Store | SeveralStores, splits: Sequence[str], rows: Rows) -> None:
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

    @cached_property
    def statistics(self) -> Statistics:
        """Statistics of the view's pixels: count, mean, std, min, max, each of shape (c,).

        Of the pixels that a patch has from its image: neither padding nor the border of
        `patches.margin_px` counts, and a pixel in two patches counts twice. Exact for whole
        splits and whole images, whose statistics the store keeps. Of other rows they are merged
        from the columns of the patches, which is as exact, but for NaN pixels of float images:
        there a patch weighs as if it had none.
        """
        return rows_statistics(self.store.parts, self.rows, len(self.channels))

    @property
    def block_starts(self) -> NDArray[np.int64]:
        """The positions, ascending from 0, at which the samples of another shard begin."""
        starts = np.unique(places_of(self.rows, shard_edges(self.store.parts)))
        return starts[starts < len(self)]

    def column(self, name: str) -> NDArray[Any]:
        """Return a column of `index` or, of each position's image, of `images`.

        A name in both is that of `index`; entries of an enumeration (`split`, …) are its names.
        Texts are objects. Shape (n,), one per position, or (n, …) for columns of several values.

        Raises
        ------
        ValueError
            For a column that is not there; it names those that are.
        """
        return self._columns[name].entries

    def classes(self, name: str) -> NDArray[np.int64]:
        """Return which of a column's different values each position has: numbers from 0, (n,).

        Raises
        ------
        ValueError
            For a column that is not there, or has several values per entry.
        """
        column = self._columns[name]
        if column.table.ndim != 1:
            raise ValueError(
                f"the column {name!r} has entries of shape {column.table.shape[1:]}; "
                "classes need one of single values"
            )
        return column.classes

    @property
    def _columns(self) -> Lookup:
        return Lookup(self.store.index, self.store.images, self.rows)

    def select(
        self,
        *,
        split: str | Sequence[str] | None = None,
        group: str | Sequence[str] | Sequence[tuple[str, ...]] | None = None,
        where: str | None = None,
    ) -> View:
        """Return the view of some of this view's rows: those that fit all that is given.

        Parameters
        ----------
        split
            Name of a split, or several; the rows come in row order in any case.
        group
            A group of the recipe's `images.group`, or several: the value of its column or, where
            it has several, a tuple of their values. Without such columns each image is a group,
            by its `id`.
        where
            A condition on columns, see `column`, in Python's syntax:
            `'site in ("1", "2") and mean_DAPI > 200'`. There are comparisons (chained ones too),
            `in` and `not in` with a tuple, and, or, not, + - * / // %, parentheses, numbers and
            texts; `column("a name")` stands for a name that is none in Python. Nothing of it is
            run. It may leave nothing.

        Raises
        ------
        ValueError
            For a split or a group that this view does not have, with those that it has; for a
            condition that is none.

        Examples
        --------
        A view of a view is as good as any: `view.select(split="train").select(where="t == 0")`.
        """
        names, rows = self.splits, self.rows
        if split is not None:
            names = self._chosen([split] if isinstance(split, str) else list(split))
            rows = rows_within(rows, split_ranges(self.store.parts, names))
        if group is not None:
            # Of this view, whatever its splits: a group of another split leaves nothing.
            kept = in_groups(group, group_columns(self.store.parts), self._columns)
            rows = rows_in_both(rows, rows_kept(self.rows, kept))
        if where is not None:
            columns = Lookup(self.store.index, self.store.images, rows)
            rows = rows_kept(rows, holds(where, columns))
        return View(self.store, names, rows)

    def _chosen(self, splits: list[str]) -> tuple[str, ...]:
        unknown = [name for name in splits if name not in self.splits]
        if unknown or not splits:
            found = ", ".join(map(repr, unknown)) or "none"
            raise ValueError(f"split {found} is not among {', '.join(map(repr, self.splits))}")
        return tuple(name for name in self.splits if name in splits)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: SupportsIndex) -> dict[str, Any]:
        """Return one sample: each field's array (c, y, x), and "index", its row in the store."""
        block = self.read([operator.index(position)])
        return {name: array[0] for name, array in block.items()}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[position] for position in range(len(self)))

    def __repr__(self) -> str:
        where = " + ".join(str(store.path) for _, store in self.store.parts)
        return f"View({where!r}, {', '.join(self.splits)}: {len(self)} patches)"

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
        self,
        positions: NDArray[np.int64],
        out: Mapping[str, NDArray[Any]],
        corners: NDArray[np.int64] | None = None,
    ) -> NDArray[np.int64]:
        """Read samples into given arrays, and return their rows in the store.

        Parameters
        ----------
        positions
            Shape (n,), each from 0 to `len(self)` - 1.
        out
            Field names to arrays of shape (n, *field.shape), the field's dtype, C order.
        corners
            Of windows in the patches, see `Store.read_rows_into`.
        """
        rows = self.rows_at(positions)
        self.store.read_rows_into(rows, out, corners)
        return rows

    def rows_at(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows in the store of some positions, each from 0 to `len(self)` - 1."""
        if isinstance(self.rows, range):
            return positions + self.rows.start
        return self.rows[positions]

    def choose_fields(self, names: Sequence[str] | None) -> list[Field]:
        """Return the named fields, or all; a ValueError names those that there are."""
        chosen = list(self.fields) if names is None else list(names)
        unknown = [name for name in chosen if name not in self.fields]
        if unknown or isinstance(names, str):
            raise ValueError(f"fields are {names!r}; give a list out of {list(self.fields)}")
        return [self.fields[name] for name in chosen]

    def loader(self, batch_size: int, **options: Unpack[LoaderOptions]) -> Loader:
        """Return a `Loader` of this view; the options are its keyword arguments."""
        from .loader import Loader  # which reads views

        return Loader(self, batch_size, **options)
