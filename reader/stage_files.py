"""Which files of a store are staged: the shards of some splits, and all that is no shard."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from .errors import DamagedStoreError
from .field import Field, read_field
from .format import shard_name
from .root import Root, read_json
from .stage_copy import StoreFile
from .stage_place import ROOT
from .staged import MARK, STAGING


def store_files(root: Root, splits: Sequence[str]) -> list[StoreFile]:
    """Return the files to copy, without the root's own zarr.json.

    Parameters
    ----------
    root
        Of a complete store.
    splits
        Whose rows are wanted; a shard at a boundary has rows of others, too.

    Raises
    ------
    DamagedStoreError
        Where a shard is missing.
    """
    every = [read_field(root.path, name) for name in root.fields]
    # Of another layout all files are copied: there a chunk that is absent would read as zeros.
    fields = {field.name: field for field in every if field.is_fast}
    return [*_others(root, fields), *_shards(root, fields, splits)]


def _shards(root: Root, fields: Mapping[str, Field], splits: Sequence[str]) -> Iterator[StoreFile]:
    for field in fields.values():
        each = field.rows_per_shard
        ranges = [root.splits[name] for name in splits]
        numbers = {n for a, b in ranges if b > a for n in range(a // each, -(-b // each))}
        for number in sorted(numbers):
            name = f"{field.name}/{shard_name(number, 1 + len(field.shape))}"
            nbytes = _size(root.path, name)
            yield StoreFile(name, nbytes, rows_per_shard=each, first_row=number * each)


def _others(root: Root, fields: Mapping[str, Field]) -> Iterator[StoreFile]:
    """Yield metadata and columns, with the checksums that they have."""
    digests = root.attributes.get("sha256")
    if not isinstance(digests, dict):
        digests = {}
    has_checksum: dict[PurePosixPath, bool] = {}
    for place, folders, names in os.walk(root.path, followlinks=True, onerror=_refuse):
        folder = PurePosixPath(Path(place).relative_to(root.path).as_posix())
        if STAGING in folders:
            folders.remove(STAGING)
        if "zarr.json" in names:
            codecs = read_json(Path(place) / "zarr.json").get("codecs") or [{}]
            has_checksum[folder] = codecs[-1].get("name") == "crc32c"
        else:
            has_checksum[folder] = has_checksum[folder.parent]
        is_root = folder == PurePosixPath(".")
        for name in sorted(names):
            path = str(folder / name)
            if is_root and name in (ROOT, MARK):
                continue
            if name == "zarr.json":
                yield StoreFile(path, _size(root.path, path), sha256=digests.get(path, ""))
            elif str(folder) not in fields:
                nbytes = _size(root.path, path)
                yield StoreFile(path, nbytes, has_checksum=has_checksum[folder])


def _size(store: Path, name: str) -> int:
    try:
        return (store / name).stat().st_size
    except FileNotFoundError as error:
        raise DamagedStoreError(
            f"{store}: {name} is missing; make or copy that store again"
        ) from error


def _refuse(error: OSError) -> None:
    raise error
