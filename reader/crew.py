"""Worker processes that run one function; what a killed one was doing is done again by another.

Driven by whoever waits for a result: there is no thread of ours in this process. A job is the
function's argument and must be all that its value depends on, so that doing it again is the same.
"""

from __future__ import annotations

import bisect
import contextlib
import os
import select
import warnings
import weakref
from collections.abc import Callable
from typing import Any

from .buffers import Memory
from .channel import MOST_WAITING
from .errors import WorkerError
from .outcome import Outcome, failure
from .spawned import WorkerProcess, pickled_function

#: A job at which so many workers died is given up: it is the job.
MOST_DEATHS = 3
#: Segments that a worker keeps beside those of the jobs that it has: what the consumer looks at,
#: what it may still hold from before, and what the function works on.
_SPARE_SEGMENTS = 3
#: Segments of a worker that may be held here before values are copied out of them, where the user
#: of a crew says how.
_MOST_HELD = 3


class Crew:
    """Processes that run `function(job, memory)`; not safe for threads.

    Parameters
    ----------
    function
        Pickled once; each worker has its copy. Arrays that it makes on `memory` reach this process
        without being copied.
    num_workers
        Processes, at least 1.
    ahead
        How many jobs may be submitted and not answered; they are spread over the workers.
    max_tasks
        A worker is replaced after so many jobs.
    describe
        Says what a job is, where workers die on it.
    most_deaths
        Says how many workers may die on a job before it is given up.
    copy
        Copies a job's value out of shared memory, while `_MOST_HELD` segments of its worker are
        held here already; by default it stays there.
    encode
        Makes what is sent of a job and of a dict per worker, in which it may note what the worker
        has been sent; by default the job is sent.
    wake
        A descriptor that ends `poll` when it can be read.
    warn
        Is told when a worker died and was replaced.

    Attributes
    ----------
    deaths
        Workers that died and were replaced.
    extra
        Segments that were made beyond those that are kept, since all of those were held.

    Raises
    ------
    WorkerError
        For a function that cannot be sent to another process.
    """

    def __init__(
        self,
        function: Callable[[Any, Memory], Any],
        num_workers: int,
        *,
        ahead: int,
        max_tasks: int | None = None,
        describe: Callable[[Any], str] = repr,
        most_deaths: Callable[[Any], int] = lambda job: MOST_DEATHS,
        copy: Callable[[Any], Any] | None = None,
        encode: Callable[[Any, dict[int, Any]], Any] = lambda job, known: job,
        wake: int | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self._describe = describe
        self._most_deaths = most_deaths
        self._copy = copy
        self._encode = encode
        self._wake = wake
        self._warn = _warn if warn is None else warn
        self._unsent: list[tuple[int, Outcome]] = []
        self.deaths = 0
        self.extra = 0
        self._pickled = pickled_function(function)
        self._depth = min(MOST_WAITING, -(-ahead // num_workers))
        self._max_tasks = max_tasks
        self._jobs: dict[int, Any] = {}
        self._backlog: list[int] = []  # numbers of jobs that no worker has, ascending
        self._deaths_at: dict[int, int] = {}
        self._deaths_at_start = 0
        self._poller = select.poll()
        if wake is not None:
            self._poller.register(wake, select.POLLIN)
        self._workers: dict[int, WorkerProcess] = {}  # by the descriptor of the channel
        self._finalizer = weakref.finalize(self, _kill, self._workers, os.getpid())
        for _ in range(num_workers):
            self._start()

    @property
    def is_ready(self) -> bool:
        """Whether a worker has said that it can work."""
        return any(worker.is_ready for worker in self._workers.values())

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return not self._finalizer.alive

    @property
    def pids(self) -> list[int]:
        """The workers' process numbers."""
        return [worker.process.pid for worker in self._workers.values()]

    def submit(self, number: int, job: Any) -> None:
        """Have a job done; `number` names it, and lower ones go first."""
        self._jobs[number] = job
        bisect.insort(self._backlog, number)
        self._assign()

    def withdraw(self, number: int) -> Any | None:
        """Return a job that no worker has, for the caller to do itself; else None.

        Not one at which a worker died: it might be the job that killed it.
        """
        if number not in self._backlog or number in self._deaths_at:
            return None
        self._backlog.remove(number)
        return self._jobs.pop(number)

    def poll(self, timeout_s: float | None = None) -> list[tuple[int, Outcome]]:
        """Wait until something happens, and return the jobs that are done, in any order.

        Also replaces workers that died, with a RuntimeWarning.

        Raises
        ------
        WorkerError
            Where workers cannot start.
        """
        done, self._unsent = self._unsent, []
        died = []
        wait_ms = 0 if done else None if timeout_s is None else timeout_s * 1000
        for descriptor, _ in self._poller.poll(wait_ms):
            if descriptor == self._wake:
                continue
            worker = self._workers[descriptor]
            inbox = worker.channel.inbox
            try:
                extra = inbox.extra
                is_full = self._copy is not None and inbox.held() >= _MOST_HELD
                number, outcome = worker.channel.receive()
                self.extra += inbox.extra - extra
            except (EOFError, OSError):
                died.append(self._replace(worker, done))
                continue
            if number is None:
                outcome.result()
                worker.is_ready = True
                self._deaths_at_start = 0
                continue
            self._deaths_at_start = 0  # workers can start
            worker.jobs.remove(number)
            self._jobs.pop(number)
            self._deaths_at.pop(number, None)
            if is_full and self._copy is not None and outcome.error is None:
                outcome = Outcome(self._copy(outcome.value))
            done.append((number, outcome))
            if self._max_tasks is not None and worker.given >= self._max_tasks and not worker.jobs:
                self._dismiss(worker)
                self._start()
        self._assign()
        for text in died:
            self._warn(text)
        return done

    def close(self, *, is_finished: bool = False) -> None:
        """End all workers, at once or, where `is_finished`, as a program ends by itself."""
        if is_finished and self._finalizer.alive:
            for worker in list(self._workers.values()):
                self._dismiss(worker)
        self._finalizer()

    def _start(self) -> None:
        worker = WorkerProcess.start(self._pickled, self._depth + _SPARE_SEGMENTS)
        descriptor = worker.channel.fileno()
        self._workers[descriptor] = worker
        self._poller.register(descriptor, select.POLLIN)

    def _assign(self) -> None:
        """Send waiting jobs to the workers with the fewest."""
        while self._backlog:
            free = [worker for worker in self._workers.values() if self._takes_more(worker)]
            if not free:
                return
            worker = min(free, key=lambda worker: len(worker.jobs))
            number = self._backlog.pop(0)
            worker.jobs.append(number)
            worker.given += 1
            try:
                known = worker.known.copy()
                worker.channel.send((number, self._encode(self._jobs[number], known)))
                worker.known = known
            except ConnectionError:  # it died: `poll` finds that out, and its jobs
                pass
            except Exception as error:  # what cannot be pickled, or has no memory to lie in
                worker.jobs.pop()
                worker.given -= 1
                self._unsent.append((number, failure(error)))
                del self._jobs[number]
                self._deaths_at.pop(number, None)

    def _takes_more(self, worker: WorkerProcess) -> bool:
        return (
            worker.is_ready
            and len(worker.jobs) < self._depth
            and (self._max_tasks is None or worker.given < self._max_tasks)
        )

    def _replace(self, worker: WorkerProcess, done: list[tuple[int, Outcome]]) -> str:
        """Start a worker for one that died, and return what there is to say about it."""
        self._forget(worker)
        end = worker.ending(worker.wait(5))  # its socket is closed, so it is of no more use
        self.deaths += 1
        if not worker.is_ready:
            self._deaths_at_start += 1
            if self._deaths_at_start >= MOST_DEATHS:
                raise WorkerError(f"{end} before it could work, {MOST_DEATHS} times in a row")
        jobs = list(worker.jobs)
        given_up = bool(jobs) and self._give_up(jobs[0], end, done)
        for number in jobs[given_up:]:
            bisect.insort(self._backlog, number)
        self._start()
        if not worker.is_ready:
            return f"{end} before it could work; another is started"
        return f"{end}; what it was at is {'given up' if given_up else 'done again by another'}"

    def _give_up(self, suspect: int, end: str, done: list[tuple[int, Outcome]]) -> bool:
        """Count a death on a job, the first that a worker had; say whether it was one too many."""
        deaths = self._deaths_at[suspect] = self._deaths_at.get(suspect, 0) + 1
        if deaths < self._most_deaths(self._jobs[suspect]):
            return False
        del self._deaths_at[suspect]
        what = self._describe(self._jobs.pop(suspect))
        text = f"{deaths} worker processes died on {what}; the last {end}"
        done.append((suspect, Outcome(error=WorkerError(text))))
        return True

    def _dismiss(self, worker: WorkerProcess) -> None:
        """Let a worker that has nothing to do end by itself."""
        with contextlib.suppress(OSError):
            worker.channel.send(None)
        worker.wait(10)
        self._forget(worker)

    def _forget(self, worker: WorkerProcess) -> None:
        descriptor = worker.channel.fileno()
        self._poller.unregister(descriptor)
        del self._workers[descriptor]
        worker.channel.close()


def _kill(workers: dict[int, WorkerProcess], owner: int) -> None:
    if os.getpid() != owner:  # a fork of the consumer, which has no part in this
        return
    for worker in workers.values():
        worker.channel.close()
        worker.process.kill()
    for worker in workers.values():
        worker.process.wait()
    workers.clear()


def _warn(text: str) -> None:
    warnings.warn(text, RuntimeWarning, stacklevel=3)
