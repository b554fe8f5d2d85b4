"""The folder of a run that holds what differs between runs: `NAME.zarr.run/`.

ledger      what is finished
steps.json  what the recipe's steps took from images and reference files
plan.json   which store it is of, and what its plan was, to say what differs from another one
splits.csv  the split of each group, to be given to the next recipe
pictures/   what was found on the way, such as flat fields
tmp/        what is being written, moved into the store when it is whole
lock        held while a run goes on
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..reader.errors import PatchmillError, StoreError
from ..reader.remote import is_remote
from ..tasks.remote_place import Storage
from .destination import Destination, local_destination, move_into_place
from .remote_destination import RemoteDestination


@dataclass(frozen=True)
class RunFolder:
    """Where a run keeps its state.

    Attributes
    ----------
    store
        That the run makes.
    path
        The folder itself, absolute; for a store in a folder, on the same file system.
    """

    store: Destination
    path: Path

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

    def stage_json(self, name: str, content: dict[str, Any]) -> Path:
        """Return a staged JSON file; keys in the order given."""
        staged = self.staging(name)
        staged.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
        return staged

    def keep_picture(self, name: str, data: bytes) -> None:
        """Keep a picture of what was found on the way, whole or not at all."""
        folder = self.path / "pictures"
        folder.mkdir(exist_ok=True)
        staged = self.staging(name)
        staged.write_bytes(data)
        move_into_place(staged, folder / name)

    def keep_steps(self, steps: Sequence[dict[str, Any]], is_begun: bool) -> None:
        """Note what the recipe's steps were bound to; what is finished must go on alike.

        Raises
        ------
        StoreError
            Where shards are finished whose pixels went through other steps.
        """
        content = json.loads(json.dumps(list(steps)))
        kept = self.path / "steps.json"
        if is_begun and kept.exists():
            before = json.loads(kept.read_text())["steps"]
            for number, (one, other) in enumerate(zip(before, content, strict=False)):
                if one != other:
                    raise StoreError(
                        f"{self.store}: what the step {other['name']} (the {number + 1}th) takes "
                        "from images or reference files has changed since this store was begun; "
                        "bring the files back, or start anew with --overwrite"
                    )
        move_into_place(self.stage_json(kept.name, {"steps": content}), kept)

    def write_plan(self, digest: str, document: dict[str, Any]) -> None:
        """Note what the plan is, whole or not at all."""
        content = {"store": str(self.store), "digest": digest, "document": document}
        move_into_place(self.stage_json(self.plan.name, content), self.plan)


def run_folder_of(
    store: str | Path, folder: str | Path | None = None, storage: Storage = ()
) -> RunFolder:
    """Return the run folder of a store.

    Parameters
    ----------
    store
        A folder, or the URL of a place on an object store.
    folder
        For a store on an object store; by default NAME.zarr.run in the working directory. That of
        a store in a folder lies beside it.
    storage
        Options of the object store.

    Raises
    ------
    PatchmillError
        Where no store can be written there.
    """
    if is_remote(store):
        place = RemoteDestination(str(store), storage)
        return RunFolder(place, Path(folder or f"{place.name}.run").absolute())
    if folder is not None:
        raise PatchmillError(
            f"{store} is a folder, and what its run keeps lies beside it; leave --run-folder out"
        )
    local = local_destination(store)
    return RunFolder(local, local.path.with_name(f"{local.name}.run"))
