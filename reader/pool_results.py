"""The results of a pool's call, one by one as they come."""

from __future__ import annotations

import itertools
import threading
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError, Future
from queue import SimpleQueue
from typing import Any, Protocol

from .errors import WorkerError
from .outcome import Outcome
from .pool_items import Call, Packed, Task


class Engine(Protocol):
    """Who does the tasks: threads or processes."""

    notices: deque[str]

    def prepare(self, item: object) -> object:
        """Return an item as `Task.items` has it."""

    def submit(self, task: Task) -> Future[Any]:
        """Have a task done; the future's value are the outcomes of its items.

        Raises
        ------
        WorkerError
            Where there are no workers any more.
        """

    def forget(self, future: Future[Any]) -> None:
        """Drop a task that nobody waits for any more."""

    def finish(self) -> None:
        """Do what was submitted, then end the workers."""

    def stop(self) -> None:
        """End the workers, at once."""


class Results(Iterator[Any]):
    """Iterates over the results of a call, each exactly once; safe for threads.

    An item's error is raised in its turn, and the results after it can still be asked for. What is
    still to be done is dropped once the iterator is closed or forgotten.

    Parameters
    ----------
    pool
        Kept as long as there is an iterator.
    engine, call
        Who does what.
    source
        Where the items come from: drawn in the thread that asks for a result, and at once.
    chunksize
        Items that are done by one worker, one after another.
    buffer_size
        Items that are drawn and whose result was not received, at most.
    ordered
        Whether results come in the order of their items, or as they are done.
    """

    def __init__(
        self,
        pool: object,
        engine: Engine,
        call: Call,
        source: Iterable[Any],
        *,
        chunksize: int,
        buffer_size: int,
        ordered: bool,
    ) -> None:
        self._pool = pool
        self._engine = engine
        self._call = call
        self._chunksize = chunksize
        self._buffer_size = buffer_size
        self._ordered = ordered
        self._lock = threading.Lock()
        self._drawn: list[Any] = []  # of the next chunk
        self._next = 0  # number of its first item
        self._received = 0
        self._fault: Exception | None = None  # of the source, in its turn
        self._futures: dict[Future[Any], None] = {}
        self._done: SimpleQueue[Future[Any]] = SimpleQueue()
        self._ready: deque[Outcome | Packed] = deque()
        self._source: Iterator[Any] | None = iter(source)
        self._fill()

    def __next__(self) -> Any:
        with self._lock:
            self._fill()
            while not self._ready:
                if not self._futures:
                    self._raise_fault()
                    raise StopIteration
                self._wait()
            while self._engine.notices:
                warnings.warn(self._engine.notices.popleft(), RuntimeWarning, stacklevel=2)
            self._received += 1
            outcome = self._ready.popleft()
        return _value(outcome)

    def close(self) -> None:
        """Drop what is still to be done, and the source."""
        self._source = None
        self._drawn = []
        self._ready.clear()
        for future in list(self._futures):
            self._engine.forget(future)
        self._futures.clear()

    def __del__(self) -> None:
        if hasattr(self, "_source"):  # else `iter(source)` failed
            self.close()

    def _fill(self) -> None:
        """Draw and submit chunks as far as the buffer allows."""
        while (
            self._source is not None
            and self._next + self._chunksize - self._received <= self._buffer_size
        ):
            try:
                # One by one: an interrupt loses none.
                for item in itertools.islice(self._source, self._chunksize - len(self._drawn)):
                    self._drawn.append(self._engine.prepare(item))
            except Exception as error:
                self._fault = error
            if self._fault is not None or len(self._drawn) < self._chunksize:
                self._source = None
            if self._drawn:
                self._submit()

    def _submit(self) -> None:
        try:
            future = self._engine.submit(Task(self._call, self._next, self._drawn))
        except WorkerError as error:
            self._source, self._drawn, self._fault = None, [], error
            return
        self._futures[future] = None
        self._next += len(self._drawn)
        self._drawn = []
        if not self._ordered:
            future.add_done_callback(self._done.put)

    def _wait(self) -> None:
        """Wait for the next chunk that is done."""
        future = next(iter(self._futures)) if self._ordered else self._done.get()
        try:
            error = future.exception()
        except CancelledError:  # closed by another thread meanwhile
            raise StopIteration from None
        self._futures.pop(future, None)
        if error is not None:  # the pool's, not an item's
            raise error
        self._ready.extend(future.result())

    def _raise_fault(self) -> None:
        fault, self._fault = self._fault, None
        if fault is not None:
            raise fault


def _value(outcome: Outcome | Packed) -> Any:
    if isinstance(outcome, Packed):
        outcome = outcome.unpacked()
        assert isinstance(outcome, Outcome)
    if outcome.error is not None and not outcome.trace:
        raise outcome.error  # of this process: its cause stays
    return outcome.result()
