"""GeoJSON files on workers: read whole, checked, kept from task to task; and what a survey says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .bytes import open_bytes
from .geojson import GeoJson, parse_geojson
from .identity import identity_of
from .kept import Kept
from .remote_place import Storage
from .source import FileIdentity, SourceError, naming

#: A longer file is refused: its text is held whole while it is read.
MAX_FILE_BYTES = 1 << 30
#: What a process keeps of files; one of them, whatever it holds.
MAX_KEPT_BYTES = 1 << 28
_files: Kept[GeoJson] = Kept(MAX_KEPT_BYTES)


@dataclass(frozen=True)
class GeoJsonInfo:
    """What the survey finds in a file.

    Attributes
    ----------
    identity
        Of the file.
    features
        How many polygons and multipolygons there are of each classification; "" for none.
    others
        How many features there are of each other type of geometry.
    """

    identity: FileIdentity
    features: dict[str, int]
    others: dict[str, int]

    @property
    def objects(self) -> int:
        """How many features there are that label maps number."""
        return sum(self.features.values())


def survey_geojson(
    paths: Sequence[str], key: str, content: bool, storage: Storage = ()
) -> list[GeoJsonInfo | str]:
    """Say what is in files, one after another.

    Parameters
    ----------
    paths
        Of the files, or URLs.
    key
        As in `parse_geojson`.
    content
        Whether the identity includes the sha256 of all of it.
    storage
        Options of remote stores.

    Returns
    -------
    found
        For each file what is in it, or one sentence that says why it cannot be read.
    """
    found: list[GeoJsonInfo | str] = []
    for path in paths:
        try:
            identity = identity_of((path,), content, storage)
            geojson = _read(path, identity, key, storage)
            found.append(GeoJsonInfo(identity, geojson.features, geojson.others))
        except SourceError as error:
            found.append(str(error))
    return found


def open_geojson(path: str, identity: FileIdentity, key: str, storage: Storage = ()) -> GeoJson:
    """Return what is in a file, from the few that this process keeps.

    Parameters
    ----------
    path, key, storage
        As in `survey_geojson`.
    identity
        Of the file at the survey.

    Raises
    ------
    SourceError
        Where it has changed since, or cannot be read.
    """
    return _files.get((path, identity, key), lambda: _read(path, identity, key, storage))


def _read(path: str, identity: FileIdentity, key: str, storage: Storage) -> GeoJson:
    with naming(path, "be read"), open_bytes(path, storage) as file:
        if file.identity() != (identity.size_bytes, identity.mtime_ns):
            raise SourceError(
                f"{path}: changed since the survey ({identity.size_bytes} bytes then, {file.size} "
                "now); run the command again when it no longer changes"
            )
        if file.size > MAX_FILE_BYTES:
            raise SourceError(
                f"{path}: has {file.size} bytes, and GeoJSON of at most {MAX_FILE_BYTES} is read; "
                "write fewer objects to a file, without their measurements"
            )
        data = np.empty(file.size, np.uint8)
        file.pread_into(data, 0)
        try:
            text = str(data.data, "utf-8-sig")
        except UnicodeDecodeError as error:
            raise SourceError(f"{path}: is not UTF-8, as GeoJSON is", detail=str(error)) from None
        del data
        return parse_geojson(path, text, key)
