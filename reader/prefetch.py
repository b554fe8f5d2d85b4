"""Work done ahead on threads and delivered in order; nothing is left when it is closed."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

#: How the names of the threads begin.
THREAD_NAME = "patchmill-reader"


def prefetched(
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    *,
    num_workers: int,
    prefetch: Callable[[], int],
) -> Generator[Result, None, None]:
    """Yield `function(job)` for each job, in order, computed ahead on threads from now on.

    An error in a thread is raised where its result would have come. Closing the generator, which
    `break`, an exception in the loop and garbage collection do, cancels what has not begun and
    waits for what has.

    Parameters
    ----------
    function, jobs
        The work. Jobs are drawn in the consumer's thread, at most `prefetch` ahead of the result
        that it waits for or holds.
    num_workers
        Threads; 0 works in the consumer's own, when it asks.
    prefetch
        Says how many results may be ahead, at least 1; asked again for each.

    Examples
    --------
    >>> list(prefetched(abs, [-3, -1, -2], num_workers=2, prefetch=lambda: 2))
    [3, 1, 2]
    """
    if num_workers == 0:
        return (function(job) for job in jobs)
    return started(_prefetched(function, iter(jobs), num_workers, prefetch))


def started(results: Generator[Result, None, None]) -> Generator[Result, None, None]:
    """Return a generator that has run up to its first `yield`, whose value does not count.

    A generator that has not begun does nothing until it is asked, and cleans nothing up.
    """
    next(results)
    return results


def _prefetched(
    function: Callable[[Job], Result],
    jobs: Iterator[Job],
    num_workers: int,
    prefetch: Callable[[], int],
) -> Generator[Any, None, None]:
    threads: set[int] = set()
    executor = ThreadPoolExecutor(
        num_workers, THREAD_NAME, initializer=lambda: threads.add(threading.get_ident())
    )
    waiting: deque[Future[Result]] = deque()

    def fill(most: int) -> None:
        for job in itertools.islice(jobs, max(0, most - len(waiting))):
            waiting.append(executor.submit(function, job))

    try:
        fill(prefetch())
        yield None
        while waiting:
            fill(prefetch() + 1)
            # Not held in a variable: its memory is free as soon as the consumer drops it.
            yield waiting.popleft().result()
    finally:
        # The garbage collector may close us from one of our own threads, which cannot join itself.
        is_own_thread = threading.get_ident() in threads
        executor.shutdown(wait=not is_own_thread, cancel_futures=True)
