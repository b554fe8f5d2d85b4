"""A place for a store on an object store: objects put whole, and found by one listing."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ..reader import Store, open_store
from ..reader.format import ATTRIBUTE
from ..reader.remote_client import RemoteClient
from ..reader.remote_fetch import at_once
from ..tasks.remote_objects import (
    STORE_OPTIONS_KEY,
    delete_objects,
    has_objects,
    object_sizes,
    put_object,
    store_client,
)
from ..tasks.remote_place import Storage, remote_options
from ..tasks.remote_shard import WRITING_BYTES, ShardObject

#: Objects that are put at once.
_MOST_AT_ONCE = 16
_ROOT = "zarr.json"


@dataclass(frozen=True)
class RemoteDestination:
    """A store on S3, Google Cloud Storage, Azure or what speaks their language.

    Attributes
    ----------
    path
        Its URL, without a slash at its end.
    storage
        Options of the object store, see `patchmill.tasks.remote_place.remote_options`.

    Raises
    ------
    PatchmillError
        For a URL where no store can be written, and for options that cannot be read.
    """

    path: str
    storage: Storage = field(default=(), repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", self.path.rstrip("/"))
        _ = self._client  # which says what is wrong with it

    @cached_property
    def _client(self) -> RemoteClient:
        return store_client(self.path, self.storage)

    def __str__(self) -> str:
        return self.path

    @property
    def name(self) -> str:
        """The last part of its URL."""
        return self.path.rpartition("/")[2]

    @property
    def is_link(self) -> bool:
        """Never."""
        return False

    @property
    def writing_bytes(self) -> int:
        """What waits to be sent."""
        return WRITING_BYTES

    def is_absent(self) -> bool:
        """Whether there is no object."""
        return not has_objects(self._client)

    def read(self, name: str) -> bytes | None:
        """Return all of an object; None where there is none."""
        try:
            return self._client.read(name)
        except FileNotFoundError:
            return None

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the size in bytes of every object in a folder and below, by its name there."""
        return object_sizes(self._client, folder)

    def put(self, staged: Path, name: str = "") -> None:
        """Put a file, or the files of a folder, and delete what else is there.

        The root of a store comes first: from then on the place is known as a store's.
        """
        if not staged.is_dir():
            put_object(self._client, name, staged)
            return
        before = self.sizes(name)
        files = {f.relative_to(staged).as_posix(): f for f in staged.rglob("*") if f.is_file()}
        begin = f"{name}/" if name else ""

        def put(relative: str) -> None:
            put_object(self._client, begin + relative, files[relative])

        put(_ROOT)
        at_once(put, [each for each in files if each != _ROOT], _MOST_AT_ONCE)
        delete_objects(self._client, [begin + each for each in before if each not in files])

    def shard(self, name: str, tmp: Path) -> ShardObject:
        """Return the object; what is not finished lies on the worker's machine."""
        return ShardObject(self.path, name, self.storage)

    def remove(self, aside: Path) -> None:
        """Mark the store as incomplete, then delete its objects, its root last.

        So what is left of a deletion that is cut short does not open, and is known as a store's.
        """
        root = json.loads(self._client.read(_ROOT))
        root.pop("consolidated_metadata", None)
        root["attributes"][ATTRIBUTE]["complete"] = False
        put_object(self._client, _ROOT, json.dumps(root, indent=2).encode())
        delete_objects(self._client, [name for name in self.sizes("") if name != _ROOT])
        delete_objects(self._client, [_ROOT])

    def open(self) -> Store:
        """Open the complete store."""
        options = remote_options(self.storage, STORE_OPTIONS_KEY)
        return open_store(self.path, storage_options=options)
