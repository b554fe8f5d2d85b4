"""A prepared store, opened for reading."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from .columns import Columns
from .decode import FieldReader
from .errors import DamagedStoreError, StoreError
from .field import Field, read_field
from .loader import Batch, Loader
from .root import Root, read_root
from .shards import ShardMaps, most_open_maps
from .statistics import Statistics, split_statistics
from .view import Rows, View


def open_store(
    path: str | os.PathLike[str], *, allow_incomplete: bool = False, verify: bool = True
) -> Store:
    """Open a prepared store.

    Parameters
    ----------
    path
        The store's folder.
    allow_incomplete
        Open a store whose run has not finished too; patches that are not there yet raise
        `IncompleteStoreError` when they are read.
    verify
        Check the checksum of each chunk that is read.

    Raises
    ------
    StoreError
        For what is not a store, or one that this version cannot read.
    IncompleteStoreError
        For a store whose run has not finished.
    DamagedStoreError
        For metadata that are not what was written.

    Examples
    --------
    >>> open_store("absent")
    Traceback (most recent call last):
    patchmill.reader.errors.StoreError: absent is not a folder; give the folder of a prepared store
    """
    if "://" in os.fspath(path):
        raise StoreError(f"{os.fspath(path)} is not a folder; this version reads local stores")
    root = read_root(Path(path), allow_incomplete=allow_incomplete)
    fields = {name: read_field(root.path, name) for name in root.fields}
    _check_fields(root, fields)
    return Store(root, fields, verify=verify)


class Store:
    """A prepared store; it behaves like the `View` of all its valid rows.

    Made by `open_store`. Safe to read from several threads.

    Attributes
    ----------
    path
        The store's folder.
    attributes
        What the store says of itself: recipe, software, voxel size, ….
    channels, axes
        Names along `c` of `image`, and the axes of its patches.
    splits
        Name to rows (start, stop), in row order.
    fields
        Name to `Field`.
    statistics
        Per split: count, mean, std, min and max, each of shape (c,); empty while the store is
        incomplete.
    index, images
        Columns with one entry per row, void ones included, and per source image; read on first
        use.
    rows
        The valid rows, ascending.
    """

    def __init__(self, root: Root, fields: Mapping[str, Field], *, verify: bool) -> None:
        rows = next(iter(fields.values())).rows
        self.path = root.path
        self.attributes: Mapping[str, Any] = MappingProxyType(root.attributes)
        self.is_complete = root.is_complete
        self.channels = root.channels
        self.axes = root.axes
        self.splits: Mapping[str, tuple[int, int]] = MappingProxyType(root.splits)
        self.fields: Mapping[str, Field] = MappingProxyType(dict(fields))
        self.statistics: dict[str, Statistics] = split_statistics(
            root.attributes.get("statistics", {}), root.channels
        )
        self.index = Columns(root.path / "index", rows)
        self.images = Columns(root.path / "images")
        maps = ShardMaps(most_open_maps())
        self._readers = {
            name: FieldReader(root.path, field, maps, verify=verify, is_complete=root.is_complete)
            for name, field in fields.items()
        }
        self.rows: Rows = self._valid_rows(rows, root.void)

    @property
    def _all(self) -> View:
        # Made anew, since a view that the store kept would keep the store, and its maps, in turn
        # until the garbage collector runs.
        return View(self, tuple(self.splits), self.rows)

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, position: SupportsIndex) -> dict[str, Any]:
        return self._all[position]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._all)

    def __repr__(self) -> str:
        splits = ", ".join(f"{name} {b - a}" for name, (a, b) in self.splits.items())
        fields = ", ".join(f"{f.name} {f.shape} {f.dtype}" for f in self.fields.values())
        return f"Store({str(self.path)!r}: {len(self)} patches; {splits}; {fields})"

    def select(self, *, split: str | Sequence[str]) -> View:
        """Return the view of one split or several, see `View.select`."""
        return self._all.select(split=split)

    def read(self, rows: Sequence[int] | NDArray[Any]) -> Batch:
        """Read several samples at once, see `View.read`."""
        return self._all.read(rows)

    def read_rows_into(self, rows: NDArray[np.int64], out: Mapping[str, NDArray[Any]]) -> None:
        """Decode rows of the store into an array (n, c, y, x) per field; the base of all reading.

        Raises
        ------
        DamagedStoreError
            For the first chunk that is not what was written; names store, shard and patch.
        """
        for name, array in out.items():
            field = self.fields[name]
            wanted = (len(rows), *field.shape)
            if (array.shape, array.dtype) != (wanted, field.dtype) or not array.flags.c_contiguous:
                raise ValueError(
                    f"the array for {name!r} is {array.dtype} of shape {array.shape}; "
                    f"give one of {field.dtype} and {wanted}, in C order"
                )
            self._readers[name].read_into(rows, array)

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
        """Return a `Loader` of all valid rows; see there for the arguments."""
        return self._all.loader(
            batch_size,
            shuffle=shuffle,
            seed=seed,
            num_workers=num_workers,
            prefetch=prefetch,
            drop_last=drop_last,
            fields=fields,
        )

    def _valid_rows(self, rows: int, void: int) -> Rows:
        if void == 0:
            return range(rows)
        if "valid" not in self.index:
            raise DamagedStoreError(f"{self.path} says that {void} rows are void, not which")
        valid = np.flatnonzero(self.index["valid"]).astype(np.int64, copy=False)
        if len(valid) != rows - void:
            raise DamagedStoreError(
                f"{self.path} says that {void} rows are void, and its column index/valid "
                f"{rows - len(valid)}; make or copy the store again"
            )
        return valid


def _check_fields(root: Root, fields: Mapping[str, Field]) -> None:
    """Check that the fields fit each other, the splits and the channels."""
    rows = max(stop for _, stop in root.splits.values())
    for field in fields.values():
        if field.rows != rows:
            raise DamagedStoreError(
                f"{root.path}: field {field.name!r} has {field.rows} rows and the splits end at "
                f"{rows}; make or copy the store again"
            )
    image = fields.get("image")
    if image is None:
        return
    sizes = dict(zip(root.axes, image.shape, strict=False))
    if len(root.axes) != len(image.shape) or sizes.get("c") != len(root.channels):
        raise DamagedStoreError(
            f"{root.path}: patches have shape {image.shape}, which does not fit the axes "
            f"{root.axes} with {len(root.channels)} channels; make or copy the store again"
        )
