"""Checks a store from end to end: every patch decoded, every checksum and column compared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import zarr

from ..reader import Store, open_store
from ..reader.columns import Columns
from ..reader.errors import StoreError
from ..reader.format import shard_name
from ..reader.remote import Place, RemotePath, is_remote, zarr_place
from ..reader.root import read_json
from ..reader.staged import MARK, read_part
from ..tasks.remote_objects import object_sizes
from .finish import root_digest
from .verified_patches import content_of, verify_patches

#: Room for shards of a remote store on this machine's disk, while their patches are checked.
FETCHED_BYTES = 2 << 30


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes
    ----------
    patches
        That were decoded and found right.
    damage
        A sentence for each thing that is not what was written.
    """

    patches: int
    damage: tuple[str, ...]


def verify(store: str | Path, *, storage_options: Mapping[str, Any] | None = None) -> Verification:
    """Check a complete store; of one that was staged in part, the splits that are there.

    Parameters
    ----------
    store
        Its folder, or its URL on an object store, of which each shard is fetched once.
    storage_options
        For a URL, as `open_store` takes them.

    Raises
    ------
    PatchmillError
        Where it is no store, is not complete, or its metadata cannot be read at all.
    """
    if not is_remote(store):
        return _verify(open_store(store))
    if str(store).startswith("http"):
        raise StoreError(
            f"{store}: a web server does not say which files it has, all of which are checked; "
            "verify the store where it was made"
        )
    with TemporaryDirectory(prefix="patchmill-verify-") as folder:
        return _verify(
            open_store(
                store, storage_options=storage_options, cache=folder, cache_bytes=FETCHED_BYTES
            )
        )


def _verify(opened: Store) -> Verification:
    # Each is judged by what was judged before, so the first damage ends it.
    for look in (_metadata, _unreadable, _inconsistent):
        if damage := tuple(look(opened)):
            return Verification(0, damage)
    patches, found = verify_patches(opened)
    return Verification(patches, (*found, *_unexpected(opened)))


def _metadata(store: Store) -> Iterator[str]:
    root = read_json(store.path / "zarr.json")
    written = store.attributes.get("sha256")
    if not isinstance(written, dict) or written.get("zarr.json") != root_digest(root):
        yield f"{store.path}/zarr.json: is not what was written"
        return
    for name, digest in written.items():
        path = store.path / name
        if name == "zarr.json":
            continue
        content = content_of(path)
        if content is None:
            yield f"{path}: is missing"
        elif hashlib.sha256(content).hexdigest() != digest:
            yield f"{path}: is not what was written"


def _unreadable(store: Store) -> Iterator[str]:
    """Yield the columns with chunks that are not there, or that are damaged."""
    for name in _columns(store):
        path = store.path / name
        try:
            array: Any = _opened(path)
            if array.nchunks_initialized != array.nchunks and array.size:
                yield f"{path}: {array.nchunks - array.nchunks_initialized} chunks are missing"
            array[...]
        except Exception as error:  # zarr raises what its codecs raise: any kind
            yield f"{path}: cannot be read ({error})"


def _columns(store: Store) -> list[str]:
    """Return the paths of all columns in the store."""
    written = [PurePosixPath(name).parent for name in store.attributes["sha256"]]
    groups = ("index", "images", "statistics", "candidates")
    return [str(path) for path in written if path.parent.name in groups]


def _inconsistent(store: Store) -> Iterator[str]:
    """Yield columns whose values cannot be."""
    for number, (name, (start, stop)) in enumerate(store.splits.items()):
        if (store.index["split"][start:stop] != number).any():
            yield f"{store.path}/index/split: rows {start} to {stop} are not all of {name}"
    names = ("image", "t", "z", "y", "x")
    columns = [PurePosixPath(name) for name in _columns(store)]
    of_candidates = [column.name for column in columns if column.parent.name == "candidates"]
    candidates = Columns(store.path / "candidates", None, of_candidates)
    kept = candidates["kept"]
    rows = np.stack([store.index[name] for name in names])
    taken = np.stack([candidates[name][kept] for name in names])
    if (
        rows.shape != taken.shape
        or (rows[:, np.lexsort(rows)] != taken[:, np.lexsort(taken)]).any()
    ):
        yield f"{store.path}/index: rows are not the candidates that were kept"
    if not (rows[0] < len(store.images["shape"])).all():
        yield f"{store.path}/index/image: names images that images/ does not have"


def _opened(place: Place) -> zarr.Array[Any]:
    files, path = zarr_place(place)
    return zarr.open_array(files, path=path, mode="r", zarr_format=3)


def _unexpected(store: Store) -> Iterator[str]:
    """Yield files that do not belong to the store."""
    expected = set(store.attributes["sha256"])
    if read_part(store.path) is not None:
        expected.add(MARK)
    for field in store.fields.values():
        shards = range(-(-field.rows // field.rows_per_shard))
        ndim = 1 + len(field.shape)
        expected |= {f"{field.name}/{shard_name(shard, ndim)}" for shard in shards}
    for name in _columns(store):
        array: Any = _opened(store.path / name)
        chunks = np.ndindex(array.cdata_shape)
        expected |= {f"{name}/c/{'/'.join(map(str, chunk))}" for chunk in chunks}
    for name in sorted(_files(store.path) - expected):
        yield f"{store.path / name}: does not belong to the store"


def _files(place: Place) -> set[str]:
    """Return the paths of all files of a store, in it."""
    if isinstance(place, RemotePath):
        return set(object_sizes(place.client))
    files = (path for path in place.rglob("*") if not path.is_dir())
    return {path.relative_to(place).as_posix() for path in files}
