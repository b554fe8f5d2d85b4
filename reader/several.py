"""Several stores of the same channels and patches, as one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import StoreError
from .field import Field
from .joined import JoinedColumns
from .lookup import Rows
from .statistics import Statistics, merge_statistics
from .store import Store
from .targets import check_rows, check_target
from .view import View
from .whole import Whole

#: From here on a patch is large: moving it in memory costs more than a call.
_LARGE_NBYTES = 1 << 17


class SeveralStores(Whole):
    """Stores read one after another, as if they were one; made by `open_store([a, b])`.

    Row r of a store is row `first` + r here, where `first` is the number of rows of the stores
    before it. Splits of the same name are one split, whose rows no longer follow each other.

    Parameters
    ----------
    stores
        At least one; all with the same fields, patches, channels and axes.

    Attributes
    ----------
    stores, parts
        The stores; and each with its first row.
    paths
        Their folders.
    attributes
        What all of them say alike of themselves.
    channels, axes
        Names along `c` of `image`, and the axes of its patches.
    splits
        Name to rows, one pair (start, stop) per store that has it.
    fields
        Name to `Field`; the layout of shards is that of the first store.
    index, images
        The columns that all stores have, one store after another. `index["image"]` counts through
        the images of all, and `index["store"]` is the number of the store.
    rows
        The valid rows, ascending.

    Raises
    ------
    StoreError
        For two stores that differ; it names both, and what differs.
    """

    def __init__(self, stores: Sequence[Store]) -> None:
        if not stores:
            raise StoreError("there is no store in the list; give at least one folder")
        for other in stores[1:]:
            _check_alike(stores[0], other)
        self.stores = tuple(stores)
        self.paths = tuple(store.path for store in stores)
        rows = [next(iter(store.fields.values())).rows for store in stores]
        firsts = np.cumsum([0, *rows]).tolist()
        self.parts = tuple(zip(firsts[:-1], stores, strict=True))
        self._firsts = np.array(firsts)
        self.attributes: Mapping[str, Any] = MappingProxyType(
            {
                key: value
                for key, value in stores[0].attributes.items()
                if all(store.attributes.get(key) == value for store in stores)
            }
        )
        self.is_complete = all(store.is_complete for store in stores)
        self.channels = stores[0].channels
        self.axes = stores[0].axes
        self.splits: Mapping[str, tuple[tuple[int, int], ...]] = MappingProxyType(
            {
                name: tuple(
                    (first + store.splits[name][0], first + store.splits[name][1])
                    for first, store in self.parts
                    if name in store.splits
                )
                for name in dict.fromkeys(name for store in stores for name in store.splits)
            }
        )
        self.fields: Mapping[str, Field] = MappingProxyType(
            {
                name: dataclasses.replace(field, rows=firsts[-1])
                for name, field in stores[0].fields.items()
            }
        )
        self.rows = self._valid_rows()

    @cached_property
    def index(self) -> JoinedColumns:
        """Columns with one entry per row, void ones included."""
        rows = np.diff(self._firsts)
        images = [store.images.length for store in self.stores]
        return JoinedColumns(
            [store.index for store in self.stores],
            {"image": np.cumsum([0, *images[:-1]]).tolist()},
            {"store": np.repeat(np.arange(len(self.stores), dtype=np.int32), rows)},
        )

    @cached_property
    def images(self) -> JoinedColumns:
        """Columns with one entry per source image."""
        return JoinedColumns([store.images for store in self.stores], {}, {})

    @property
    def statistics(self) -> dict[str, Statistics]:
        """Per split: count, mean, std, min and max, each of shape (c,)."""
        having = {
            name: [store for store in self.stores if name in store.splits] for name in self.splits
        }
        return {
            name: merge_statistics(store.statistics[name] for store in stores)
            for name, stores in having.items()
            if all(name in store.statistics for store in stores)
        }

    @property
    def io(self) -> str:
        """How shards are read: "map" or "pread"; both where the stores differ."""
        return ", ".join(dict.fromkeys(store.io for store in self.stores))

    @property
    def is_fast(self) -> bool:
        """Whether all fields of all stores are laid out as format 1 says."""
        return all(store.is_fast for store in self.stores)

    @property
    def view(self) -> View:
        """The view of all valid rows."""
        return View(self, tuple(self.splits), self.rows)

    def __repr__(self) -> str:
        splits = ", ".join(
            f"{name} {sum(stop - start for start, stop in ranges)}"
            for name, ranges in self.splits.items()
        )
        paths = " + ".join(map(str, self.paths))
        return f"SeveralStores({paths!r}: {len(self)} patches; {splits})"

    def __reduce__(self) -> tuple[Any, ...]:
        return SeveralStores, (self.stores,)

    def read_rows_into(
        self,
        rows: NDArray[np.int64],
        out: Mapping[str, NDArray[Any]],
        corners: NDArray[np.int64] | None = None,
    ) -> None:
        """Decode rows into an array per field, see `Store.read_rows_into`."""
        for name, array in out.items():
            check_rows(rows, self.fields[name].rows)
            check_target(self.fields[name], len(rows), array, corners)
        number = np.searchsorted(self._firsts, rows, side="right") - 1
        # Always straight into the arrays, since fresh memory is dear: small patches store after
        # store, to be moved into place afterwards; large ones, where the moving would cost more
        # than the calls, run by run of rows of one store.
        is_small = all(self.fields[name].patch_nbytes < _LARGE_NBYTES for name in out)
        order = np.argsort(number, kind="stable") if is_small else np.arange(len(rows))
        number, rows = number[order], rows[order]
        corners = None if corners is None else corners[order]
        edges = np.flatnonzero(np.diff(number)) + 1
        for start, stop in zip([0, *edges.tolist()], [*edges.tolist(), len(rows)], strict=True):
            if start < stop:
                first, store = self.parts[number[start]]
                store.read_rows_into(
                    rows[start:stop] - first,
                    {name: array[start:stop] for name, array in out.items()},
                    None if corners is None else corners[start:stop],
                )
        if is_small and len(rows):
            for array in out.values():
                _move(array, order)

    def _valid_rows(self) -> Rows:
        every = range(int(self._firsts[-1]))
        if sum(len(store.rows) for store in self.stores) == len(every):
            return every
        return np.concatenate([first + _as_array(store.rows) for first, store in self.parts])


def _as_array(rows: Rows) -> NDArray[np.int64]:
    return np.arange(rows.start, rows.stop) if isinstance(rows, range) else rows


def _move(array: NDArray[Any], places: NDArray[np.int64]) -> None:
    """Move each entry k to places[k], a permutation, in place: around its cycles."""
    flat = array.reshape(len(array), -1)
    comes_from = np.argsort(places).tolist()
    held = np.empty(flat.shape[1:], flat.dtype)
    for first in range(len(flat)):
        if comes_from[first] == first:
            continue
        held[:] = flat[first]
        place = first
        while (source := comes_from[place]) != first:
            flat[place] = flat[source]
            comes_from[place] = place
            place = source
        flat[place] = held
        comes_from[place] = place


def _check_alike(one: Store, two: Store) -> None:
    here, there = (
        {
            "fields": list(store.fields),
            **{
                f"patches of {name}": f"{field.dtype} of {field.shape}"
                for name, field in store.fields.items()
            },
            "channels": list(store.channels),
            "axes": list(store.axes),
            "margin_px": store.attributes.get("margin_px", 0),
        }
        for store in (one, two)
    )
    for key, value in here.items():
        if there.get(key) != value:
            raise StoreError(
                f"{one.path} and {two.path} differ in {key}: {value} and {there.get(key)}; "
                "only stores that are alike in it can be read as one"
            )
