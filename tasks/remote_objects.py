"""Writes, lists and deletes the objects of a store that lies on an object store.

Requests that fail for a moment are tried again, see `patchmill.reader.remote_client`. An object is
seen once it is all there, and never in part.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import IO

from ..reader.errors import StoreError
from ..reader.remote_client import RemoteClient
from .remote_place import MOST_CLIENTS, Storage, remote_options

#: What a recipe calls the options of the store that it makes.
STORE_OPTIONS_KEY = "store.storage"
#: Object stores that can be written; a web server cannot.
WRITABLE = ("s3", "gs", "az")
#: A larger object goes in parts of this size, each of which must not take long to send.
PART_BYTES = 8 << 20
#: Parts of one object that are sent, and held in memory, at once.
MOST_PARTS = 4


@lru_cache(maxsize=MOST_CLIENTS)
def store_client(url: str, storage: Storage) -> RemoteClient:
    """Return a connection to a store that is written; nothing is asked yet.

    Parameters
    ----------
    url
        s3://bucket/path, gs://bucket/path or az://container/path.
    storage
        Options of the object store, see `remote_options`, beside those of the environment.

    Raises
    ------
    StoreError
        For any other URL.
    SourceError
        For an option that cannot be read.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in WRITABLE:
        raise StoreError(
            f"{url} cannot be written; write a folder, s3://bucket/train.zarr, "
            "gs://bucket/train.zarr or az://container/train.zarr"
        )
    bucket, _, key = rest.partition("/")
    if "@" in bucket or "?" in rest or "#" in rest:
        raise StoreError(
            f"{scheme}://… has a user name, a query or a fragment; write a plain "
            f"{scheme}://bucket/train.zarr, and what else is needed in {STORE_OPTIONS_KEY}"
        )
    if not bucket or not key.strip("/"):
        raise StoreError(f"{url} names no store in a bucket; write {scheme}://bucket/train.zarr")
    return RemoteClient(
        url.rstrip("/"), remote_options(storage, STORE_OPTIONS_KEY), STORE_OPTIONS_KEY
    )


def put_object(client: RemoteClient, name: str, data: bytes | Path | IO[bytes]) -> None:
    """Write an object, in place of one that is there; all of it or nothing.

    Raises
    ------
    RemoteStoreError
        Where it cannot be written.
    """
    try:
        store = client.connected()
        import obstore

        obstore.put(store, name, data, chunk_size=PART_BYTES, max_concurrency=MOST_PARTS)
    except Exception as error:
        client.refuse(name, error, "written")


def object_sizes(client: RemoteClient, folder: str = "") -> dict[str, int]:
    """Return the size in bytes of every object in a folder and below, by its name there.

    Raises
    ------
    RemoteStoreError
        Where it cannot be listed.
    """
    try:
        store = client.connected()
        import obstore

        begin = len(folder) + 1 if folder else 0
        return {
            each["path"][begin:]: each["size"]
            for page in obstore.list(store, folder or None)
            for each in page
        }
    except Exception as error:
        client.refuse(folder, error, "listed")


def has_objects(client: RemoteClient) -> bool:
    """Say whether there is any object of the store, or of something else in its place.

    Raises as `object_sizes` does.
    """
    try:
        store = client.connected()
        import obstore

        return any(len(page) > 0 for page in obstore.list(store, chunk_size=1))
    except Exception as error:
        client.refuse("", error, "listed")


def delete_objects(client: RemoteClient, names: Sequence[str]) -> None:
    """Delete objects that are there.

    Raises
    ------
    RemoteStoreError
        Where one cannot be deleted.
    """
    if not names:
        return
    try:
        store = client.connected()
        import obstore

        obstore.delete(store, list(names))
    except Exception as error:
        client.refuse("", error, "deleted")
