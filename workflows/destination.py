"""Where a store is written: a folder, or (`remote_destination`) a place on an object store."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..reader import Store, open_store
from ..reader.errors import PatchmillError
from ..reader.folders import sync_folder
from ..tasks.shard import ShardFile, ShardTarget


class Destination(Protocol):
    """A place for one store; `str` gives what users know it as."""

    @property
    def path(self) -> Path | str:
        """What `open_store` takes."""
        ...

    @property
    def name(self) -> str:
        """The last part of it."""
        ...

    @property
    def is_link(self) -> bool:
        """Whether it leads to a store that lies elsewhere."""
        ...

    @property
    def writing_bytes(self) -> int:
        """Memory that a task needs to write a shard, beside what it needs to cut it."""
        ...

    def is_absent(self) -> bool:
        """Whether there is nothing yet where the store shall be; an empty folder is nothing."""
        ...

    def read(self, name: str) -> bytes | None:
        """Return all of a file; None where there is none."""
        ...

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the size in bytes of every file in a folder of the store, by its name."""
        ...

    def put(self, staged: Path, name: str = "") -> None:
        """Bring a staged file or folder to its name, in place of what is there.

        Without a name it is the store itself. A file is seen whole or not at all.
        """
        ...

    def shard(self, name: str, tmp: Path) -> ShardTarget:
        """Return what a task writes a shard to; `tmp` is for what is not finished."""
        ...

    def remove(self, aside: Path) -> None:
        """Delete the store that is there; a deletion that is cut short leaves none that opens.

        `aside` is a name that nobody has, on the file system of the run folder.
        """
        ...

    def open(self) -> Store:
        """Open the complete store."""
        ...


@dataclass(frozen=True)
class LocalDestination:
    """A folder of a mounted file system, absolute."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.name

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return self.path.is_symlink()

    @property
    def writing_bytes(self) -> int:
        """None to speak of."""
        return 0

    def is_absent(self) -> bool:
        """Whether there is nothing, or an empty folder."""
        if not (self.path.exists() or self.path.is_symlink()):
            return True
        return self.path.is_dir() and not any(self.path.iterdir())

    def read(self, name: str) -> bytes | None:
        """Return all of a file; None where there is none."""
        try:
            return (self.path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the size in bytes of every file in a folder, by its name."""
        try:
            with os.scandir(self.path / folder) as found:
                return {each.name: each.stat().st_size for each in found if each.is_file()}
        except FileNotFoundError:
            return {}

    def put(self, staged: Path, name: str = "") -> None:
        """Flush it to disk and move it to its place."""
        move_into_place(staged, self.path / name)

    def shard(self, name: str, tmp: Path) -> ShardFile:
        """Return the file."""
        return ShardFile(str(self.path / name), str(tmp))

    def remove(self, aside: Path) -> None:
        """Move it away, to be deleted there: what is left of that is no store."""
        self.path.replace(aside)

    def open(self) -> Store:
        """Open the complete store."""
        return open_store(self.path)


def move_into_place(staged: Path, target: Path) -> None:
    """Flush a file or folder to disk and move it to its place; a folder there is replaced."""
    if staged.is_dir():
        for folder, _, names in os.walk(staged, topdown=False):
            for name in names:
                with (Path(folder) / name).open("rb") as file:
                    os.fsync(file.fileno())
            sync_folder(Path(folder))
        if target.exists():
            target.rename(staged.with_name(f"{staged.name}-old"))
    else:
        with staged.open("rb") as file:
            os.fsync(file.fileno())
    staged.replace(target)
    sync_folder(target.parent)


def local_destination(store: str | Path) -> LocalDestination:
    """Return the place of a folder.

    Raises
    ------
    PatchmillError
        Where it cannot be that of a store.
    """
    if re.match(r"\w{2,}:/[^/]", str(store)):
        raise PatchmillError(f"{store} was a URL before it became a Path; give it as a text")
    path = Path(store).absolute()
    if not path.name:
        raise PatchmillError(f"{store} is no place for a store; write a path such as train.zarr")
    return LocalDestination(path)
