"""The files below a folder that is one image, and what tells it from its later self."""

from __future__ import annotations

import os
from collections.abc import Iterator

#: A folder with one of these in it is a zarr group or array of version 3 or 2.
ZARR_FILES = ("zarr.json", ".zgroup", ".zarray", ".zattrs")


def files_below(folder: str) -> Iterator[os.DirEntry[str]]:
    """Yield all files below a folder, those behind links included, in no order."""
    seen: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if not entry.is_dir():
                    yield entry
                elif not entry.is_symlink():
                    waiting.append(entry.path)
                else:
                    # A link may lead to where it comes from.
                    stat = entry.stat()
                    if (stat.st_dev, stat.st_ino) not in seen:
                        seen.add((stat.st_dev, stat.st_ino))
                        waiting.append(entry.path)


def folder_identity(path: str) -> tuple[int, int]:
    """Return the bytes in a folder, and when the newest of its files was last written.

    Parameters
    ----------
    path
        Of a folder, such as a zarr group.

    Returns
    -------
    nbytes
        Of all files below it together.
    mtime_ns
        The newest, in nanoseconds since 1970; 0 where there is no file.
    """
    nbytes, newest = 0, 0
    for entry in files_below(path):
        stat = entry.stat()
        nbytes += stat.st_size
        newest = max(newest, stat.st_mtime_ns)
    return nbytes, newest
