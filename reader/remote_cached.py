"""Rows of a field from shards in a local cache, downloaded whole when first asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .decode import FieldReader
from .errors import DamagedStoreError
from .field import Field
from .format import shard_name
from .remote import RemotePath
from .remote_cache import ShardCache, shard_key
from .remote_fetch import at_once
from .remote_reader import RemoteReader
from .shards import OpenShards

#: Shards that a call downloads at once; each holds two blocks of `REQUEST_BYTES` at most.
MOST_DOWNLOADS = 4


class CachedReader:
    """Reads the patches of one field of format 1 through a cache, on any number of threads.

    A shard that cannot be had whole (one of its chunks is damaged, say) is not kept; calls that
    want it read without the cache, which gives the patches that are right, and the right error.

    Parameters
    ----------
    store
        Where the store is.
    field
        What to read.
    digest
        Of what the store says of itself.
    cache
        Of whole shards.
    open_shards
        Makes the set of open shards, given what finds a shard's file in the cache.
    verify, is_complete
        See `RemoteReader`.
    """

    def __init__(
        self,
        store: RemotePath,
        field: Field,
        *,
        digest: str,
        cache: ShardCache,
        open_shards: Callable[[Callable[[str], str]], OpenShards[Any]],
        verify: bool,
        is_complete: bool,
    ) -> None:
        self.field = field
        self._store = store
        self._digest = digest
        self._cache = cache
        self._open = open_shards(lambda url: str(cache.file(self._key(url))))
        self._local = FieldReader(store, field, self._open, verify=verify, is_complete=is_complete)
        self._remote = RemoteReader(store, field, verify=verify, is_complete=is_complete)
        self._unfit: set[str] = set()

    def read_into(
        self,
        rows: NDArray[np.int64],
        out: NDArray[Any],
        corners: NDArray[np.int64] | None = None,
    ) -> None:
        """Read rows of the store, as `RemoteReader.read_into` does.

        Raises
        ------
        PatchmillError
            Where the cache cannot be written.
        RemoteStoreError
            Where the server cannot be reached, or refuses.
        DamagedStoreError
            For the first chunk that is not what was written.
        """
        numbers = np.unique(rows // self.field.rows_per_shard).tolist()
        names = [f"{self.field.name}/{shard_name(n, len(self.field.shape) + 1)}" for n in numbers]
        if self._unfit.isdisjoint(names):
            self._unfit.update(self._obtain([name for name in names if not self._is_there(name)]))
        if self._unfit.isdisjoint(names):
            try:
                return self._local.read_into(rows, out, corners)
            except DamagedStoreError:
                # Each was right when it came: this disk has changed it, or another process has
                # just deleted it to make room.
                for name in names:
                    self._cache.forget(self._key(str(self._store / name)))
                    self._open.drop(str(self._store / name))
        return self._remote.read_into(rows, out, corners)

    def _is_there(self, name: str) -> bool:
        url = str(self._store / name)
        is_there = self._cache.use(self._key(url))
        if not is_there:
            self._open.drop(url)  # or the disk would keep what the cache has deleted
        return is_there

    def _obtain(self, names: list[str]) -> list[str]:
        """Download shards, and return those that cannot be had."""

        def obtain(name: str) -> bool:
            shard = self._store / name
            return self._cache.obtain(self._key(str(shard)), shard, self.field.rows_per_shard)

        had = at_once(obtain, names, MOST_DOWNLOADS)
        return [name for name, is_had in zip(names, had, strict=True) if not is_had]

    def _key(self, url: str) -> str:
        return shard_key(str(self._store), self._digest, url)
