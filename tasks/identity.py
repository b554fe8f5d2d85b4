"""What tells a file, a folder or an object of a remote store from its later self."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Sequence
from pathlib import Path

from ..reader.remote import is_remote
from .bytes import open_bytes
from .folders import ZARR_FILES, files_below, folder_identity
from .remote_place import Storage
from .source import FileIdentity, SourceError, naming


def identity_of(paths: Sequence[str], content: bool, storage: Storage = ()) -> FileIdentity:
    """Return what tells files that belong together from their later selves.

    Parameters
    ----------
    paths
        Of the files; a folder is a zarr group or array.
    content
        Whether to read it all for its sha256.
    storage
        Options of remote stores.

    Raises
    ------
    SourceError
        Where one is gone, may not be read, or is no file at all.
    """
    sizes, times = [], []
    digest = hashlib.sha256()
    for path in paths:
        with naming(path, "look at the file"):
            size, time = _size_and_time(path, storage)
            sizes.append(size)
            times.append(time)
            if content:
                for part in _parts(path):
                    with open_bytes(part, storage) as opened, opened.file() as file:
                        digest.update(hashlib.file_digest(file, "sha256").digest())
    return FileIdentity(sum(sizes), max(times), digest.hexdigest() if content else "")


def _size_and_time(path: str, storage: Storage) -> tuple[int, int]:
    if is_remote(path):
        return _remote_size_and_time(path, storage)
    found = Path(path).stat()
    if stat.S_ISDIR(found.st_mode):
        return folder_identity(path)
    if not stat.S_ISREG(found.st_mode):
        # To open a pipe would wait for its other end.
        raise SourceError(f"{path}: is not a regular file; leave it out")
    return found.st_size, found.st_mtime_ns


def _remote_size_and_time(path: str, storage: Storage) -> tuple[int, int]:
    """Return what a server says of a file, or of the metadata of a zarr folder.

    To list all chunks of a folder may be thousands of requests.
    """
    for name in ("", *(f"/{name}" for name in ZARR_FILES)):
        try:
            with open_bytes(path.rstrip("/") + name, storage) as remote:
                return remote.identity()
        except FileNotFoundError:
            continue
    raise FileNotFoundError(path)


def _parts(path: str) -> list[str]:
    """Return the files that hold the content of a path: those of a folder in a fixed order."""
    if is_remote(path) and path.rstrip("/").endswith(".zarr"):
        raise SourceError(
            f"{path}: is many objects, which are not all read to tell whether they have changed; "
            'write images.identity = "mtime"'
        )
    if is_remote(path) or not Path(path).is_dir():
        return [path]
    return sorted(entry.path for entry in files_below(path))
