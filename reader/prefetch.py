"""Work done ahead on threads and delivered in order; nothing is left when it is closed."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")

#: How the names of the threads begin.
THREAD_NAME = "patchmill-reader"


def prefetched(
    function: Callable[[Job], Result], jobs: Iterable[Job], *, num_workers: int, prefetch: int
) -> Generator[Result, None, None]:
    """Yield `function(job)` for each job, in order, computed ahead on threads.

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
        Results that are ahead, at least 1.

    Examples
    --------
    >>> list(prefetched(abs, [-3, -1, -2], num_workers=2, prefetch=2))
    [3, 1, 2]
    """
    if num_workers == 0:
        yield from map(function, jobs)
        return
    threads: set[int] = set()
    executor = ThreadPoolExecutor(
        num_workers, THREAD_NAME, initializer=lambda: threads.add(threading.get_ident())
    )
    waiting: deque[Future[Result]] = deque()
    try:
        for job in jobs:
            waiting.append(executor.submit(function, job))
            if len(waiting) > prefetch:
                # Not held in a variable: its buffer is free as soon as the consumer drops it.
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # The garbage collector may close us from one of our own threads, which cannot join itself.
        is_own_thread = threading.get_ident() in threads
        executor.shutdown(wait=not is_own_thread, cancel_futures=True)
