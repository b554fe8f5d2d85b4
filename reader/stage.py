"""Stages a store: copies its shards to a disk of this machine, in parallel and checked.

Where only the reader is installed it is a command, too:
`python -m patchmill.reader.stage STORE DEST --split train`.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import PatchmillError, StoreError
from .root import Root, read_root
from .stage_files import store_files
from .stage_lock import staging_folder
from .stage_place import (
    ROOT,
    missing_bytes,
    no_room,
    refuse_foreign,
    refuse_other,
    refuse_overlap,
)
from .stage_run import Staging
from .staged import read_part

#: Streams from a network file system add up, and each holds no more than a block.
NUM_WORKERS = 8


@dataclass(frozen=True)
class Staged:
    """What was done.

    Attributes
    ----------
    path
        The staged store.
    copied, kept
        Files that were copied, and that were there before.
    nbytes
        Of those that were copied.
    """

    path: Path
    copied: int
    kept: int
    nbytes: int


@dataclass(frozen=True)
class StageProgress:
    """How far it is.

    Attributes
    ----------
    is_waiting
        Whether another process stages into the same folder, which comes first.
    done_bytes, all_bytes
        Of the files that are in place, and of all that shall be.
    """

    is_waiting: bool
    done_bytes: int = 0
    all_bytes: int = 0


def stage(
    store: str | os.PathLike[str],
    dest: str | os.PathLike[str],
    *,
    split: str | Sequence[str] | None = None,
    num_workers: int = NUM_WORKERS,
    verify: bool = False,
    progress: Callable[[StageProgress], None] | None = None,
) -> Staged:
    """Copy a store, or the shards that have rows of some splits, to where it is read faster.

    Every checksum is compared on the way. A file is moved to its place whole, so that what is
    there with the right size is not copied again, and the root's zarr.json comes last, so that
    nobody opens a store that is not all there. Any number of processes may call this at once: one
    copies, the others wait, and each returns once all that it asked for is there. After a crash
    the same call goes on.

    Parameters
    ----------
    store
        The folder of a complete store.
    dest
        The folder to make. One that has other splits of the same store gets these, too.
    split
        Name of a split, or several; by default all.
    num_workers
        Threads, each of which copies one file at a time.
    verify
        Check what is already there, and copy anew what is not as it was written.
    progress
        Called from this thread, each time something is in place.

    Raises
    ------
    StoreError
        Where there is no store, no such split, or something else at `dest`.
    DamagedStoreError
        Where a file of `store` is not what was written; it is named, and `dest` is not complete.
    PatchmillError
        Where `dest` has no room, or cannot be written.

    Examples
    --------
    >>> stage("/shared/train.zarr", "/scratch/train.zarr", split="train")  # doctest: +SKIP
    """
    if num_workers < 1:
        raise ValueError(f"num_workers is {num_workers}; give at least 1")
    # Absolute, not resolved: errors should name what the user knows.
    source, target = Path(os.path.abspath(store)), Path(os.path.abspath(dest))  # noqa: PTH100
    root = read_root(source, allow_incomplete=False)
    wanted = _choose(root, split)
    refuse_overlap(source, target)
    refuse_foreign(target)
    files = store_files(root, wanted)
    tell = progress or (lambda _: None)
    try:
        if not verify and _has_all(target, source, wanted) and not missing_bytes(target, files):
            return Staged(target, 0, len(files), 0)
        with staging_folder(target, lambda: tell(StageProgress(True))) as folder:
            refuse_other(target, source)
            staging = Staging(root, target, folder, verify)
            copied = staging.run(
                files, wanted, num_workers, lambda *sizes: tell(StageProgress(False, *sizes))
            )
    except PatchmillError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise no_room(target, missing_bytes(target, files)) from error
        raise PatchmillError(
            f"{target}: {error}; mend that, and run the same stage again"
        ) from error
    nbytes = sum(file.nbytes for file in copied)
    return Staged(target, len(copied), len(files) - len(copied), nbytes)


def _choose(root: Root, split: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the splits to stage, in row order."""
    names = list(root.splits) if split is None else [split] if isinstance(split, str) else [*split]
    unknown = [name for name in names if name not in root.splits]
    if unknown or not names:
        found = ", ".join(map(repr, unknown)) or "none"
        there = ", ".join(map(repr, root.splits))
        raise StoreError(f"{root.path}: split {found} is not among {there}")
    part = read_part(root.path)
    if part is not None and not set(names) <= set(part.splits):
        raise StoreError(
            f"{root.path} was itself staged in part and has {', '.join(part.splits)} alone; "
            f"name that as split, or stage from {part.source}"
        )
    return tuple(name for name in root.splits if name in names)


def _has_all(dest: Path, source: Path, wanted: tuple[str, ...]) -> bool:
    """Whether a place holds this store and says that these splits are complete."""
    try:
        if (dest / ROOT).read_bytes() != (source / ROOT).read_bytes():
            return False
    except FileNotFoundError:
        return False
    part = read_part(dest)
    return part is None or set(wanted) <= set(part.splits)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command of this module."""
    parser = argparse.ArgumentParser(
        prog="python -m patchmill.reader.stage",
        description="Copy STORE, or some of its splits, to DEST, a disk of this machine.",
    )
    parser.add_argument("store", metavar="STORE")
    parser.add_argument("dest", metavar="DEST")
    parser.add_argument("--split", action="append", help="Only this split; may be repeated.")
    parser.add_argument("--threads", type=int, default=NUM_WORKERS, help="Files at a time.")
    parser.add_argument("--verify", action="store_true", help="Check what is already there, too.")
    given: Any = parser.parse_args(arguments)
    if given.threads < 1:
        parser.error(f"--threads is {given.threads}; give at least 1")
    try:
        done = stage(
            given.store,
            given.dest,
            split=given.split,
            num_workers=given.threads,
            verify=given.verify,
        )
    except PatchmillError as error:
        sys.exit(f"Error: {error}")
    print(f"{done.path}: complete, {done.copied:,} files copied, {done.kept:,} were there before")


if __name__ == "__main__":
    main()
