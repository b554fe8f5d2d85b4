"""A prepared store, opened for reading."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from .columns import Columns
from .errors import DamagedStoreError, IncompleteStoreError, StoreError
from .field import Field, read_field
from .histograms import percentiles
from .lookup import Rows
from .parts import OpenOptions, local_parts, remote_parts
from .remote import Place, RemotePath, is_remote, remote_path
from .root import AnyRoot, read_root
from .statistics import Statistics, split_statistics
from .targets import check_rows, check_target
from .view import View
from .ways import Io
from .whole import Whole

if TYPE_CHECKING:
    from .several import SeveralStores


@overload
def open_store(  # type: ignore[overload-overlap]  # a text is a sequence of texts, too
    path: str | os.PathLike[str], **options: Unpack[OpenOptions]
) -> Store: ...


@overload
def open_store(
    path: Sequence[str | os.PathLike[str]], **options: Unpack[OpenOptions]
) -> SeveralStores: ...


def open_store(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    allow_incomplete: bool = False,
    verify: bool = True,
    io: Io | None = None,
    storage_options: Mapping[str, Any] | None = None,
    cache: str | os.PathLike[str] | None = None,
    cache_bytes: int | None = None,
) -> Store | SeveralStores:
    """Open a prepared store, or several as one.

    Parameters
    ----------
    path
        The store's folder, or its URL: s3://bucket/path, gs://bucket/path or https://host/path,
        with patchmill[cloud] installed. Or a list of them, of stores that have the same channels,
        patches and fields, see `SeveralStores`.
    allow_incomplete
        Open a store whose run has not finished too; patches that are not there yet raise
        `IncompleteStoreError` when they are read.
    verify
        Check the checksum of each chunk that is read.
    io
        How shards are read: "map" (memory maps) or "pread". By default maps where the store lies
        on a local file system, and "pread" elsewhere: there maps are slow, and a file that
        another host cuts short would end this process. `store.io` says which. With `cache`, how
        its files are read.
    storage_options
        Of remote stores: what `obstore.store.from_url` takes beside the URL, for instance
        {"skip_signature": True} for a public bucket, {"endpoint": "https://minio.example"},
        {"client_options": {"timeout": "60s"}}, or {"retry_config": …}. What is not given comes
        from the environment: AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL and the like.
    cache, cache_bytes
        Of remote stores: a folder of this machine that keeps whole shards, and how many bytes it
        may hold. A shard that is asked for is downloaded once, and the least recently used ones
        are deleted. Several processes and stores may share it.

    Raises
    ------
    ValueError
        For another `io`, or a cache without a limit.
    StoreError
        For what is not a store, or one that this version cannot read.
    RemoteStoreError
        For a store elsewhere that cannot be reached, or may not be read.
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
    options = OpenOptions(
        allow_incomplete=allow_incomplete,
        verify=verify,
        io=io,
        storage_options=storage_options,
        # The process that a store is sent to may have another working directory.
        cache=None if cache is None else os.path.abspath(cache),  # noqa: PTH100
        cache_bytes=cache_bytes,
    )
    if not isinstance(path, str | os.PathLike):
        from .several import SeveralStores  # which are made of stores

        return SeveralStores([open_store(each, **options) for each in path])
    store = _open(os.fspath(path), options)
    _ = store.rows  # whose faults belong here
    return store


