"""The files of a zarr group or array, in a folder, a zip or a remote store: nodes and chunks."""

from __future__ import annotations

import math
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zarr
from zarr.abc.store import Store
from zarr.storage import LocalStore, ObjectStore, ZipStore

from ..reader.remote import is_remote
from ..reader.remote_client import RemoteClient
from ..reader.whole_blosc import with_whole_blosc
from ..reader.whole_store import WholeStore
from .folders import files_below
from .image import ImageOptions
from .remote_place import OPTIONS_KEY, remote_options, saying
from .source import SourceError

Node = zarr.Array[Any] | zarr.Group

#: How far entries of a zip shrink at most: not at all, or by Deflate. zarr writes no others.
_SHRUNK = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: 1032}
_METADATA = {"zarr.json", ".zgroup", ".zarray"}


class ZarrFiles:
    """An open zarr hierarchy, for any number of threads.

    Parameters
    ----------
    path
        Of a folder or a zip; or the URL of a folder, read with `options.storage`.
    """

    def __init__(self, path: str, options: ImageOptions) -> None:
        self.path = path
        self.is_zip = False
        self._root = ""
        store: Store
        if is_remote(path):
            if path.endswith(".zip"):
                raise SourceError(
                    f"{path}: a zip in a remote store is not read; copy it here, or unpack it there"
                )
            store = _remote_store(path.rstrip("/"), options)
        elif Path(path).is_dir():
            store = LocalStore(path, read_only=True)
        else:
            self.is_zip = True
            self._root = _root_of_zip(path)
            store = ZipStore(path, mode="r")
        self._store = WholeStore(store)

    def node(self, name: str = "") -> Node | None:
        """Return the array or group of a name, None where there is none."""
        for zarr_format in (3, 2):
            try:
                found: Node = zarr.open(
                    self._store,
                    path=f"{self._root}/{name}".strip("/"),
                    mode="r",
                    zarr_format=zarr_format,
                    # It may be older than the files.
                    use_consolidated=False,
                )
            except FileNotFoundError:
                continue
            return with_whole_blosc(found) if isinstance(found, zarr.Array) else found
        return None

    def chunks(self, array: zarr.Array[Any]) -> tuple[int | None, int]:
        """Return how many chunks (or shards) of an array are there, and how many there may be.

        None where the store cannot list its files.
        """
        ndim = len(array.shape)
        sizes = array.shards or array.chunks
        lengths = [-(-n // size) for n, size in zip(array.shape, sizes, strict=True)]
        # As this very array writes them: with another separator zarr finds none of them.
        key = re.escape(array.metadata.encode_chunk_key((0,) * ndim)).replace("0", r"(\d+)")
        present = 0
        names = self._names(array.path)
        if names is None:
            return None, math.prod(lengths)
        for name in names:
            match = re.fullmatch(key, name)
            present += match is not None and all(
                int(at) < length for at, length in zip(match.groups(), lengths, strict=True)
            )
        return present, math.prod(lengths)

    def _names(self, folder: str) -> Iterator[str] | None:
        """Return the names of all files below a folder, relative to it."""
        store = self._store._store
        if isinstance(store, LocalStore):
            return _names_in_folder(str(store.root / folder))
        if isinstance(store, ObjectStore):
            return _names_in_remote(store.store, folder) if "http" not in self.path[:4] else None
        return _names_in_zip(self.path, folder)

    def close(self) -> None:
        """Let go of the files."""
        self._store.close()


def _remote_store(url: str, options: ImageOptions) -> Store:
    client = RemoteClient(url, remote_options(options.storage), OPTIONS_KEY)
    return saying(client.zarr_store)


def _names_in_folder(folder: str) -> Iterator[str]:
    start = len(folder) + 1
    for entry in files_below(folder):
        yield entry.path[start:].replace(os.sep, "/")


def _names_in_zip(path: str, folder: str) -> Iterator[str]:
    with zipfile.ZipFile(path) as file:
        for name in file.namelist():
            if not folder or name.startswith(folder + "/"):
                yield name[len(folder) :].lstrip("/")


def _names_in_remote(store: Any, folder: str) -> Iterator[str]:
    import obstore

    for some in obstore.list(store, prefix=folder or None):
        for found in some:
            yield found["path"][len(folder) :].lstrip("/")


def _root_of_zip(path: str) -> str:
    """Return where in a zip the hierarchy begins: at its root, or in the one folder there."""
    with zipfile.ZipFile(path) as file:
        names = file.namelist()
        size = Path(path).stat().st_size
        for entry in file.infolist():
            # Memory is taken for what a damaged directory says.
            if entry.header_offset + entry.compress_size > size or (
                entry.file_size > entry.compress_size * _SHRUNK.get(entry.compress_type, math.inf)
            ):
                raise SourceError(
                    f"{path}: says that {entry.filename!r} has {entry.compress_size} bytes, and "
                    f"{entry.file_size} unpacked, in a file of {size}; it is damaged; copy it "
                    "again or leave it out"
                )
    if _METADATA.intersection(names):
        return ""
    folders = {name.partition("/")[0] for name in names if "/" in name}
    if len(folders) == 1 and any(f"{folder}/{m}" in names for folder in folders for m in _METADATA):
        return folders.pop()
    if names and all(name.endswith(".npy") for name in names):
        raise SourceError(
            f"{path}: is a zip of NumPy arrays (.npz); save each as a .npy file with np.save"
        )
    raise SourceError(f"{path}: is a zip without zarr in it; unpack it, or leave it out")
