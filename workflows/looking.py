"""Has images looked at that nobody looked at before: a few small ones, or a large one, a task."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from .survey import Connect
from .window import result_of, run_windowed

#: Images that one task looks at, as long as they are small.
BATCH_IMAGES = 32
#: What a task reads, unless one image alone is more.
BATCH_BYTES = 1 << 28

Found = TypeVar("Found")
Kept = TypeVar("Kept")


@dataclass(frozen=True)
class Task:
    """What is done on workers.

    Attributes
    ----------
    name
        As the dashboard shows it.
    function
        Module-level; returns for each image what it found, or a sentence on why it cannot be read.
    arguments
        Makes its arguments from numbers of images.
    """

    name: str
    function: Callable[..., object]
    arguments: Callable[[Sequence[int]], tuple[object, ...]]


def look(
    connect: Connect,
    task: Task,
    known: Sequence[Kept | str | None],
    sizes: Sequence[int],
    keep: Callable[[int, Found], Kept],
) -> list[Kept | str]:
    """Return what is known of each image, and what a task finds in the others.

    Parameters
    ----------
    connect
        Called only where something is not known.
    known
        None where nobody looked.
    sizes
        How many bytes a task reads of each image.
    keep
        Takes the number of an image and what was found in it, in order of completion, and returns
        what stays in memory.

    Raises
    ------
    PatchmillError
        Where workers die, or the cluster is gone.
    """
    every: dict[int, Kept | str] = {n: own for n, own in enumerate(known) if own is not None}
    unknown = [number for number in range(len(known)) if number not in every]
    if unknown:
        queue = deque(batches(unknown, [sizes[number] for number in unknown]))
        with connect() as client:
            for batch, future in run_windowed(
                client, task.name, task.function, queue, lambda own: task.arguments(own)
            ):
                results = result_of(future, f"{task.name} of {len(batch)} images")
                for number, own in zip(batch, results, strict=True):
                    every[number] = own if isinstance(own, str) else keep(number, own)
    return [every[number] for number in range(len(known))]


def batches(numbers: Sequence[int], sizes: Sequence[int]) -> list[list[int]]:
    """Return numbers in runs of at most `BATCH_IMAGES`, and `BATCH_BYTES` unless one has more.

    Examples
    --------
    >>> batches([3, 4, 5], [10, 1 << 30, 10])
    [[3], [4], [5]]
    """
    found: list[list[int]] = []
    held = 0
    for number, size in zip(numbers, sizes, strict=True):
        if not found or len(found[-1]) >= BATCH_IMAGES or held + size > BATCH_BYTES:
            found.append([])
            held = 0
        found[-1].append(number)
        held += size
    return found
