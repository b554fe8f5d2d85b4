"""A pool's workers as threads.

Not a ThreadPoolExecutor: at the interpreter's exit that does everything that still waits, and its
lock makes it unsafe to end from where the garbage collector happens to run.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

from .errors import WorkerError
from .outcome import Outcome
from .pool_items import Task, outcomes
from .prefetch import THREAD_NAME

#: What is said of work for a pool that is closed or terminated.
IS_CLOSED = "the pool was closed; make another"
#: What is said of work for a pool that a fork has copied, whose workers it has not.
IS_FORKED = "the pool belongs to the process that made it, and this is a fork; make one here"

_Queue = SimpleQueue[tuple[Future[Any], Task] | None]


class ThreadEngine:
    """Threads that do tasks in the order in which they come.

    Parameters
    ----------
    num_workers
        Threads.

    Attributes
    ----------
    notices
        Always empty: nothing happens to threads that a user must hear of.
    """

    def __init__(self, num_workers: int) -> None:
        self.notices: deque[str] = deque()
        self._owner = os.getpid()
        self._queue: _Queue = SimpleQueue()
        self._is_stopping = threading.Event()
        self._lock = threading.RLock()  # the garbage collector may end us where we hold it
        self._is_closed = False
        # Daemons: at exit the pool's finalizer ends them, and nobody waits for what is queued.
        self._threads = [
            threading.Thread(
                target=_work,
                args=(self._queue, self._is_stopping),
                name=f"{THREAD_NAME}-pool-{number}",
                daemon=True,
            )
            for number in range(num_workers)
        ]
        for thread in self._threads:
            thread.start()

    def prepare(self, item: object) -> object:
        """Return an item as `Task.items` has it."""
        return item

    def submit(self, task: Task) -> Future[list[Outcome]]:
        """Have a task done; the future's value are the outcomes of its items."""
        if os.getpid() != self._owner:
            raise WorkerError(IS_FORKED)
        future: Future[list[Outcome]] = Future()
        with self._lock:
            if self._is_closed:
                raise WorkerError(IS_CLOSED)
            self._queue.put((future, task))
        return future

    def forget(self, future: Future[Any]) -> None:
        """Drop a task that nobody waits for any more."""
        future.cancel()

    def finish(self) -> None:
        """Do what was submitted, then end the threads."""
        if os.getpid() != self._owner:
            return
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                for _ in self._threads:
                    self._queue.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def stop(self) -> None:
        """End the threads as soon as each is done with the item that it is at."""
        self._is_stopping.set()
        self.finish()


def _work(queue: _Queue, is_stopping: threading.Event) -> None:
    while (entry := queue.get()) is not None:
        future, task = entry
        if is_stopping.is_set():
            _fail(future)
        elif future.set_running_or_notify_cancel():
            _do(future, task, is_stopping)
        del entry, future, task  # nothing is held while waiting


def _do(future: Future[Any], task: Task, is_stopping: threading.Event) -> None:
    done = []
    try:
        for outcome in outcomes(task):
            done.append(outcome)
            if is_stopping.is_set():
                raise WorkerError(IS_CLOSED)
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(done)


def _fail(future: Future[Any]) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(WorkerError(IS_CLOSED))
