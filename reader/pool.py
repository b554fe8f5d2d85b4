"""Worker pools for any work: every item of an iterable done once, by threads or processes."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable, Iterable
from contextlib import closing
from types import TracebackType
from typing import Any

from .errors import WorkerError
from .options import Backend
from .pool_async import AsyncResult
from .pool_items import Call
from .pool_processes import ProcessEngine
from .pool_results import Engine, Results
from .pool_threads import IS_CLOSED, ThreadEngine
from .prefetch import THREAD_NAME
from .randomness import MOST
from .spawned import pickled_function
from .values import count_workers, one_of, whole_number

#: Chunks in the pipe for each worker: one that it does, one that waits for it, and two that are
#: done before their turn.
_CHUNKS_AHEAD = 4
#: How long `terminate` waits for a thread that may be waiting for the user's own iterable.
_PATIENCE_S = 5.0


class WorkerPool:
    """Threads or processes that do any function's work, each item exactly once.

    Functions may be called from several threads at once, and iterators may be interleaved. With
    processes, arrays travel through shared memory; functions must lie in a module that the workers
    can import, because workers start as a program of their own: a script needs no main guard.
    Results that are done are delivered once, also where a worker is killed: what it was at is done
    again by another, with a RuntimeWarning. An item on which three workers died is an error that
    names it.

    An item belongs to the pool until its result is there: do not write into it meanwhile. A
    function must not wait for the pool that runs it.

    Parameters
    ----------
    num_workers
        Threads or processes; -1 is one for each core but one, -2 for each but two.
    backend
        "thread", or "process" for Python code that holds the GIL.
    max_tasks_per_worker
        A process is replaced after so many tasks, where the function leaks; a task is a chunk of
        `chunksize` items.
    seed
        With a seed the function is called as `function(item, rng)`, with a NumPy generator made
        from (seed, epoch, number of the item in the call): the same for any number of workers, any
        `chunksize` and either backend.

    Raises
    ------
    ValueError
        For arguments that do not fit; names the argument, what was found and what to give.

    Examples
    --------
    >>> with WorkerPool(2) as pool:
    ...     pool.map(abs, [-3, 1, -2])
    [3, 1, 2]
    """

    def __init__(
        self,
        num_workers: int,
        backend: Backend = "thread",
        max_tasks_per_worker: int | None = None,
        seed: int | None = None,
    ) -> None:
        self.num_workers = whole_number("num_workers", count_workers(num_workers), least=1)
        self.backend = backend
        self.seed = None if seed is None else whole_number("seed", seed, most=MOST)
        if max_tasks_per_worker is not None:
            whole_number("max_tasks_per_worker", max_tasks_per_worker, least=1)
        one_of("backend", backend, ("thread", "process"))
        self._engine: Engine
        if backend == "process":
            self._engine = ProcessEngine(self.num_workers, max_tasks_per_worker)
        elif max_tasks_per_worker is not None:
            raise ValueError(
                f"max_tasks_per_worker is {max_tasks_per_worker} for threads, whose memory is this "
                "process's own; leave it out, or use backend='process'"
            )
        else:
            self._engine = ThreadEngine(self.num_workers)
        self._is_closed = False
        self._numbers = itertools.count()
        self._maps: set[object] = set()  # under way, in threads of the user's
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []  # of `map_async`
        self._finalizer = weakref.finalize(self, self._engine.stop)

    def map(
        self,
        function: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int = 1,
        buffer_size: int | None = None,
        *,
        epoch: int = 0,
    ) -> list[Any]:
        """Return `function(item)` for each item, in order; see `imap` for the parameters.

        The first error is raised, and the items after it are dropped.
        """
        this = object()
        with self._changed:
            self._maps.add(this)
        try:
            results = self.imap(function, iterable, chunksize, buffer_size, epoch=epoch)
            with closing(results):
                return list(results)
        finally:
            with self._changed:
                self._maps.remove(this)
                self._changed.notify_all()

    def map_async(
        self,
        function: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int = 1,
        callback: Callable[[list[Any]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        buffer_size: int | None = None,
        *,
        epoch: int = 0,
    ) -> AsyncResult:
        """Return at once what will have the results of `map`.

        Parameters
        ----------
        function, iterable, chunksize, buffer_size, epoch
            As for `imap`; the iterable is drawn by a thread of the pool's.
        callback, error_callback
            Called in that thread with the list of results, or with the first error.
        """
        results = self.imap(function, iterable, chunksize, buffer_size, epoch=epoch)
        result = AsyncResult()
        thread = threading.Thread(
            target=result.collect,
            args=(results, callback, error_callback),
            name=f"{THREAD_NAME}-pool-map",
            daemon=True,  # at exit the pool is terminated, and nobody waits for the iterable
        )
        with self._changed:
            self._threads = [each for each in self._threads if each.is_alive()]
            thread.start()
            self._threads.append(thread)
        return result

    def imap(
        self,
        function: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int = 1,
        buffer_size: int | None = None,
        *,
        epoch: int = 0,
    ) -> Results:
        """Return an iterator over `function(item)` for each item, in order, done ahead from now on.

        An error of an item is raised in its turn, with a note that names the item and, from a
        process, the traceback there as its cause; the results after it can still be asked for.
        Leaving the loop early drops what has not begun.

        Parameters
        ----------
        function
            `function(item)`, or with the pool's `seed` `function(item, rng)`.
        iterable
            Where the items come from; it may be infinite, and is drawn in the thread that asks for
            a result.
        chunksize
            Items that a worker is given at once; more make cheap functions faster.
        buffer_size
            Items that are drawn and whose result was not received, at most; by default four chunks
            per worker.
        epoch
            Of the items' generators, which are others in another epoch.

        Raises
        ------
        WorkerError
            For a function that processes cannot import, and where the pool was closed.
        """
        return self._results(function, iterable, chunksize, buffer_size, epoch, ordered=True)

    def imap_unordered(
        self,
        function: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int = 1,
        buffer_size: int | None = None,
        *,
        epoch: int = 0,
    ) -> Results:
        """Return an iterator like that of `imap`, over results as they are done."""
        return self._results(function, iterable, chunksize, buffer_size, epoch, ordered=False)

    def close(self) -> None:
        """Accept no more calls; those that were made go on."""
        self._is_closed = True

    def join(self) -> None:
        """Wait for `map` and `map_async`, for all items that were drawn, and end the workers.

        Iterators keep the results of items that were drawn, and draw no more.

        Raises
        ------
        ValueError
            Where neither `close` nor `terminate` was called.
        """
        if not self._is_closed:
            raise ValueError("the pool is open; call `close` or `terminate` before `join`")
        with self._changed:
            self._changed.wait_for(lambda: not self._maps)
            threads = list(self._threads)
        for thread in threads:
            thread.join()
        self._engine.finish()

    def terminate(self) -> None:
        """End the workers: processes at once, threads when they are done with an item.

        What was not done ends in a `WorkerError` for whoever waits for it.
        """
        self.close()
        self._finalizer()
        for thread in list(self._threads):
            if thread is not threading.current_thread():
                thread.join(_PATIENCE_S)

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close and join, or terminate where an error is on its way."""
        if kind is not None:
            self.terminate()
            return
        self.close()
        try:
            self.join()
        finally:  # also where waiting is interrupted
            self.terminate()

    def __repr__(self) -> str:
        state = ", closed" if self._is_closed else ""
        return f"WorkerPool({self.num_workers}, {self.backend!r}, seed={self.seed}{state})"

    def _results(
        self,
        function: Callable[..., Any],
        iterable: Iterable[Any],
        chunksize: int,
        buffer_size: int | None,
        epoch: int,
        *,
        ordered: bool,
    ) -> Results:
        if self._is_closed:
            raise WorkerError(IS_CLOSED)
        chunksize = whole_number("chunksize", chunksize, least=1)
        if buffer_size is None:
            buffer_size = _CHUNKS_AHEAD * self.num_workers * chunksize
        call = Call(
            next(self._numbers),
            function,
            pickled_function(function) if self.backend == "process" else b"",
            self.seed,
            whole_number("epoch", epoch, most=MOST),
        )
        return Results(
            self,
            self._engine,
            call,
            iterable,
            chunksize=chunksize,
            buffer_size=whole_number("buffer_size", buffer_size, least=chunksize),
            ordered=ordered,
        )
