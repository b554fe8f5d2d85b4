"""Scores candidates by their pixels: how much is foreground, focus, brightness, clipping."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..tasks.annotation import AnnotationField
from .filters import score_filters
from .foreground import find_foreground, survey_bytes
from .foreground_binding import bind_foreground
from .images import SurveyedImage
from .recipe import Recipe
from .survey import Connect, Survey

#: Gives the windows of an image that are scored, int64, shape (n, 4), as `cut_patches` takes them.
Windows = Callable[[SurveyedImage], NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class Scored:
    """Images, and the scores of their windows.

    Attributes
    ----------
    surveyed
        The images, with `source.foreground` where the recipe asks for it; those that could not be
        read are among the failed.
    columns
        By name, for each image float32, shape (n,): "foreground", and what `FilterScores.columns`
        has of the filters.
    notes
        What was guessed.
    read_bytes
        Of pixels, decoded, that scores take to read where nothing is known from an earlier run.
    """

    surveyed: Survey
    columns: dict[str, list[NDArray[np.float32]]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    read_bytes: int = 0


def score_candidates(
    recipe: Recipe,
    surveyed: Survey,
    windows: Windows,
    connect: Connect,
    fields: Sequence[AnnotationField] = (),
) -> Scored:
    """Score windows by [foreground] and [filters].

    Parameters
    ----------
    recipe
        Settled; without both tables nothing is read.
    surveyed
        Of one kind.
    windows
        Gives those of an image.
    connect
        Called only where something is not known from an earlier run.
    fields
        What `source.annotations` are of, where foreground is a given mask.

    Raises
    ------
    RecipeError
        Where [foreground] or [filters] do not fit the images.
    """
    scored = Scored(surveyed)
    if recipe.foreground is not None and surveyed.images:
        scored = _with_foreground(recipe, surveyed, windows, connect, fields)
    if recipe.filters is not None and recipe.filters.tables() and scored.surveyed.images:
        scored = _with_filters(recipe, scored, windows, connect)
    return scored


def _with_foreground(
    recipe: Recipe,
    surveyed: Survey,
    windows: Windows,
    connect: Connect,
    fields: Sequence[AnnotationField],
) -> Scored:
    surveyed = bind_foreground(recipe, surveyed, fields)
    corners = [windows(image) for image in surveyed.images]
    foregrounds, found = find_foreground(recipe, surveyed, corners, connect)
    images = tuple(
        replace(image, source=replace(image.source, foreground=own))
        for image, own in zip(surveyed.images, foregrounds, strict=True)
    )
    scored = Scored(replace(surveyed, images=images), read_bytes=survey_bytes(recipe, surveyed))
    readable = [own for own in found if not isinstance(own, str)]
    return _taken(scored, found, {"foreground": readable})


def _with_filters(recipe: Recipe, scored: Scored, windows: Windows, connect: Connect) -> Scored:
    images = scored.surveyed.images
    found = score_filters(recipe, images, [windows(image) for image in images], connect)
    columns, notes = found.columns()
    scored = _taken(scored, found.scores, columns)
    read_bytes = scored.read_bytes + found.read_bytes
    return replace(scored, notes=(*scored.notes, *notes), read_bytes=read_bytes)


def _taken(
    scored: Scored,
    found: Sequence[NDArray[Any] | str],
    columns: dict[str, list[NDArray[np.float32]]],
) -> Scored:
    """Take in columns of the images that could be read, and leave the others out."""
    surveyed = scored.surveyed
    kept = [number for number, own in enumerate(found) if not isinstance(own, str)]
    failed = tuple(
        (image.files, image.files.portable(own))
        for image, own in zip(surveyed.images, found, strict=True)
        if isinstance(own, str)
    )
    images = tuple(surveyed.images[number] for number in kept)
    former = {name: [own[number] for number in kept] for name, own in scored.columns.items()}
    return replace(
        scored,
        surveyed=replace(surveyed, images=images, failed=(*surveyed.failed, *failed)),
        columns=former | columns,
    )
