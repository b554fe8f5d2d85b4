"""The ways to read the fields of a remote store: by requests, or through a cache of shards."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from .errors import StoreError
from .field import Field
from .foreign import ZarrReader
from .remote import RemotePath
from .remote_cache import ShardCache
from .remote_cached import CachedReader
from .remote_reader import RemoteReader
from .root import AnyRoot
from .ways import Io, choose_io, open_shards

#: How a remote store is read.
RemoteIo = Literal["remote", "cache"]


def make_cache(
    folder: str | os.PathLike[str] | None, limit_bytes: int | None, *, is_complete: bool
) -> ShardCache | None:
    """Return the cache that was asked for, if any.

    Raises
    ------
    ValueError
        For a folder without a limit, or the other way round.
    StoreError
        For an unfinished store, whose shards may still change.
    """
    if folder is None and limit_bytes is None:
        return None
    if folder is None or limit_bytes is None or limit_bytes < 1:
        raise ValueError(
            f"cache is {folder!r} and cache_bytes is {limit_bytes!r}; give both: a folder of this "
            "machine, and how many bytes it may hold"
        )
    if not is_complete:
        raise StoreError("a cache keeps shards of finished stores alone; read this one without")
    return ShardCache(Path(os.path.abspath(folder)), limit_bytes)  # noqa: PTH100


def choose_remote_io(cache: ShardCache | None, asked: Io | None) -> RemoteIo:
    """Return how shards are read; a ValueError says where `io` has no meaning."""
    if cache is not None:
        return "cache"
    if asked is not None:
        raise ValueError(
            f"io is {asked!r} and the store is remote; it says how files are read, so give it "
            "with a cache, or not at all"
        )
    return "remote"


def make_remote_readers(
    root: AnyRoot[RemotePath],
    fields: Mapping[str, Field],
    cache: ShardCache | None,
    io: Io | None,
    *,
    verify: bool,
) -> dict[str, RemoteReader | CachedReader | ZarrReader]:
    """Return what reads each field.

    Parameters
    ----------
    root
        Of the store.
    fields
        Its fields; those of other layouts are read through zarr, and are not cached.
    cache
        Of shards, if any.
    io
        How files of the cache are read, if that was asked for.
    verify
        Whether to check the crc32c of each chunk.
    """
    checks = {"verify": verify, "is_complete": root.is_complete}
    said = json.dumps(root.attributes, sort_keys=True).encode()
    digest = hashlib.sha256(said).hexdigest()

    def reader(field: Field) -> RemoteReader | CachedReader | ZarrReader:
        if not field.is_fast:
            return ZarrReader(root.path, field)
        if cache is None:
            return RemoteReader(root.path, field, **checks)
        way = choose_io(cache.folder, io)
        return CachedReader(
            root.path,
            field,
            digest=digest,
            cache=cache,
            open_shards=lambda locate: open_shards(way, locate),
            **checks,
        )

    return {name: reader(field) for name, field in fields.items()}


def column_names(root: AnyRoot[RemotePath], group: str) -> list[str]:
    """Return the names of the columns of a group, which a server cannot be asked for.

    Raises
    ------
    StoreError
        For a finished store that has no consolidated metadata, which say it.
    """
    if root.arrays is None and not root.is_complete:
        return []  # they are written last
    if root.arrays is None:
        raise StoreError(
            f"{root.path} has no consolidated metadata, and nothing else says from afar which "
            "columns it has; write them (zarr.consolidate_metadata) where the store can be written"
        )
    return [
        path.removeprefix(f"{group}/")
        for path in root.arrays
        if path.startswith(f"{group}/") and path.count("/") == 1
    ]
