"""What is already where a store shall be staged: nothing, this store, or something to be kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from .errors import PatchmillError, StoreError
from .format import ATTRIBUTE
from .stage_copy import StoreFile
from .staged import STAGING

#: Of a store's own metadata; in the staging folder until all else is in place.
ROOT = "zarr.json"


def refuse_overlap(source: Path, dest: Path) -> None:
    """Raise a StoreError where one folder is the other, or lies in it."""
    one, other = source.resolve(), dest.resolve()
    if one == other or one in other.parents or other in one.parents:
        raise StoreError(
            f"{dest} and {source} are the same folder, or one lies in the other; "
            "choose a place beside it, or on another disk"
        )


def refuse_foreign(dest: Path) -> None:
    """Raise a StoreError where there is something that is no store, staged or half staged.

    To be asked before anything is written there, and while others may be staging into it.
    """
    for _ in range(2):  # who begins to stage while a folder is listed is seen the second time
        try:
            names = [path.name for path in dest.iterdir()]
        except FileNotFoundError:
            return
        except NotADirectoryError:
            raise StoreError(f"{dest} is there and is no folder; choose another path") from None
        if not names or STAGING in names or ROOT in names:
            return
    raise StoreError(f"{dest} is there and is not a patchmill store; choose another path")


def refuse_other(dest: Path, source: Path) -> None:
    """Raise a StoreError where there is another store, staged or half staged.

    To be asked by who holds the staging folder.
    """
    content = (source / ROOT).read_bytes()
    for root in (dest / ROOT, dest / STAGING / ROOT):
        if not root.exists():
            continue
        found = root.read_bytes()
        if found == content:
            return
        here, there = _plan(found), _plan(content)
        if here == there:
            raise StoreError(
                f"{dest} is of the same plan as {source}, and its {ROOT} differs: that store was "
                f"finished anew, or {dest} is not a staged one; delete {dest}, or choose another "
                "path"
            )
        raise StoreError(
            f"{dest} holds another store: its plan is {here}, that of {source} is {there}; "
            f"choose another path, or delete {dest}"
        )
    if any(path.name != STAGING for path in dest.iterdir()):
        raise StoreError(f"{dest} is there and is not a patchmill store; choose another path")


def _plan(root: bytes) -> str:
    try:
        return str(json.loads(root)["attributes"][ATTRIBUTE]["plan"])[:12]
    except (ValueError, KeyError, TypeError):
        return "unknown"


def is_in_place(dest: Path, file: StoreFile) -> bool:
    """Whether a file is there; it was moved there whole, so its size says so."""
    try:
        return (dest / file.name).stat().st_size == file.nbytes
    except FileNotFoundError:
        return False


def missing_bytes(dest: Path, files: Sequence[StoreFile]) -> int:
    """Return how many bytes are still to be copied."""
    return sum(file.nbytes for file in files if not is_in_place(dest, file))


def no_room(dest: Path, missing: int) -> PatchmillError:
    """Return the error that says how much room is missing."""
    free = shutil.disk_usage(dest).free
    return PatchmillError(
        f"{dest}: {missing:,} bytes are still to be copied and {free:,} are free; make room, name "
        "one split, or choose another disk, and run the same stage again"
    )
