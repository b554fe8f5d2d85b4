"""Whole shards of remote stores, kept in a folder of this machine up to a limit.

Any number of processes, stores and runs may share a folder. A shard is downloaded under another
name, its checksums compared on the way, and moved to its place whole; the lock of whoever does so
ends with its process, so that what a killed one leaves is thrown away by the next. Whatever is
deleted meanwhile stays readable to those who have it open.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .errors import PatchmillError, RemoteStoreError
from .format import index_nbytes
from .remote import RemotePath
from .stage_copy import FileFault, StoreFile, copy_file

_WHOLE, _PART, _LOCK = ".shard", ".part", ".lock"


@dataclass(frozen=True)
class ShardCache:
    """A folder of shards.

    Attributes
    ----------
    folder
        Made when first needed.
    limit_bytes
        Beyond which the least recently used shards are deleted.
    """

    folder: Path
    limit_bytes: int

    def use(self, key: str) -> bool:
        """Say whether a shard is there, and note that it was used just now."""
        try:
            os.utime(self.file(key))
        except (FileNotFoundError, NotADirectoryError):
            return False
        except PermissionError:  # another user's, for whom alone it is noted
            return self.file(key).exists()
        return True

    def file(self, key: str) -> Path:
        """Return where a shard is, or will be."""
        return self.folder / f"{key}{_WHOLE}"

    def forget(self, key: str) -> None:
        """Delete a shard, which may be gone already."""
        self.file(key).unlink(missing_ok=True)

    def obtain(self, key: str, shard: RemotePath, rows_per_shard: int) -> bool:
        """Download a shard, unless it is there or another process does just that.

        Returns
        -------
        bool
            False where it is missing, or not as it was written: reading without the cache
            says which.

        Raises
        ------
        PatchmillError
            Where the folder cannot be written, or the shard is larger than the limit.
        RemoteStoreError
            Where it cannot be read.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with _locked(self.folder / f"{key}{_LOCK}", is_kept=False):
                return self.use(key) or self._download(key, shard, rows_per_shard)
        except PatchmillError:
            raise
        except OSError as error:
            hint = "give it room, or" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "mend it,"
            raise PatchmillError(
                f"the cache {self.folder} cannot be written ({error.strerror or error}); {hint} "
                "use another folder, or read without cache"
            ) from error

    def _download(self, key: str, shard: RemotePath, rows_per_shard: int) -> bool:
        part = self.folder / f"{key}{_PART}"
        part.unlink(missing_ok=True)
        try:
            nbytes = _size(shard, rows_per_shard)
            if nbytes > self.limit_bytes:
                raise PatchmillError(
                    f"{shard} has {nbytes} bytes and cache_bytes is {self.limit_bytes}; give at "
                    "least as much as a few shards have, or read without cache"
                )
            self.make_room(nbytes)
            copy_file(StoreFile(shard.name, nbytes, rows_per_shard), RemotePath(shard.client), part)
        except FileFault as fault:
            if isinstance(fault.__cause__, RemoteStoreError):
                raise fault.__cause__ from None
            return False
        else:
            part.rename(self.file(key))
            self.make_room(0)  # others may have downloaded at the same time
            return True
        finally:
            part.unlink(missing_ok=True)

    def make_room(self, nbytes: int) -> None:
        """Delete the least recently used shards until there is room for some bytes."""
        with _locked(self.folder / f"room{_LOCK}", is_kept=True):
            for part in self.folder.glob(f"*{_PART}"):
                self._delete_abandoned(part)
            whole = sorted(_sizes(self.folder, _WHOLE))
            taken = sum(size for _, size, _ in whole)
            for _, size, file in whole:
                if taken + nbytes <= self.limit_bytes:
                    return
                file.unlink(missing_ok=True)
                taken -= size

    def _delete_abandoned(self, part: Path) -> None:
        """Delete what a process was downloading that has ended."""
        with suppress(BlockingIOError), _locked(part.with_suffix(_LOCK), waits=False):
            part.unlink(missing_ok=True)


def shard_key(store: str, digest: str, name: str) -> str:
    """Return what a shard is called in a cache.

    Parameters
    ----------
    store, name
        The store's URL, and the shard's path in it.
    digest
        Of what the store says of itself: another one, once it was made again from other images
        or by another recipe, and its old shards are never taken for new ones.
    """
    return hashlib.sha256("\n".join((store, digest, name)).encode()).hexdigest()[:32]


def _size(shard: RemotePath, rows_per_shard: int) -> int:
    try:
        return shard.client.read_end(shard.name, index_nbytes(rows_per_shard))[1]
    except OSError as error:  # not there, or not to be reached
        raise FileFault(str(error)) from error


def _sizes(folder: Path, suffix: str) -> Iterator[tuple[int, int, Path]]:
    """Yield when each file was last used, its size, and its path."""
    for file in folder.glob(f"*{suffix}"):
        with suppress(FileNotFoundError):
            status = file.stat()
            yield status.st_mtime_ns, status.st_size, file


@contextmanager
def _locked(file: Path, *, is_kept: bool = False, waits: bool = True) -> Iterator[None]:
    """Hold the lock of a file; a BlockingIOError where another has it and one shall not wait."""
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
            if _is_there(descriptor, file):
                break
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # whoever held it has deleted it
    try:
        yield
    finally:
        if not is_kept:
            file.unlink(missing_ok=True)
        # Closing alone would not do: a child that was forked meanwhile has the descriptor, too.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _is_there(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False
