"""Where a store lies that is in no folder: its URL, read like a path, a request at a time.

`RemotePath` has of `pathlib.Path` what reading metadata needs, so that the same functions read
the metadata of a store here and elsewhere.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from .errors import StoreError
from .remote_client import RemoteClient

if TYPE_CHECKING:
    from zarr.abc.store import Store

SCHEMES = ("s3", "gs", "az", "http", "https")
#: What a request asks for at most, so that one that fails costs little to try again.
REQUEST_BYTES = 8 << 20


class RemotePath:
    """A file or folder of a remote store.

    Parameters
    ----------
    client
        Of the store.
    name
        Path inside the store; empty for the store itself.
    """

    def __init__(self, client: RemoteClient, name: str = "") -> None:
        self.client = client
        self.name = name

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(self.client, f"{self.name}/{name}".lstrip("/"))

    def __str__(self) -> str:
        return self.client.url_of(self.name)

    def __repr__(self) -> str:
        return f"RemotePath({str(self)!r})"

    def __fspath__(self) -> str:
        return str(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def read_bytes(self) -> bytes:
        """Return all of a file.

        Raises
        ------
        FileNotFoundError
            Where there is none.
        RemoteStoreError
            Where it cannot be read.
        """
        return self.client.read(self.name)

    def open(self, mode: str = "rb", buffering: int = 0) -> BinaryIO:
        """Return a stream of a file, which reads ahead; for reading alone, whatever is asked."""
        return cast("BinaryIO", RemoteStream(self))


#: The folder of a store, or a file in it.
Place = Path | RemotePath


class RemoteStream(io.RawIOBase):
    """A remote file read in blocks of `REQUEST_BYTES`, one request each."""

    def __init__(self, path: RemotePath) -> None:
        self._path = path
        self._position = 0
        self._start = 0
        self._block = memoryview(b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position from the beginning of the file."""
        if whence != io.SEEK_SET:
            raise io.UnsupportedOperation("a remote file is read from its beginning")
        self._position = offset
        return offset

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as what was read ahead goes; 0 at the end of the file."""
        begin = self._position - self._start
        if not 0 <= begin < len(self._block):
            path = self._path
            data = path.client.read_range(path.name, self._position, REQUEST_BYTES)
            self._start, self._block, begin = self._position, memoryview(data), 0
        target = memoryview(buffer).cast("B")
        part = self._block[begin : begin + len(target)]
        target[: len(part)] = part
        self._position += len(part)
        return len(part)


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Say whether a path is a URL.

    Examples
    --------
    >>> is_remote("s3://bucket/train.zarr"), is_remote("/data/train.zarr")
    (True, False)
    """
    return "://" in os.fspath(path)


def zarr_place(place: Place) -> tuple[Store, str]:
    """Return zarr's store, and the path in it, where `zarr.open_array` finds an array."""
    from zarr.storage import LocalStore

    if isinstance(place, RemotePath):
        return place.client.zarr_store(), place.name
    return LocalStore(str(place), read_only=True), ""


def remote_path(url: str, options: dict[str, Any] | None) -> RemotePath:
    """Return the place of a store; nothing is asked of it yet.

    Parameters
    ----------
    url
        s3://bucket/path, gs://bucket/path or https://host/path.
    options
        For `obstore.store.from_url`, beside what it reads from the environment.

    Raises
    ------
    StoreError
        For a URL of another kind.
    """
    if url.partition("://")[0] not in SCHEMES:
        raise StoreError(
            f"{url} is no address of a store; give a folder, s3://bucket/path, gs://bucket/path "
            "or https://host/path"
        )
    if "?" in url or "#" in url:
        raise StoreError(
            f"{url} has a query or a fragment, behind which no file of a store can be named; give "
            "the address of its folder, and keys to it in storage_options"
        )
    return RemotePath(RemoteClient(url.rstrip("/"), dict(options or {})))
