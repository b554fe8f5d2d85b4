"""Surveys the images of a recipe: on the cluster, one task per batch of files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..tasks.source import FileInfo, SourceError
from .file_survey import Connect, look_at
from .files import Found, ImageFiles
from .images import Joiner, SurveyedImage

if TYPE_CHECKING:
    from .recipe import Recipe

__all__ = ["Connect", "Survey", "survey"]


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
    content = recipe.images.identity == "content"
    infos = look_at(paths, recipe.images.options, content, connect)
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
