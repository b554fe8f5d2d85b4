"""A column of `index` or, through `index/image`, of `images`: an entry per position of a view."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import DamagedStoreError

#: Rows of a store, ascending; a range where they follow each other.
Rows = range | NDArray[np.int64]


class ColumnGroup(Protocol):
    """What `Columns` of one store and `JoinedColumns` of several have in common."""

    def __getitem__(self, name: str, /) -> NDArray[Any]:
        """Return a column."""

    def __contains__(self, name: object, /) -> bool:
        """Whether there is a column of this name."""

    def __iter__(self) -> Iterator[str]:
        """Return an iterator over the columns' names."""

    def enumeration(self, name: str) -> tuple[str, ...] | None:
        """Return what the integers of a column stand for, or None."""


class Column(NamedTuple):
    """The entries of a column at some positions.

    Attributes
    ----------
    table
        Shape (k, …); texts are objects.
    codes
        Integers, shape (n,): where in the table each position's entry stands. None where the
        table itself has one entry per position.
    """

    table: NDArray[Any]
    codes: NDArray[Any] | None

    @property
    def entries(self) -> NDArray[Any]:
        """One entry per position, shape (n, …)."""
        return self.table if self.codes is None else self.table[self.codes]

    @property
    def classes(self) -> NDArray[np.int64]:
        """Which of the different entries, numbered in ascending order, each position has."""
        _, numbers = np.unique(self.table, return_inverse=True)
        numbers = numbers.reshape(-1).astype(np.int64, copy=False)
        return numbers if self.codes is None else numbers[self.codes]


class Lookup:
    """The columns of a store at some rows. A name in both groups is that of `index`.

    Entries of an enumeration are their names: texts, and "" where a number has none.

    Parameters
    ----------
    index, images
        The store's columns.
    rows
        Which of the store.
    """

    def __init__(self, index: ColumnGroup, images: ColumnGroup, rows: Rows) -> None:
        self._index = index
        self._images = images
        self._rows = rows
        self._found: dict[str, Column] = {}

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def names(self) -> list[str]:
        """Of all columns, those of `index` first."""
        images = list(self._images) if "image" in self._index else []
        return [*self._index, *(name for name in images if name not in self._index)]

    def __getitem__(self, name: str) -> Column:
        if name not in self._found:
            if name not in self.names:
                raise ValueError(
                    f"there is no column {name!r}; there are {', '.join(self.names) or 'none'}"
                )
            self._found[name] = self._of_rows(name) if name in self._index else self._of_image(name)
        return self._found[name]

    @cached_property
    def images(self) -> NDArray[np.int64]:
        """The image of each position, as its number in `images`; shape (n,)."""
        return self._at_rows("image").astype(np.int64, copy=False)

    def _at_rows(self, name: str) -> NDArray[Any]:
        values = self._index[name]
        if isinstance(self._rows, range):
            return values[self._rows.start : self._rows.stop]
        return values[self._rows]

    def _of_rows(self, name: str) -> Column:
        values = self._at_rows(name)
        names = self._index.enumeration(name)
        if names is None:
            return Column(_plain(values), None)
        return Column(_texts([*names, ""]), np.minimum(values, len(names)))

    def _of_image(self, name: str) -> Column:
        table = _plain(self._images[name])
        if len(self.images) and not 0 <= self.images.min() <= self.images.max() < len(table):
            raise DamagedStoreError(
                f"index/image names image {self.images.max()}, and images/{name} has {len(table)}; "
                "make or copy the store again"
            )
        names = self._images.enumeration(name)
        if names is not None:
            table = _texts([*names, ""])[np.minimum(table, len(names))]
        return Column(table, self.images)


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    """Return texts as objects, which all compare alike and share their memory when repeated."""
    return values.astype(object) if values.dtype.kind in "UT" else values


def _texts(texts: list[str]) -> NDArray[Any]:
    return np.array(texts, dtype=object)
