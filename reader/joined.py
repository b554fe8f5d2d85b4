"""The columns of several stores as one: those that all of them have, one store after another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .columns import Columns
from .errors import StoreError


class JoinedColumns(Mapping[str, NDArray[Any]]):
    """Columns of the same names in several stores, as a mapping; joined on first use, read-only.

    Numbers of an enumeration are those of all its names, in order of first appearance; a number
    without a name stays one, `enumeration` has one name fewer.

    Parameters
    ----------
    groups
        The columns of each store.
    offsets
        For columns that number something: what to add to each store's.
    extra
        Columns to add.
    """

    def __init__(
        self,
        groups: Sequence[Columns],
        offsets: Mapping[str, Sequence[int]],
        extra: Mapping[str, NDArray[Any]],
    ) -> None:
        self._groups = tuple(groups)
        self._offsets = offsets
        self._joined = dict(extra)
        for column in self._joined.values():
            column.flags.writeable = False
        common = [name for name in groups[0] if all(name in group for group in groups)]
        self._names = [*extra, *(name for name in common if name not in extra)]
        self._extra = frozenset(extra)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __getitem__(self, name: str) -> NDArray[Any]:
        self._check(name)
        if name not in self._joined:
            column = self._join(name)
            column.flags.writeable = False
            self._joined[name] = column
        return self._joined[name]

    def __repr__(self) -> str:
        return f"JoinedColumns({len(self._groups)} stores: {', '.join(self._names)})"

    def enumeration(self, name: str) -> tuple[str, ...] | None:
        """Return what the integers of a column stand for, in order; None if it is just a column."""
        self._check(name)
        if name in self._extra:
            return None
        each = [group.enumeration(name) for group in self._groups]
        if all(names is None for names in each):
            return None
        return tuple(dict.fromkeys(text for names in each for text in names or ()))

    def meanings(self, name: str) -> tuple[str, ...]:
        """Return what the integers of an enumeration stand for, in order."""
        names = self.enumeration(name)
        if names is None:
            raise StoreError(f"the column {name!r} is not an enumeration")
        return names

    def _check(self, name: str) -> None:
        if name not in self._names:
            raise KeyError(
                f"not all of the stores have a column {name!r}; all have {', '.join(self._names)}"
            )

    def _join(self, name: str) -> NDArray[Any]:
        columns = [group[name] for group in self._groups]
        kinds = {("text" if c.dtype.kind in "OUT" else "numbers", c.shape[1:]) for c in columns}
        if len(kinds) > 1:
            raise StoreError(
                f"the column {name!r} is not the same thing in all stores: {self._groups} have "
                f"{', '.join(f'{c.dtype} of shape {c.shape}' for c in columns)}"
            )
        if columns[0].dtype.kind in "OUT":
            return np.concatenate([column.astype(object) for column in columns])
        names = self.enumeration(name)
        if names is not None:
            columns = [
                _renumbered(column, group.enumeration(name), names)
                for column, group in zip(columns, self._groups, strict=True)
            ]
        elif name in self._offsets:
            offsets = self._offsets[name]
            columns = [c.astype(np.int64) + add for c, add in zip(columns, offsets, strict=True)]
        return np.concatenate(columns)


def _renumbered(
    column: NDArray[Any], old: tuple[str, ...] | None, names: tuple[str, ...]
) -> NDArray[np.int64]:
    """Return the numbers of an enumeration's names among all names; other numbers come after."""
    numbers = np.array([*(names.index(text) for text in old or ()), len(names)], np.int64)
    renumbered: NDArray[np.int64] = numbers[np.minimum(column, len(old or ()))]
    return renumbered
