"""Measures groups of images on the cluster: a bounded number of tasks, each of a few images.

Integers merge to the same in any order, so nothing depends on which task ends first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..tasks.measure import Halves, Measured, MeasureSpec, Portion, measure_regions
from ..tasks.sketch import merge
from ..tasks.source import SourceError
from .regions import Regions
from .statistics_cache import Kept
from .step_recipe import Binding
from .window import result_of, run_windowed

#: Pixels that one task measures, as float32; regions of one image beyond it are several tasks.
TASK_BYTES = 1 << 28
#: Images that one task measures at most.
TASK_IMAGES = 64
#: Bins that wait to be merged, at least.
WAITING_BINS = 1 << 20


@dataclass(frozen=True, eq=False)
class Task:
    """Portions that are measured together, or one of several of one image."""

    portions: tuple[Portion, ...]
    is_part: bool


def tasks_of(images: Sequence[int], measured: Sequence[Regions]) -> Iterator[Task]:
    """Yield what one task does each, for the images of one group."""
    portions: list[Portion] = []
    nbytes = 0
    for image, regions in zip(images, measured, strict=True):
        if not regions.of:
            continue
        one = 4 * int(np.prod(regions.patch.size)) * regions.patch.channels
        count = max(1, TASK_BYTES // one)
        if regions.wanted is None and len(regions.corners) > count:
            for start in range(0, len(regions.corners), count):
                portion = _portion(image, regions, slice(start, start + count))
                yield Task((portion,), is_part=True)
            continue
        taken = len(regions.corners) if regions.wanted is None else regions.wanted
        if portions and (nbytes + taken * one > TASK_BYTES or len(portions) == TASK_IMAGES):
            yield Task(tuple(portions), is_part=False)
            portions, nbytes = [], 0
        portions.append(_portion(image, regions, slice(None)))
        nbytes += taken * one
    if portions:
        yield Task(tuple(portions), is_part=False)


def _portion(image: int, regions: Regions, chosen: slice) -> Portion:
    return Portion(
        image=image,
        source=regions.source,
        patch=regions.patch,
        corners=regions.corners[chosen],
        halves=regions.halves[chosen],
        wanted=regions.wanted,
    )


def measure_groups(
    binding: Binding, pending: dict[int, Pending], spec: MeasureSpec
) -> Iterator[tuple[int, Pending]]:
    """Measure groups on the cluster; yield each with its number as it is done.

    Parameters
    ----------
    binding
        Of the step; its cluster is not asked for where there is nothing to read.
    pending
        By number; emptied.
    spec
        What is measured.

    Raises
    ------
    SourceError
        Where an image cannot be read, and `images.on_error` is not "skip".
    """
    for number, own in list(pending.items()):
        if not own.tasks:
            yield number, pending.pop(number)
    queue = deque((number, task) for number, own in pending.items() for task in own.tasks)
    if not queue:
        return
    skips = binding.recipe.images.on_error == "skip"
    with binding.connect() as client:
        tasks = run_windowed(
            client, "measure", measure_regions, queue, lambda item: (item[1].portions, spec)
        )
        for (number, task), future in tasks:
            first = binding.images[task.portions[0].image].id
            result: Measured = result_of(future, f"statistics of {first}")
            if result.failed and not skips:
                image, reason = result.failed[0]
                raise SourceError(reason, image)
            if pending[number].add(task, result):
                yield number, pending.pop(number)


@dataclass
class Pending:
    """A group on its way.

    Attributes
    ----------
    tasks
        What is to do.
    failed
        Images that cannot be read, by number, each with why.
    """

    tasks: deque[Task]
    failed: dict[int, str] = field(default_factory=dict)
    done: int = 0
    #: Results of images that are several tasks: one that fails takes the others with it.
    parts: dict[int, list[Measured]] = field(default_factory=dict)
    whole: list[Measured] = field(default_factory=list)

    def add(self, task: Task, result: Measured) -> bool:
        """Take the result of a task; return whether it was the last one."""
        self.done += 1
        for image, reason in result.failed:
            # Of several tasks of one image any may be the first to fail.
            self.failed[image] = min(reason, self.failed.get(image, reason))
        if task.is_part:
            _add(self.parts.setdefault(task.portions[0].image, []), result)
        else:
            _add(self.whole, result)
        return self.done == len(self.tasks)

    def kept(self) -> Kept:
        """Return what was measured of all images that can be read."""
        parts = [
            result
            for image, results in self.parts.items()
            if image not in self.failed
            for result in results
        ]
        if not (self.whole or parts):
            return Kept((), 0)
        merged = _together([*self.whole, *parts])
        return Kept(merged.sketches, merged.regions)


def _add(results: list[Measured], result: Measured) -> None:
    """Append a result; merge all where they have become many more bins than the first has."""
    results.append(result)
    if sum(_bins(one) for one in results) > WAITING_BINS + 2 * _bins(results[0]):
        results[:] = [_together(results)]


def _bins(result: Measured) -> int:
    return sum(half.bins.shape[1] for pair in result.sketches for half in pair)


def _together(results: Sequence[Measured]) -> Measured:
    """Return results as one."""
    sketches: Halves = tuple(
        (merge([even for even, _ in pairs]), merge([odd for _, odd in pairs]))
        for pairs in zip(*(result.sketches for result in results), strict=True)
    )
    return Measured(sketches, sum(result.regions for result in results), ())
