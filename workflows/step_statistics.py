"""Gathers the numbers that a step needs of the pixels that enter it: on the cluster, once.

Integers merge to the same in any order, so nothing depends on the number of workers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..tasks.measure import MeasureSpec
from ..tasks.pixel_measures import Measure
from ..tasks.sketch import Sketch, merge
from .errors import RecipeError
from .measuring import Pending, measure_groups, tasks_of
from .regions import draw_regions
from .sampling import Group, Sampling, groups_of
from .statistics_cache import Kept, StatisticsCache
from .step_recipe import Binding


@dataclass(frozen=True, eq=False)
class GroupNumbers:
    """The numbers of one group of images.

    Attributes
    ----------
    group
        Which.
    values
        float64, shape (c, k): as the `Measure` names them; None where there is not one pixel.
    error
        float64, shape (c, k): half the difference of the estimates from even and from odd regions;
        zeros where every pixel was measured, None where one half has no pixel.
    pixels
        How many were measured of each channel.
    regions, of
        How many were measured, and how many there are.
    failed
        Images that could not be read, by number, each with why.
    """

    group: Group
    values: NDArray[np.float64] | None
    error: NDArray[np.float64] | None
    pixels: tuple[int, ...]
    regions: int
    of: int
    failed: tuple[tuple[int, str], ...]


def gather_statistics(
    binding: Binding, sampling: Sampling, channels: tuple[int, ...], measure: Measure
) -> list[GroupNumbers]:
    """Measure what enters a step, group by group, or look it up from an earlier run.

    Parameters
    ----------
    binding
        Of the step; its cluster is asked for only where something is not known.
    sampling
        What is measured.
    channels
        Of which channels.
    measure
        What for.

    Raises
    ------
    RecipeError
        Where a group has nothing to measure.
    SourceError
        Where an image cannot be read, and `images.on_error` is not "skip".
    """
    spec = _spec(binding, sampling, channels)
    cache = StatisticsCache(spec)
    found: dict[int, GroupNumbers] = {}
    wanted: dict[int, _Wanted] = {}
    pending: dict[int, Pending] = {}
    for number, group in enumerate(groups_of(binding, sampling)):
        regions = [draw_regions(binding, sampling, image) for image in group.measured]
        own = wanted[number] = _Wanted(
            group=group,
            key=cache.key(regions),
            of=sum(one.of for one in regions),
            is_exact=all(one.is_every for one in regions),
        )
        if (kept := cache.get(own.key)) is not None:
            found[number] = _numbers(own, kept, {}, measure)
        else:
            pending[number] = Pending(deque(tasks_of(group.measured, regions)))
    for number, done in measure_groups(binding, pending, spec):
        kept = done.kept()
        if not done.failed:
            cache.put(wanted[number].key, kept)
        found[number] = _numbers(wanted[number], kept, done.failed, measure)
    return [found[number] for number in range(len(found))]


def bytes_measured(binding: Binding, sampling: Sampling) -> int:
    """Return how many bytes of pixels will be read where nothing is known from an earlier run.

    Regions alone, without what earlier steps need around them; those of a foreground as if each
    that is looked at had some.
    """
    return sum(
        draw_regions(binding, sampling, image).nbytes
        for group in groups_of(binding, sampling)
        for image in group.measured
    )


def _spec(binding: Binding, sampling: Sampling, channels: tuple[int, ...]) -> MeasureSpec:
    is_whole = True
    for image in binding.images:
        source = image.source
        dtype = source.kind.dtype
        is_whole &= dtype.kind in "iu" and dtype.itemsize <= 2 and not source.steps
        if not binding.before_geometry:
            is_whole &= not binding.patch.averages(source.kind.resolution)
        if sampling.foreground and source.foreground is None:
            raise RecipeError(
                f"{binding.key}.foreground: there is no foreground without a table [foreground]; "
                "write one, or leave foreground out"
            )
        if sampling.foreground and any(hasattr(step, "output_size") for step in source.steps.after):
            raise RecipeError(
                f"{binding.key}.foreground: an earlier step makes pictures of another size, on "
                "which the foreground mask does not lie; move this step before it, or leave "
                "foreground out"
            )
    return MeasureSpec(binding.recipe.images.options, channels, is_whole, sampling.foreground)


@dataclass(frozen=True)
class _Wanted:
    """A group that shall be measured, of how many regions, and whether these are all there are."""

    group: Group
    key: list[Any]
    of: int
    is_exact: bool


def _numbers(
    wanted: _Wanted, kept: Kept, failed: Mapping[int, str], measure: Measure
) -> GroupNumbers:
    """Return the numbers of what was measured of a group."""
    every = [merge(pair) for pair in kept.sketches]
    is_known = bool(every) and all(sketch.count for sketch in every)
    values = _values(every, measure) if is_known else None
    error = None
    if values is not None and wanted.is_exact:
        error = np.zeros_like(values)
    elif values is not None and all(half.count for pair in kept.sketches for half in pair):
        even, odd = (_values(half, measure) for half in zip(*kept.sketches, strict=True))
        error = np.abs(even - odd) / 2
    return GroupNumbers(
        group=wanted.group,
        values=values,
        error=error,
        pixels=tuple(sketch.count for sketch in every),
        regions=kept.regions,
        of=wanted.of,
        failed=tuple(sorted(failed.items())),
    )


def _values(sketches: Iterable[Sketch], measure: Measure) -> NDArray[np.float64]:
    return np.stack([measure.of_sketch(sketch) for sketch in sketches])
