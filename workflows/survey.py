"""Surveys the images of a recipe: on the cluster, one task per batch of files."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from distributed import Client

from ..tasks.source import FileInfo, SourceError
from ..tasks.survey import survey_files
from .cache import SurveyCache
from .files import Found, ImageFiles
from .images import Joiner, SurveyedImage
from .recipe import Recipe
from .window import result_of, run_windowed

#: Files that one task surveys.
BATCH_FILES = 64


@dataclass(frozen=True)
class Survey:
    """What was found.

    Attributes
    ----------
    images
        In order.
    failed
        Those that are left out, with the reason.
    parts
        How many files belong to another one's image, as in an OME-TIFF of several files.
    """

    images: tuple[SurveyedImage, ...]
    failed: tuple[tuple[ImageFiles, str], ...]
    parts: int = 0


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
    joiner = Joiner(recipe, found, infos)
    images: list[SurveyedImage] = []
    failed: list[tuple[ImageFiles, str]] = []
    parts = _parts_of_sets(found, infos)
    for files in found.images:
        if files.files[0].path in parts:
            continue
        try:
            images += _one_by_one(joiner.join(files), infos[files.files[0].path])
        except SourceError as error:
            failed.append((files, files.portable(str(error))))
    return Survey(tuple(images), tuple(failed), len(parts))


def _parts_of_sets(found: Found, infos: Mapping[str, FileInfo | str]) -> set[str]:
    """Return the files that come with another one: of a set, the first that is listed stands."""
    parts: set[str] = set()
    for image in found.images:
        path = image.files[0].path
        info = infos[path]
        if isinstance(info, FileInfo) and path not in parts:
            parts.update(member for member in info.members if member != path)
    return parts


def _one_by_one(image: SurveyedImage, info: FileInfo | str) -> Iterator[SurveyedImage]:
    """Yield the images in a file that holds several, each with a name of its own."""
    if isinstance(info, str) or not info.items:
        yield image
        return
    for number, item in enumerate(info.items):
        files = replace(
            image.files,
            id=f"{image.files.id}#{item}",
            groups=(*image.files.groups, ("item", item)),
        )
        source = replace(image.source, id=files.id, item=number)
        yield replace(image, files=files, source=source)


def _look(recipe: Recipe, paths: list[str], connect: Connect) -> dict[str, FileInfo | str]:
    content = recipe.images.identity == "content"
    options = recipe.images.options
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