class Store(Whole):
    """A prepared store; it behaves like the `View` of all its valid rows.

    Made by `open_store`. Safe to read from several threads, and after a fork. Pickled, it is its
    path and options: unpickled, the store there is opened, and nothing of it is held open until
    it is read.

    Attributes
    ----------
    path
        The store's folder: a `pathlib.Path`, or what stands for one where the store is remote.
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
    io
        How shards are read: "map" or "pread"; of a remote store "remote", or "cache".
    """

    def __init__(
        self, root: AnyRoot[Any], fields: Mapping[str, Field], options: OpenOptions
    ) -> None:
        rows = next(iter(fields.values())).rows
        self._options = options
        self.path: Any = root.path
        self.attributes: Mapping[str, Any] = MappingProxyType(root.attributes)
        self.is_complete = root.is_complete
        self.channels = root.channels
        self.axes = root.axes
        self.splits: Mapping[str, tuple[int, int]] = MappingProxyType(root.splits)
        self.fields: Mapping[str, Field] = MappingProxyType(dict(fields))
        self.statistics: dict[str, Statistics] = split_statistics(
            root.attributes.get("statistics", {}), root.channels
        )
        parts = remote_parts if isinstance(root.path, RemotePath) else local_parts
        self.io, self._readers, self.index, self.images = parts(root, fields, options)
        self._row_counts = rows, root.void

    @cached_property
    def rows(self) -> Rows:
        """The valid rows, ascending."""
        rows, void = self._row_counts
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

    def histogram(self, *splits: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return how often each value is there, in the pixels that `statistics` are of.

        Parameters
        ----------
        splits
            Whose pixels; of all splits where none is given.

        Returns
        -------
        values
            float64, shape (n,), ascending: of 8- and 16-bit integers every value that is there;
            else the lowest value of bins that are 2**-12 of it wide.
        counts
            int64, shape (c, n).

        Raises
        ------
        KeyError
            Where there is no such split.
        IncompleteStoreError
            Where the store has none, as before its run has finished.
        """
        if unknown := [name for name in splits if name not in self.splits]:
            have = ", ".join(self.splits)
            raise KeyError(f"{self.path} has no split {unknown[0]!r}; it has {have}")
        if not self._histograms:
            raise IncompleteStoreError(
                f"{self.path} has no histograms; they are written when its run finishes"
            )
        numbers = [n for n, name in enumerate(self.splits) if not splits or name in splits]
        return self._histograms["value"], self._histograms["count"][numbers].sum(axis=0)

    def percentiles(self, percents: Sequence[float], *splits: str) -> NDArray[np.float64]:
        """Return percentiles of each channel's pixels, float64, shape (percents, c).

        Exact for 8- and 16-bit integers, as `numpy.percentile(..., method="linear")`; else at most
        2**-12 of the value away. Parameters and errors as in `histogram`.
        """
        values, counts = self.histogram(*splits)
        return np.stack([percentiles(values, own, percents) for own in counts], axis=1)

    @cached_property
    def _histograms(self) -> Columns:
        return Columns(
            self.path / "statistics", None, ("value", "count") if self.is_complete else ()
        )

    @property
    def view(self) -> View:
        """The view of all valid rows."""
        # Made anew, since a view that the store kept would keep the store, and its maps, in turn
        # until the garbage collector runs.
        return View(self, tuple(self.splits), self.rows)

    def __repr__(self) -> str:
        splits = ", ".join(f"{name} {b - a}" for name, (a, b) in self.splits.items())
        fields = ", ".join(f"{f.name} {f.shape} {f.dtype}" for f in self.fields.values())
        return f"Store({str(self.path)!r}: {len(self)} patches; {splits}; {fields})"

    @property
    def is_fast(self) -> bool:
        """Whether all fields are laid out as format 1 says, so that zarr is not needed."""
        return all(field.is_fast for field in self.fields.values())

    def __reduce__(self) -> tuple[Any, ...]:
        # The other process may have another working directory.
        path = str(self.path) if isinstance(self.path, RemotePath) else os.path.abspath(self.path)  # noqa: PTH100
        return _reopen, (path, self._options, self._identity())

    def _identity(self) -> dict[str, Any]:
        """What two stores must share for a row of one to be the same row of the other."""
        rows, void = self._row_counts
        return {"plan": self.attributes.get("plan"), "rows": rows, "void rows": void}

    @property
    def parts(self) -> tuple[tuple[int, Store], ...]:
        """The stores that this one is made of, each with its first row: itself."""
        return ((0, self),)

    def read_rows_into(
        self,
        rows: NDArray[np.int64],
        out: Mapping[str, NDArray[Any]],
        corners: NDArray[np.int64] | None = None,
    ) -> None:
        """Decode rows of the store into an array (n, c, y, x) per field; the base of all reading.

        Parameters
        ----------
        rows
            Shape (n,), int64.
        out
            Field names to arrays of shape (n, *field.shape), the field's dtype, C order. With
            `corners`, the last two axes may be smaller than the patch's.
        corners
            Shape (n, 2), int64: top-left y, x of a window in each patch, in pixels. Each array
            then gets the windows of its own last two axes.

        Raises
        ------
        DamagedStoreError
            For the first chunk that is not what was written; names store, shard and patch.
        """
        for name, array in out.items():
            field = self.fields[name]
            check_rows(rows, field.rows)
            check_target(field, len(rows), array, corners)
        for name, array in out.items():
            self._readers[name].read_into(rows, array, corners)


def _open(path: str, options: OpenOptions) -> Store:
    place: Place = Path(path)
    if is_remote(path):
        given = options["storage_options"]
        place = remote_path(path, None if given is None else dict(given))
    elif any(options[key] is not None for key in ("storage_options", "cache", "cache_bytes")):
        raise ValueError(
            f"{path} is a folder, and storage_options, cache and cache_bytes are for stores "
            "elsewhere; leave them out (`patchmill stage` copies a store to a local disk)"
        )
    root = read_root(place, allow_incomplete=options["allow_incomplete"])
    fields = {name: read_field(root.path, name) for name in root.fields}
    _check_fields(root, fields)
    return Store(root, fields, options)


def _reopen(path: str, options: OpenOptions, identity: dict[str, Any]) -> Store:
    """Open a store that was pickled elsewhere; it must still be the same one.

    Its void rows are not looked up, which takes zarr: a view that travels brings its own rows.
    """
    store = _open(path, options)
    if store._identity() != identity:
        raise StoreError(
            f"{path} has {store._identity()}, and the store that was pickled had {identity}; "
            "it was made again in between: open it anew"
        )
    return store


def _check_fields(root: AnyRoot[Any], fields: Mapping[str, Field]) -> None:
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
