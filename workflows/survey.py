"""Surveys the images of a recipe: on the cluster, one task per batch of files."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from distributed import Client

from ..tasks.source import FileIdentity, FileInfo, SourceError
from ..tasks.survey import survey_files
from .cache import SurveyCache
from .files import Found, ImageFiles
from .images import SurveyedImage, join_files
from .recipe import Recipe
from .window import result_of, run_windowed

#: Files that one task surveys.
BATCH_FILES = 64


@dataclass(frozen=True)
class Survey:
    """What was found: the images in order, and those that are left out with the reason."""

    images: tuple[SurveyedImage, ...]
    failed: tuple[tuple[ImageFiles, str], ...]


#: Opens a cluster, when there is something to survey.
Connect = Callable[[], AbstractContextManager[Client]]


def survey(recipe: Recipe, found: Found, connect: Connect) -> Survey:
    """Look at every file, at most once as long as it does not change.

    Parameters
    ----------
    recipe
        Says what files hold that do not say it themselves, and what becomes of faults.
    found
        The images and their files.
    connect
        Called only where something is not known from an earlier survey.
    """
    paths = [file.path for image in found.images for file in image.files]
    infos = _look(recipe, paths, connect)
    images: list[SurveyedImage] = []
    failed: list[tuple[ImageFiles, str]] = []
    for files in found.images:
        try:
            images.append(join_files(recipe, found, files, infos))
        except SourceError as error:
            failed.append((files, files.portable(str(error))))
    return Survey(tuple(images), tuple(failed))


def _look(recipe: Recipe, paths: list[str], connect: Connect) -> dict[str, FileInfo | str]:
    content = recipe.images.identity == "content"
    cache = SurveyCache(recipe.images.axes, content)
    infos: dict[str, FileInfo | str] = {}
    # A network file system answers many questions at once faster than one after another.
    with ThreadPoolExecutor(16) as pool:
        known = pool.map(lambda path: _known(path, cache), paths)
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
            lambda batch: (batch, recipe.images.axes, content),
        )
        for batch, future in tasks:
            found_in_batch = result_of(future, f"survey of {batch[0]} to {batch[-1]}")
            for path, info in zip(batch, found_in_batch, strict=True):
                infos[path] = info
                if isinstance(info, FileInfo):
                    cache.put(path, info)
    return infos


def _known(path: str, cache: SurveyCache) -> FileInfo | None:
    try:
        stat = Path(path).stat()
    except OSError:
        return None  # the survey's task says what is wrong
    return cache.get(path, FileIdentity(stat.st_size, stat.st_mtime_ns))
