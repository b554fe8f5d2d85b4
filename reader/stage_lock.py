"""One process at a time stages into a folder; the others wait, and find it done."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import PatchmillError
from .stage_place import ROOT
from .staged import STAGING

#: In the staging folder.
LOCK = "lock"


@contextmanager
def staging_folder(dest: Path, waiting: Callable[[], None]) -> Iterator[Path]:
    """Hold the staging folder of a store, made where it is absent.

    All that is in it is the root's zarr.json, which waits for the rest where an earlier staging
    did not end. It is deleted once there is a store to be opened. The kernel lets go of the lock
    when its process ends, however it ends; what a killed one was writing is thrown away.

    Parameters
    ----------
    dest
        The store's folder.
    waiting
        Called once where another process holds it.
    """
    folder = dest / STAGING
    fd = _acquire(folder, waiting)
    try:
        for path in folder.iterdir():
            if path.name not in (LOCK, ROOT):
                path.unlink()
        yield folder
    finally:
        if (dest / ROOT).exists():
            shutil.rmtree(folder, ignore_errors=True)
        # Closing alone would not do: a child that was forked meanwhile has the descriptor, too.
        fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)


def _acquire(folder: Path, waiting: Callable[[], None]) -> int:
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except (FileNotFoundError, FileExistsError):
            if folder.is_file() or folder.is_symlink():
                raise
            continue  # whoever held it was just done, and has deleted the folder
        try:
            _lock(fd, folder, waiting)
            if _is_there(fd, folder / LOCK):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # the lock of a folder that is gone


def _lock(fd: int, folder: Path, waiting: Callable[[], None]) -> None:
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(fd, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
            raise
        raise PatchmillError(
            f"{folder.parent}: its file system has no locks ({error.strerror}), so that two "
            "processes could not stage into it; choose a disk of this machine"
        ) from error


def _is_there(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False
