"""Which epoch an iteration gives, where several processes share the iteration: written down once.

DataLoader's worker processes each iterate a copy of the dataset. A count of its own in each copy
would not do: new workers would begin with the parent's count, which nothing advances, and
`set_epoch` in the parent would not reach workers that live on. So the copies share a file without
a name, and whoever comes first for an iteration writes its epoch down there.
"""

from __future__ import annotations

import fcntl
import json
import multiprocessing.context
import os
import weakref
from collections.abc import Generator
from contextlib import contextmanager
from multiprocessing import reduction
from typing import Any, TypedDict

from .segments import unnamed_file

#: Iterations to remember: those that some worker may yet come for.
MOST_ITERATIONS = 64


class _Iteration(TypedDict):
    key: list[int]
    epoch: int
    members: list[int]


class _Notes(TypedDict):
    next_epoch: int
    iterations: list[_Iteration]


class SharedEpochs:
    """Counts epochs for all copies of itself, in this process and in those that it is sent to.

    Copies in a process that is forked or spawned share the count; one that was pickled by other
    means begins with the count as it was then, and goes on by itself. Each change is made under a
    lock of the file that the kernel releases when its holder dies.

    Parameters
    ----------
    first
        The first epoch.

    Examples
    --------
    >>> epochs = SharedEpochs()
    >>> epochs.take(), epochs.take()
    (0, 1)
    >>> [epochs.take(key=(2, 712), member=worker) for worker in (1, 0)]  # one iteration of two
    [2, 2]
    """

    def __init__(self, first: int = 0) -> None:
        self._use(unnamed_file())
        self._write({"next_epoch": first, "iterations": []})

    @property
    def next_epoch(self) -> int:
        """The epoch of the next iteration that begins."""
        with self._locked() as notes:
            return notes["next_epoch"]

    def set_next(self, epoch: int) -> None:
        """Make the next iteration that begins give this epoch."""
        with self._locked() as notes:
            notes["next_epoch"] = epoch
            self._write(notes)

    def take(self, key: tuple[int, ...] | None = None, member: int = 0) -> int:
        """Return the epoch of an iteration that begins, and count on.

        Parameters
        ----------
        key
            What the members of one iteration have in common, and other iterations have not. Should
            another have it none the less (the random generator that it came from was seeded
            again), then a member that comes a second time begins a new iteration. None is an
            iteration by itself.
        member
            Which of them comes.
        """
        with self._locked() as notes:
            if key is not None:
                for known in reversed(notes["iterations"]):
                    if known["key"] == list(key) and member not in known["members"]:
                        known["members"].append(member)
                        self._write(notes)
                        return known["epoch"]
            epoch = notes["next_epoch"]
            notes["next_epoch"] = epoch + 1
            if key is not None:
                notes["iterations"].append({"key": [*key], "epoch": epoch, "members": [member]})
                del notes["iterations"][:-MOST_ITERATIONS]
            self._write(notes)
            return epoch

    def __reduce__(self) -> tuple[Any, ...]:
        if multiprocessing.context.get_spawning_popen() is None:
            return SharedEpochs, (self.next_epoch,)
        return _received, (reduction.DupFd(self._file),)

    def _use(self, file: int) -> None:
        self._file = file
        weakref.finalize(self, os.close, file)

    @contextmanager
    def _locked(self) -> Generator[_Notes, None, None]:
        # Of the kind that a process holds, not an open file: forked processes share the latter.
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            yield json.loads(os.pread(self._file, os.fstat(self._file).st_size, 0))
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _write(self, notes: _Notes) -> None:
        # Never shorter than before, so that one call replaces all: a process may die between two.
        data = json.dumps(notes).encode()
        os.pwrite(self._file, data.ljust(os.fstat(self._file).st_size), 0)


def _received(file: Any) -> SharedEpochs:
    """Return a copy of what the process that started this one has."""
    epochs = SharedEpochs.__new__(SharedEpochs)
    epochs._use(file.detach())
    return epochs
