"""A pool's workers as processes: a crew, which one thread of the pool owns."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from .crew import MOST_DEATHS, Crew
from .errors import WorkerError
from .outcome import Outcome
from .pool_items import Packed, Runner, Task, described, encode, packed, packed_item
from .pool_threads import IS_CLOSED, IS_FORKED
from .prefetch import THREAD_NAME


@dataclass(eq=False)
class _Order:
    """A task on its way, as one job of the crew, or as one for each of its items."""

    task: Task
    future: Future[list[Packed]] = field(default_factory=Future)
    numbers: dict[int, int] = field(default_factory=dict)  # of jobs, to which item it is
    results: dict[int, Packed] = field(default_factory=dict)
    is_split: bool = False


class ProcessEngine:
    """Worker processes that do tasks in the order in which they come.

    A task at which a worker dies is done again item by item, so that one that kills its worker
    takes no other with it.

    Parameters
    ----------
    num_workers, max_tasks
        Those of `Crew`.

    Attributes
    ----------
    notices
        What there is to say of workers that died, for a thread of the user's to warn of.
    """

    def __init__(self, num_workers: int, max_tasks: int | None) -> None:
        self.notices: deque[str] = deque()
        self._owner = os.getpid()
        # The garbage collector may end us, or forget a task, where this thread holds it.
        self._lock = threading.RLock()
        self._is_closed = self._is_stopping = False
        self._why_closed = IS_CLOSED
        self._commands: deque[_Order | Future[Any]] = deque()
        self._orders: dict[Future[Any], _Order] = {}
        self._jobs: dict[int, _Order] = {}
        self._numbers = count()
        self._heard, self._bell = socket.socketpair()
        self._heard.setblocking(False)
        self._bell.setblocking(False)
        try:
            self._crew = Crew(
                Runner(),
                num_workers,
                ahead=num_workers,  # one each: none waits behind a long one while others idle
                max_tasks=max_tasks,
                describe=described,
                most_deaths=lambda task: MOST_DEATHS if len(task.items) == 1 else 1,
                copy=_copied,
                encode=encode,
                wake=self._heard.fileno(),
                warn=self.notices.append,
            )
        except BaseException:
            self._heard.close()
            self._bell.close()
            raise
        # A daemon: at exit the pool's finalizer ends it.
        self._thread = threading.Thread(target=self._run, name=f"{THREAD_NAME}-pool", daemon=True)
        self._thread.start()

    def prepare(self, item: object) -> Packed:
        """Return an item as `Task.items` has it."""
        return packed_item(item)

    def submit(self, task: Task) -> Future[list[Packed]]:
        """Have a task done; the future's value are the outcomes of its items, packed."""
        if os.getpid() != self._owner:
            raise WorkerError(IS_FORKED)
        order = _Order(task)
        with self._lock:
            if self._is_closed:
                raise WorkerError(self._why_closed)
            self._tell(order)
        return order.future

    def forget(self, future: Future[Any]) -> None:
        """Drop a task that nobody waits for any more."""
        if future.cancel() and os.getpid() == self._owner:
            with self._lock:
                if not self._is_closed:
                    self._tell(future)

    def finish(self) -> None:
        """Do what was submitted, then end the processes."""
        if os.getpid() != self._owner:
            return
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._ring()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def stop(self) -> None:
        """End the processes at once."""
        if os.getpid() != self._owner:
            return
        self._is_stopping = True
        with self._lock, contextlib.suppress(OSError):  # the thread has ended already
            self._ring()
        self.finish()

    def _tell(self, command: _Order | Future[Any]) -> None:
        self._commands.append(command)
        self._ring()

    def _ring(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it rings already
            self._bell.send(b"\0")

    def _run(self) -> None:
        """Own the crew, until the end."""
        cause: BaseException | None = None
        try:
            while not self._is_stopping and (self._orders or self._commands or not self._is_closed):
                for number, outcome in self._crew.poll():
                    self._note(number, outcome)
                self._obey()
        except BaseException as error:
            cause = error
        with self._lock:
            self._is_closed = True
            if cause is not None:
                self._why_closed = f"the pool's workers are gone: {cause or repr(cause)}"
            self._bell.close()
        self._heard.close()
        self._crew.close(is_finished=cause is None and not self._is_stopping)
        while self._commands:
            command = self._commands.popleft()
            if isinstance(command, _Order):
                self._orders[command.future] = command
        for future in self._orders:
            if future.set_running_or_notify_cancel():
                closed = WorkerError(self._why_closed)
                closed.__cause__ = cause
                future.set_exception(closed)
        self._orders.clear()
        self._jobs.clear()

    def _obey(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._heard.recv(4096)
        while self._commands:
            command = self._commands.popleft()
            if isinstance(command, _Order):
                self._orders[command.future] = command
                self._submit(command, 0, command.task)
            elif (order := self._orders.pop(command, None)) is not None:
                for number in order.numbers:  # one that a worker has goes on, for nobody
                    self._crew.withdraw(number)
                    self._jobs.pop(number, None)

    def _submit(self, order: _Order, position: int, task: Task) -> None:
        number = next(self._numbers)
        order.numbers[number] = position
        self._jobs[number] = order
        self._crew.submit(number, task)

    def _note(self, number: int, outcome: Outcome) -> None:
        """Note what became of a job."""
        order = self._jobs.pop(number, None)
        if order is None:  # nobody waits for it
            return
        position = order.numbers.pop(number)
        call, first, items = order.task
        if outcome.error is None:
            order.results.update(enumerate(outcome.value, position))
        elif order.is_split or len(items) == 1:
            if outcome.trace:  # it could not be sent, or its result could not; else a worker died
                one = Task(call, first + position, [items[position]])
                outcome.error.add_note(f"in {described(one)}")
            order.results[position] = packed(outcome)
        else:
            order.is_split = True
            for place, item in enumerate(items):
                self._submit(order, place, Task(call, first + place, [item]))
        if len(order.results) == len(items):
            del self._orders[order.future]
            if order.future.set_running_or_notify_cancel():
                order.future.set_result([order.results[place] for place in range(len(items))])


def _copied(results: list[Packed]) -> list[Packed]:
    """Copy results out of shared memory: ten thousand of them need not be as many memory maps."""
    return [Packed(data, [bytearray(buffer) for buffer in buffers]) for data, buffers in results]
