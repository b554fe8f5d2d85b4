"""The folder beside a store that holds what differs between runs: `NAME.zarr.run/`.

ledger      what is finished
plan.json   what the plan was, to say what differs from another one
splits.csv  the split of each group, to be given to the next recipe
tmp/        what is being written, moved into the store when it is whole
lock        held while a run goes on
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..reader.errors import PatchmillError
from ..reader.folders import sync_folder


@dataclass(frozen=True)
class RunFolder:
    """Where a run keeps its state.

    Attributes
    ----------
    store
        The store that it is beside, on the same file system.
    """

    store: Path

    @property
    def path(self) -> Path:
        """The folder itself."""
        return self.store.with_name(self.store.name + ".run")

    @property
    def tmp(self) -> Path:
        """What is being written."""
        return self.path / "tmp"

    @property
    def ledger(self) -> Path:
        """What is finished."""
        return self.path / "ledger"

    @property
    def splits(self) -> Path:
        """The split of each group."""
        return self.path / "splits.csv"

    @property
    def plan(self) -> Path:
        """What the plan was."""
        return self.path / "plan.json"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run; a second one on the same store is refused.

        The kernel lets go of the lock when its process ends, however it ends.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise PatchmillError(
                    f"{self.store}: another run is at work on this store; wait until it has ended"
                ) from None
            yield
        finally:
            os.close(fd)

    def clear_tmp(self) -> None:
        """Throw away what an interrupted run was writing."""
        shutil.rmtree(self.tmp, ignore_errors=True)
        # A worker that outlives a killed driver for a moment may make it again.
        self.tmp.mkdir(parents=True, exist_ok=True)

    def staging(self, name: str) -> Path:
        """Return a path in `tmp` that nobody else has."""
        return self.tmp / f"{name}-{uuid.uuid4().hex}"

    def move_into_place(self, staged: Path, target: Path) -> None:
        """Flush a file or folder to disk and move it to its place; a folder there is replaced."""
        if staged.is_dir():
            for folder, _, names in os.walk(staged, topdown=False):
                for name in names:
                    with (Path(folder) / name).open("rb") as file:
                        os.fsync(file.fileno())
                sync_folder(Path(folder))
            if target.exists():
                target.rename(self.staging("old"))
        else:
            with staged.open("rb") as file:
                os.fsync(file.fileno())
        staged.replace(target)
        sync_folder(target.parent)

    def write_json(self, target: Path, content: dict[str, Any]) -> None:
        """Replace a JSON file, whole or not at all; keys in the order given."""
        staged = self.staging(target.name)
        staged.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
        self.move_into_place(staged, target)
