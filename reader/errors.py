"""The errors that patchmill raises; each is also a builtin, so that plain code can catch it."""

from __future__ import annotations


class PatchmillError(Exception):
    """Something that the user can mend; its text says what was found and what to do."""


class StoreError(PatchmillError, ValueError):
    """A folder that is not a store of ours, or one that this version cannot read."""


class IncompleteStoreError(PatchmillError, FileNotFoundError):
    """A store whose run has not finished."""


class DamagedStoreError(PatchmillError, OSError):
    """Bytes of a store that are not what was written; names the store, the shard and the patch."""


class RemoteStoreError(PatchmillError, OSError):
    """A store elsewhere that could not be read; names the URL, what was said and what to do."""


class MemoryLimitError(PatchmillError, MemoryError):
    """More memory was asked for than is left; says how much of each."""


class WorkerError(PatchmillError, RuntimeError):
    """A worker process could not start, or died again and again on one piece of work."""
