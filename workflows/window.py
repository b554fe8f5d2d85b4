"""Keeps a bounded number of tasks on the cluster, however many there are to do.

A graph of 10^6 tasks is slow to build and heavy on the scheduler; a window of a few per thread
keeps every worker busy.
"""

from __future__ import annotations

import math
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from distributed import Client, Future, KilledWorker, as_completed
from distributed.client import FutureCancelledError

from ..reader.errors import PatchmillError

Item = TypeVar("Item")

#: Tasks on the cluster at once, at least.
MIN_WINDOW = 64
#: How often the scheduler is asked how many threads there are: workers come and go.
WINDOW_SECONDS = 1.0


def window_size(client: Client) -> int:
    """Return how many tasks to keep on the cluster: two per thread, and never below 64."""
    threads: int = sum(client.nthreads().values())
    return max(MIN_WINDOW, 2 * threads)


def result_of(future: Future[Any], what: str) -> Any:
    """Return what a task returned, or raise what it raised.

    Parameters
    ----------
    what
        The task did, for the error where no worker lived to end it.

    Raises
    ------
    PatchmillError
        Where the workers died, or the cluster is gone.
    """
    try:
        return future.result()
    except KilledWorker as error:
        raise PatchmillError(
            f"{what}: the worker died, {error.allowed_failures + 1} times in turn; give workers "
            "more memory (--memory-limit) or fewer --threads; what is finished stays finished"
        ) from None
    except FutureCancelledError:
        raise PatchmillError(
            f"{what}: the connection to the cluster was lost; run the same command again"
        ) from None


def run_windowed(
    client: Client,
    name: str,
    function: Callable[..., object],
    queue: deque[Item],
    arguments: Callable[[Item], tuple[object, ...]],
) -> Iterator[tuple[Item, Future[Any]]]:
    """Run a function over a queue and yield each item with its finished future.

    Parameters
    ----------
    client
        Of the cluster.
    name
        Of the tasks, as the dashboard shows it.
    function
        Module-level; called on a worker.
    queue
        Taken from the left; the caller may append to it while it iterates.
    arguments
        Makes the arguments from an item, when its turn has come.
    """
    run = uuid.uuid4().hex[:8]
    active: dict[str, tuple[Item, Future[Any]]] = {}
    finished = as_completed()
    number, size, asked = 0, 0, -math.inf
    try:
        while queue or active:
            if time.monotonic() > asked + WINDOW_SECONDS:
                size, asked = window_size(client), time.monotonic()
            while queue and len(active) < size:
                item = queue.popleft()
                number += 1
                # Dask takes what stands before the first hexadecimal part as the task's name.
                key = f"{name}-{run}-{number}"
                # pure=False: a shard that must be cut again is not to be answered from memory.
                future = client.submit(function, *arguments(item), key=key, pure=False)
                active[key] = item, future
                finished.add(future)
            future = next(finished)
            yield active.pop(str(future.key))
    finally:
        # Left early, on somebody's own cluster: what is still to do must not be done.
        if active and client.status == "running":
            client.cancel([future for _, future in active.values()], force=True)
