"""Looks at files, at most once as long as they do not change: on the cluster, or from the cache."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

from distributed import Client

from ..tasks.image import ImageOptions
from ..tasks.source import FileInfo
from ..tasks.survey import survey_files
from .cache import SurveyCache
from .window import result_of, run_windowed

#: Files that one task looks at.
BATCH_FILES = 64

#: Opens a cluster, when there is something to do.
Connect = Callable[[], AbstractContextManager[Client]]


def look_at(
    paths: Sequence[str], options: ImageOptions, content: bool, connect: Connect
) -> dict[str, FileInfo | str]:
    """Return by their paths what is in files, or why one cannot be read.

    Parameters
    ----------
    paths
        Of the files.
    options, content
        As in `patchmill.tasks.survey.describe`.
    connect
        Called only where something is not known from an earlier survey.
    """
    cache = SurveyCache(options, content)
    infos: dict[str, FileInfo | str] = {}
    # A network file system answers many questions at once faster than one after another.
    with ThreadPoolExecutor(16) as pool:
        known = pool.map(cache.get, paths)
        infos.update({p: info for p, info in zip(paths, known, strict=True) if info is not None})
    unknown = [path for path in paths if path not in infos]
    if not unknown:
        return infos
    batches = deque(unknown[i : i + BATCH_FILES] for i in range(0, len(unknown), BATCH_FILES))
    with connect() as client:
        tasks = run_windowed(
            client,
            "survey",
            survey_files,
            batches,
            lambda batch: (batch, options, content),
        )
        for batch, future in tasks:
            found_in_batch = result_of(future, f"survey of {batch[0]} to {batch[-1]}")
            for path, info in zip(batch, found_in_batch, strict=True):
                infos[path] = info
                if isinstance(info, FileInfo):
                    cache.put(path, info)
    return infos
