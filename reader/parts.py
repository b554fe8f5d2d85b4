"""What a store is read with, by where it lies and how it was opened."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeAlias, TypedDict

from .columns import Columns
from .decode import FieldReader
from .field import Field
from .foreign import ZarrReader
from .remote import RemotePath
from .remote_cached import CachedReader
from .remote_reader import RemoteReader
from .remote_ways import (
    RemoteIo,
    choose_remote_io,
    column_names,
    make_cache,
    make_remote_readers,
)
from .root import AnyRoot, Root
from .ways import Io, choose_io, make_readers


class OpenOptions(TypedDict, total=False):
    """The keyword arguments of `open_store`, by their types."""

    allow_incomplete: bool
    verify: bool
    io: Io | None
    storage_options: Mapping[str, Any] | None
    cache: str | os.PathLike[str] | None
    cache_bytes: int | None


#: What a store is read with: `io`, what reads each field, and the columns of `index` and `images`.
Parts: TypeAlias = (
    "tuple[Io | RemoteIo, Mapping[str, FieldReader | RemoteReader | CachedReader | ZarrReader], "
    "Columns, Columns]"
)


def local_parts(root: Root, fields: Mapping[str, Field], options: OpenOptions) -> Parts:
    """Return what a store in a folder is read with."""
    rows = next(iter(fields.values())).rows
    io = choose_io(root.path, options["io"])
    checks = {"verify": options["verify"], "is_complete": root.is_complete}
    return (
        io,
        make_readers(root.path, fields, io=io, **checks),
        Columns(root.path / "index", rows),
        Columns(root.path / "images"),
    )


def remote_parts(
    root: AnyRoot[RemotePath], fields: Mapping[str, Field], options: OpenOptions
) -> Parts:
    """Return what a store elsewhere is read with."""
    rows = next(iter(fields.values())).rows
    cache = make_cache(options["cache"], options["cache_bytes"], is_complete=root.is_complete)
    return (
        choose_remote_io(cache, options["io"]),
        make_remote_readers(root, fields, cache, options["io"], verify=options["verify"]),
        Columns(root.path / "index", rows, column_names(root, "index")),
        Columns(root.path / "images", None, column_names(root, "images")),
    )
