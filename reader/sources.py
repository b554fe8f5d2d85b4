"""What a loader can read: a view of a store, arrays, or anything with a length and items."""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .buffers import Layout
from .view import View

#: The name of a sample that is an array rather than a dict of arrays.
DATA = "data"


class Source(Protocol):
    """What batches are read from, samples of a known layout; picklable for worker processes."""

    @property
    def layout(self) -> Layout:
        """Name to shape and dtype of one sample."""

    def __len__(self) -> int: ...

    def rows(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return what samples are called in a batch's `index`."""

    def read_into(
        self,
        positions: NDArray[np.int64],
        out: Mapping[str, NDArray[Any]],
        corners: NDArray[np.int64] | None,
    ) -> NDArray[np.int64]:
        """Read samples, with `corners` (n, 2) a window of each in y and x; return their rows."""


def view_of(source: Any) -> View | None:
    """Return the view that a loader was given, or that of the store; None for other sources."""
    view = getattr(source, "view", source)
    return view if isinstance(view, View) else None


def as_source(source: Any, fields: Sequence[str] | None) -> Source | ItemSource:
    """Return a source for whatever can be read, restricted to some fields.

    Raises
    ------
    ValueError
        For what has no length or no items, or for arrays of different lengths.
    """
    view = view_of(source)
    if view is not None:
        return FieldSource(view, [field.name for field in view.choose_fields(fields)])
    if isinstance(source, np.ndarray):
        source = {DATA: source}
    if isinstance(source, Mapping):
        chosen = list(source) if fields is None else list(fields)
        if unknown := [name for name in chosen if name not in source]:
            raise ValueError(f"fields are {unknown}; give a list out of {list(source)}")
        return _columns({name: source[name] for name in chosen})
    if fields is not None:
        raise ValueError(f"fields choose from a store or a dict of arrays, not {type(source)}")
    has_items = hasattr(source, "__getitem__") or hasattr(source, "read")
    if not (hasattr(source, "__len__") and has_items):
        raise ValueError(
            f"the source is {type(source).__name__}; give a view of a store, a dict of arrays, or "
            "anything with `len` and `read(rows)` or `[i]`"
        )
    return ItemSource(source)


def _columns(columns: Mapping[str, Any]) -> Source | ItemSource:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"the source's arrays have lengths {lengths}; give arrays of one length")
    if all(type(column) in (np.ndarray, np.memmap) for column in columns.values()):
        return ArraySource(columns)
    return ItemSource(_Rows(columns))


class FieldSource:
    """Fields of a view of a store."""

    def __init__(self, view: View, names: Sequence[str]) -> None:
        self._view = view
        self._names = list(names)

    def __len__(self) -> int:
        return len(self._view)

    @property
    def layout(self) -> Layout:
        """Name to shape and dtype of one sample."""
        fields = (self._view.fields[name] for name in self._names)
        return {field.name: (field.shape, field.dtype) for field in fields}

    def rows(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return rows of the store."""
        return self._view.rows_at(positions)

    def read_into(
        self,
        positions: NDArray[np.int64],
        out: Mapping[str, NDArray[Any]],
        corners: NDArray[np.int64] | None,
    ) -> NDArray[np.int64]:
        """Read samples, see `Source`."""
        return self._view.read_into(positions, out, corners)


class ArraySource:
    """NumPy arrays and memory maps of one length; a worker process maps a file's again."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        # As plain arrays: each item of a memmap would be a memmap, which costs.
        self._arrays = {name: np.asarray(array) for name, array in arrays.items()}
        self._mapped = {
            name: array
            for name, array in arrays.items()
            if isinstance(array, np.memmap) and _is_whole(array)
        }

    def __reduce__(self) -> tuple[Any, ...]:
        mapped = {
            name: (array.filename, array.dtype, array.offset, array.shape)
            for name, array in self._mapped.items()
        }
        plain = {name: array for name, array in self._arrays.items() if name not in mapped}
        return _arrays_again, (list(self._arrays), plain, mapped)

    def __len__(self) -> int:
        return len(next(iter(self._arrays.values())))

    @property
    def layout(self) -> Layout:
        """Name to shape and dtype of one sample."""
        return {name: (array.shape[1:], array.dtype) for name, array in self._arrays.items()}

    def rows(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions themselves."""
        return positions

    def read_into(
        self,
        positions: NDArray[np.int64],
        out: Mapping[str, NDArray[Any]],
        corners: NDArray[np.int64] | None,
    ) -> NDArray[np.int64]:
        """Read samples, see `Source`."""
        for name, target in out.items():
            array = self._arrays[name]
            if corners is None or array.ndim < 3:
                # "clip" alone copies without a buffer between; positions are never outside.
                np.take(array, positions, axis=0, out=target, mode="clip")
                continue
            height, width = target.shape[-2:]
            for number, (position, (y, x)) in enumerate(
                zip(positions.tolist(), corners.tolist(), strict=True)
            ):
                target[number] = array[position, ..., y : y + height, x : x + width]
        return positions


def _is_whole(array: np.memmap[Any, Any]) -> bool:
    """Whether a memory map is as it was opened, rather than a part of it."""
    return (
        isinstance(array.base, mmap.mmap)
        and array.filename is not None
        and array.flags.c_contiguous
    )


def _arrays_again(
    names: Sequence[str], plain: Mapping[str, NDArray[Any]], mapped: Mapping[str, tuple[Any, ...]]
) -> ArraySource:
    opened = {
        name: np.memmap(file, dtype, "r", offset, shape)
        for name, (file, dtype, offset, shape) in mapped.items()
    }
    return ArraySource({name: {**plain, **opened}[name] for name in names})


class ItemSource:
    """Anything with a length and `read(rows)`, to a dict of arrays or an array, or `[i]`."""

    def __init__(self, items: Any) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def rows(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions themselves."""
        return positions

    def samples(self, positions: NDArray[np.int64]) -> Sequence[Any]:
        """Read samples, in one call where there is one for several."""
        numbers = positions.tolist()
        if not hasattr(self._items, "read"):
            return [self._items[number] for number in numbers]
        block = self._items.read(numbers)
        if not isinstance(block, Mapping):
            return list(block)
        return [{name: part[n] for name, part in block.items()} for n in range(len(numbers))]


class _Rows:
    """Sequences of one length, as a sequence of dicts."""

    def __init__(self, columns: Mapping[str, Any]) -> None:
        self._columns = columns

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))

    def __getitem__(self, position: int) -> dict[str, Any]:
        return {name: column[position] for name, column in self._columns.items()}
