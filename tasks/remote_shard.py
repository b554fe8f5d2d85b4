"""Writes one shard to an object store: by one request, or in parts that are seen all at once."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field

from .remote_objects import MOST_PARTS, PART_BYTES, put_object, store_client
from .remote_place import Storage
from .shard import write_chunks

#: What a task holds beside its patches: a small shard, or the parts of a large one, one of them
#: twice (measured: 47 MB).
WRITING_BYTES = (2 + MOST_PARTS) * PART_BYTES


@dataclass(frozen=True)
class ShardObject:
    """An object of a store.

    A shard is sent once all of it is known, so that an attempt that fails or is killed leaves
    nothing that can be seen. Until then a large one is a file of the system's folder for temporary
    files, which has no name there and goes with its process.

    Attributes
    ----------
    url
        Of the store.
    name
        Of the object in it.
    storage
        Options of the object store.
    """

    url: str
    name: str
    storage: Storage = field(repr=False)  # which Dask would log, keys and all

    def write(self, chunks: Iterable[bytes | None], rows_per_shard: int) -> tuple[int, int]:
        """Write the object; return what `write_chunks` returns.

        Raises
        ------
        RemoteStoreError
            Where it cannot be written.
        OSError
            Where there is no room for temporary files.
        """
        with tempfile.SpooledTemporaryFile(max_size=PART_BYTES) as file:
            try:
                written = write_chunks(file, chunks, rows_per_shard)
            except OSError as error:
                if error.errno == errno.ENOSPC and error.filename is None:
                    error.filename = tempfile.gettempdir()
                raise
            file.seek(0)
            put_object(store_client(self.url, self.storage), self.name, file)
        return written
