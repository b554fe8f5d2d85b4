"""What GeoJSON files hold: looked at on the cluster, or known from an earlier look."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from ..tasks.geojson_file import GeoJsonInfo, survey_geojson
from ..tasks.identity import identity_of
from ..tasks.remote_place import Storage
from ..tasks.source import FileIdentity
from .cache import Cache
from .window import result_of, run_windowed

if TYPE_CHECKING:
    from .survey import Connect

#: Raised whenever the survey of a file finds more, or something else, than it did.
GEOJSON_VERSION = 1
#: Files that one task looks at.
BATCH_FILES = 8
_INFO = TypeAdapter(GeoJsonInfo)


def look_at_geojson(
    paths: Sequence[str], key: str, content: bool, storage: Storage, connect: Connect
) -> dict[str, GeoJsonInfo | str]:
    """Look at files, at most once as long as they do not change.

    Parameters
    ----------
    paths
        Of the files, each once.
    key, content, storage
        As in `survey_geojson`.
    connect
        Opens the cluster; called only where something is not known.

    Returns
    -------
    infos
        By path what is in the file, or one sentence that says why it cannot be read.
    """
    cache = Cache("geojson", [GEOJSON_VERSION, key, content])

    def known(path: str) -> GeoJsonInfo | None:
        try:
            found = cache.read(_place(path, identity_of((path,), False, storage)))
            return None if found is None else _INFO.validate_json(found)
        except ValueError:
            return None  # the task says what is wrong

    # A network file system answers many questions at once faster than one after another.
    with ThreadPoolExecutor(16) as pool:
        earlier = zip(paths, pool.map(known, paths), strict=True)
        infos: dict[str, GeoJsonInfo | str] = {path: info for path, info in earlier if info}
    unknown = [path for path in paths if path not in infos]
    if not unknown:
        return infos
    batches = deque(unknown[i : i + BATCH_FILES] for i in range(0, len(unknown), BATCH_FILES))
    with connect() as client:
        tasks = run_windowed(
            client,
            "survey-geojson",
            survey_geojson,
            batches,
            lambda batch: (batch, key, content, storage),
        )
        for batch, future in tasks:
            found = result_of(future, f"survey of {batch[0]} to {batch[-1]}")
            for path, info in zip(batch, found, strict=True):
                infos[path] = info
                if isinstance(info, GeoJsonInfo):
                    cache.write(_place(path, info.identity), json.dumps(asdict(info)))
    return infos


def _place(path: str, identity: FileIdentity) -> list[Any]:
    return [path, identity.size_bytes, identity.mtime_ns]
