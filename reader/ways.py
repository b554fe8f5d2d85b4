"""The ways to read the fields of a store: its shards by memory map or by `pread`, or zarr."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from .decode import FieldReader
from .field import Field
from .foreign import ZarrReader
from .mapped import map_shard, most_open_maps
from .mounts import is_local
from .pread import most_open_files, open_file
from .shards import OpenShards

Io = Literal["map", "pread"]
WAYS: tuple[Io, ...] = ("map", "pread")


def choose_io(folder: Path, asked: Io | None) -> Io:
    """Return how to read the shards in a folder: as asked, or as fits its file system."""
    if asked is None:
        return "map" if is_local(folder) else "pread"
    if asked not in WAYS:
        raise ValueError(f"io is {asked!r}; give {' or '.join(map(repr, WAYS))}, or None")
    return asked


def open_shards(io: Io, locate: Callable[[str], str] = str) -> OpenShards[Any]:
    """Return a set of open shards, none of them open yet.

    Parameters
    ----------
    io
        How they are read.
    locate
        Says where the file of a shard is, which by default is its name.
    """
    if io == "map":
        return OpenShards(lambda file, rows: map_shard(locate(file), rows), most_open_maps())
    return OpenShards(lambda file, rows: open_file(locate(file), rows), most_open_files())


def make_readers(
    store: Path, fields: Mapping[str, Field], *, io: Io, verify: bool, is_complete: bool
) -> dict[str, FieldReader | ZarrReader]:
    """Return what reads each field; those that are read from shards share the open ones."""
    shards = open_shards(io)
    return {
        name: FieldReader(store, field, shards, verify=verify, is_complete=is_complete)
        if field.is_fast
        else ZarrReader(store, field)
        for name, field in fields.items()
    }
