"""One staging: every file in place, then the marks, and the root's zarr.json last of all."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from .errors import DamagedStoreError
from .folders import sync_folder
from .root import Root
from .stage_copy import FileFault, StoreFile, copy_file
from .stage_place import ROOT, is_in_place, missing_bytes, no_room
from .staged import MARK, read_part


class Staging:
    """A staging, by who holds the staging folder.

    Parameters
    ----------
    root
        Of the store to copy.
    dest
        Where to.
    folder
        The staging folder in it: for what is being written, moved from there when it is whole.
    verify
        Whether to check what is already there.
    """

    def __init__(self, root: Root, dest: Path, folder: Path, verify: bool) -> None:
        self._root = root
        self._dest = dest
        self._folder = folder
        self._verify = verify
        self._stop = threading.Event()

    def run(
        self,
        files: Sequence[StoreFile],
        wanted: tuple[str, ...],
        num_workers: int,
        tell: Callable[[int, int], None],
    ) -> list[StoreFile]:
        """Have everything in place, and return what was copied.

        Parameters
        ----------
        files, wanted
            All files of the wanted splits.
        num_workers
            Threads.
        tell
            Called with the bytes that are in place, and those that shall be.
        """
        part = read_part(self._dest)
        is_new = not (self._dest / ROOT).exists()
        if is_new:
            # Who goes on after a crash sees by it which store this is going to be.
            self._put((self._root.path / ROOT).read_bytes(), self._folder / ROOT)
        missing = missing_bytes(self._dest, files)
        if missing > shutil.disk_usage(self._dest).free:
            raise no_room(self._dest, missing)
        copied = self._place_all(files, num_workers, tell)
        # The names of the files must outlive a power cut if that of the root does.
        for folder in {(self._dest / file.name).parent for file in copied}:
            sync_folder(folder)
        if is_new:
            self._mark(wanted)
            (self._folder / ROOT).replace(self._dest / ROOT)
        elif part is not None:
            self._mark((*part.splits, *wanted))
        sync_folder(self._dest)
        return copied

    def _place_all(
        self, files: Sequence[StoreFile], num_workers: int, tell: Callable[[int, int], None]
    ) -> list[StoreFile]:
        copied = []
        done, total = 0, sum(file.nbytes for file in files)
        tell(done, total)
        pool = ThreadPoolExecutor(num_workers, "patchmill-stage")
        try:
            futures = {pool.submit(self._place, file): file for file in files}
            for future in as_completed(futures):
                file = futures[future]
                if future.result():
                    copied.append(file)
                done += file.nbytes
                tell(done, total)
        finally:
            # After a failure the others end within a block, and leave nothing behind.
            self._stop.set()
            pool.shutdown(cancel_futures=True)
        return copied

    def _place(self, file: StoreFile) -> bool:
        """Have one file in place, and return whether it was copied."""
        if is_in_place(self._dest, file) and not (self._verify and self._is_wrong(file)):
            return False
        target = self._dest / file.name
        attempt = self._folder / uuid.uuid4().hex
        try:
            copy_file(file, self._root.path, attempt, self._stop)
            target.parent.mkdir(parents=True, exist_ok=True)
            attempt.replace(target)
        except FileFault as fault:
            raise DamagedStoreError(
                f"{self._root.path}: {file.name}: {fault}; `patchmill verify` lists all damage, "
                "then make or copy that store again"
            ) from fault
        finally:
            attempt.unlink(missing_ok=True)
        return True

    def _is_wrong(self, file: StoreFile) -> bool:
        """Whether a file that is there is not what was written."""
        if not (file.rows_per_shard or file.has_checksum or file.sha256):
            one, other = self._root.path / file.name, self._dest / file.name
            return not filecmp.cmp(one, other, shallow=False)
        try:
            copy_file(file, self._dest, None, self._stop)
        except FileFault:
            return True
        return False

    def _mark(self, splits: Sequence[str]) -> None:
        """Say which splits are there; a store that has all needs no mark."""
        there = [name for name in self._root.splits if name in splits]
        if len(there) == len(self._root.splits):
            (self._dest / MARK).unlink(missing_ok=True)
            return
        content = {"source": str(self._root.path), "splits": there}
        self._put(json.dumps(content, indent=2).encode() + b"\n", self._dest / MARK)

    def _put(self, content: bytes, target: Path) -> None:
        """Replace a small file, whole or not at all."""
        attempt = self._folder / uuid.uuid4().hex
        with attempt.open("xb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        attempt.replace(target)
