"""Finds how much of each candidate is foreground: on the cluster, or from the cache.

Candidates come before splits: with `foreground.by`, all images of a group say its thresholds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..tasks.contrast import NO_JOINS, Joins
from ..tasks.foreground import Foreground
from ..tasks.foreground_scores import (
    ForegroundScore,
    find_thresholds,
    score_foreground,
    sketch_images,
    with_contrast,
)
from ..tasks.sketch import Sketch, merge
from ..tasks.source import ImageSource
from .column_faults import column_fault
from .errors import RecipeError
from .globs import few
from .looking import Task, look
from .recipe import Recipe
from .score_cache import FractionCache, HistogramCache
from .survey import Connect, Survey


@dataclass(frozen=True)
class Scoring:
    """What images are looked at for.

    Attributes
    ----------
    recipe
        Settled.
    sources
        The images, with `foreground`.
    windows
        Of each: int64, shape (n, 4), as `cut_patches` takes them.
    connect
        Opens the cluster.
    """

    recipe: Recipe
    sources: Sequence[ImageSource]
    windows: Sequence[NDArray[np.int64]]
    connect: Connect


def find_foreground(
    recipe: Recipe,
    surveyed: Survey,
    windows: Sequence[NDArray[np.int64]],
    connect: Connect,
) -> tuple[list[Foreground], list[NDArray[np.float32] | str]]:
    """Return the settled foreground of each image, and how much of its windows that is.

    Parameters
    ----------
    recipe
        Settled, with `[foreground]`.
    surveyed
        After `bind_foreground`.
    windows
        Of each image: int64, shape (n, 4), as `cut_patches` takes them.
    connect
        Called only where something is not known from an earlier run.

    Returns
    -------
    foregrounds
        With thresholds.
    fractions
        float32, shape (n,), 0 to 1; or why an image cannot be read.

    Raises
    ------
    RecipeError
        Where `foreground.by` names no column of the images.
    """
    table = recipe.foreground
    assert table is not None
    sources = [image.source for image in surveyed.images]
    scoring = Scoring(recipe, sources, windows, connect)
    if not table.by:
        found = _score(scoring, _foregrounds(sources))
        return _settled(_foregrounds(sources), found), _fractions(found)
    groups = _groups(recipe, surveyed)
    shared, unread = _shared_thresholds(scoring, groups)
    found = _score(scoring, shared, unread)
    final = list(shared)
    again: list[int] = []
    for numbers in groups.values():
        scored = [own for n in numbers if isinstance(own := found[n], ForegroundScore)]
        if not scored:
            continue
        joins = _sum([own.joins for own in scored])
        for number in numbers:
            thresholds = with_contrast(shared[number], shared[number].thresholds, joins)
            if thresholds != shared[number].thresholds:
                final[number] = replace(shared[number], thresholds=thresholds)
                again.append(number)
    return final, _fractions(_without_noise(scoring, final, found, again))


def survey_bytes(recipe: Recipe, surveyed: Survey) -> int:
    """Return how many bytes of pixels thumbnails take to read, where nothing is known of them.

    With `foreground.by` they are read twice: for the histograms, and for the masks.
    """
    often = 2 if recipe.foreground and recipe.foreground.by else 1
    return often * sum(_nbytes(image.source) for image in surveyed.images)


def _foregrounds(sources: Sequence[ImageSource]) -> list[Foreground]:
    return [source.foreground for source in sources if source.foreground is not None]


def _settled(
    foregrounds: Sequence[Foreground], found: Sequence[ForegroundScore | str]
) -> list[Foreground]:
    return [
        replace(own, thresholds=score.thresholds) if isinstance(score, ForegroundScore) else own
        for own, score in zip(foregrounds, found, strict=True)
    ]


def _fractions(found: Sequence[ForegroundScore | str]) -> list[NDArray[np.float32] | str]:
    return [own if isinstance(own, str) else own.fractions for own in found]


def _sum(parts: Sequence[Sequence[Joins]]) -> list[Joins]:
    return [sum(own, NO_JOINS) for own in zip(*parts, strict=True)]


def _groups(recipe: Recipe, surveyed: Survey) -> dict[tuple[str, ...], list[int]]:
    """Return the images that have thresholds in common, by number."""
    names = recipe.foreground.by if recipe.foreground else ()
    rows = [{**dict(image.files.groups), "id": image.id} for image in surveyed.images]
    known = list(dict.fromkeys(name for row in rows for name in row))
    for name in names:
        if fault := column_fault(recipe.images, name, known):
            raise RecipeError(f"foreground.by: {fault}")
        if empty := [row["id"] for row in rows if not row.get(name)]:
            raise RecipeError(
                f'foreground.by: "{name}" is empty for {few(empty, len(empty))}; fill it in, or '
                "leave the images out"
            )
    groups: dict[tuple[str, ...], list[int]] = {}
    for number, row in enumerate(rows):
        groups.setdefault(tuple(row[name] for name in names), []).append(number)
    return groups


def _shared_thresholds(
    scoring: Scoring, groups: Mapping[tuple[str, ...], Sequence[int]]
) -> tuple[list[Foreground], dict[int, str]]:
    """Return each image with the thresholds of its group, and those that could not be read."""
    foregrounds = _foregrounds(scoring.sources)
    merged, read = _merged_sketches(scoring, groups)
    for name, sketches in merged.items():
        for number in groups[name]:
            thresholds = find_thresholds(foregrounds[number], sketches)
            foregrounds[number] = replace(foregrounds[number], thresholds=thresholds)
    return foregrounds, {n: own for n, own in enumerate(read) if isinstance(own, str)}


def _merged_sketches(
    scoring: Scoring, groups: Mapping[tuple[str, ...], Sequence[int]]
) -> tuple[dict[tuple[str, ...], list[Sketch]], list[bool | str]]:
    """Return the histograms of each group, and which images they are of, or why they are not."""
    options, sources = scoring.recipe.images.options, scoring.sources
    name_of = {number: name for name, numbers in groups.items() for number in numbers}
    merged: dict[tuple[str, ...], list[Sketch]] = {}
    cache = HistogramCache(options)

    def take(number: int, sketches: list[Sketch]) -> bool:
        # Sums of integers are the same in any order; and those of all images would be many.
        former, name = merged.get(name_of[number]), name_of[number]
        pairs = zip(former or (), sketches, strict=bool(former))
        merged[name] = [merge(pair) for pair in pairs] if former else sketches
        return True

    def keep(number: int, sketches: list[Sketch]) -> bool:
        cache.put(sources[number], sketches)
        return take(number, sketches)

    known = []
    for number, source in enumerate(sources):
        sketches = cache.get(source)
        known.append(None if sketches is None else take(number, sketches))
    read = look(
        scoring.connect,
        Task("histogram", sketch_images, lambda own: ([sources[n] for n in own], options)),
        known,
        [_nbytes(source) for source in sources],
        keep,
    )
    return merged, read


def _without_noise(
    scoring: Scoring,
    final: Sequence[Foreground],
    found: list[ForegroundScore | str],
    again: Sequence[int],
) -> list[ForegroundScore | str]:
    """Return what is found with the final thresholds, of images whose group shows only noise."""
    looked_at = []
    for number in again:
        score = found[number]
        if isinstance(score, str):
            continue
        if any(map(math.isfinite, final[number].thresholds)):
            looked_at.append(number)
        else:
            found[number] = replace(score, fractions=np.zeros_like(score.fractions))
    if looked_at:
        only = replace(
            scoring,
            sources=[scoring.sources[number] for number in looked_at],
            windows=[scoring.windows[number] for number in looked_at],
        )
        scores = _score(only, [final[number] for number in looked_at])
        for number, own in zip(looked_at, scores, strict=True):
            found[number] = own
    return found


def _score(
    scoring: Scoring, foregrounds: Sequence[Foreground], unread: Mapping[int, str] | None = None
) -> list[ForegroundScore | str]:
    """Return how much of windows is foreground."""
    options, size = scoring.recipe.images.options, scoring.recipe.patches.size_zyx
    sources, windows = _with(scoring.sources, foregrounds), scoring.windows
    cache = FractionCache(options, size)
    found: list[ForegroundScore | str | None] = [
        cache.get(source, corners) for source, corners in zip(sources, windows, strict=True)
    ]
    for number, reason in (unread or {}).items():
        found[number] = reason

    def keep(number: int, score: ForegroundScore) -> ForegroundScore:
        cache.put(sources[number], windows[number], score)
        return score

    return look(
        scoring.connect,
        Task(
            "foreground",
            score_foreground,
            lambda own: ([sources[n] for n in own], [windows[n] for n in own], size, options),
        ),
        found,
        [_nbytes(source) for source in sources],
        keep,
    )


def _with(sources: Sequence[ImageSource], foregrounds: Sequence[Foreground]) -> list[ImageSource]:
    # A given mask travels with `foreground`.
    return [
        replace(source, foreground=own, annotations=())
        for source, own in zip(sources, foregrounds, strict=True)
    ]


def _nbytes(source: ImageSource) -> int:
    """Return how many bytes are decoded for the thumbnails of an image."""
    foreground = source.foreground
    assert foreground is not None
    n_t, channels, n_z, _ = source.kind.planes.shape
    _, height, width = foreground.resolution.shape
    wanted = len(foreground.channels) or channels
    together = min(channels, -(-wanted // foreground.segment[1]) * foreground.segment[1])
    return math.prod((n_t, n_z, together, height, width, int(source.kind.dtype.itemsize)))
