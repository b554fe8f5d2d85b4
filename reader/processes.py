"""Work done ahead by a crew of processes and delivered in order."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, TypeVar

from .crew import Crew
from .outcome import Outcome
from .prefetch import started

Job = TypeVar("Job")


def by_crew(
    crew: Crew,
    jobs: Iterable[Job],
    *,
    prefetch: Callable[[], int],
    meanwhile: Callable[[Job], Any] | None,
    release: Callable[[Crew], object],
) -> Generator[Any, None, None]:
    """Yield the crew's result for each job, in order, done ahead from now on.

    An error in a worker is raised where its result would have come. Where the generator is closed
    early, the crew is too: what its workers are at is of no use any more.

    Parameters
    ----------
    crew, jobs
        The workers, which nobody else uses meanwhile, and the work. At most `prefetch` jobs are
        drawn ahead of the result that the consumer waits for or holds.
    prefetch
        Says how many results may be ahead, at least 1; asked again for each.
    meanwhile
        Does a job in the consumer's own thread, as long as no worker is up; None to wait for one.
    release
        Is given the crew when all jobs are done.
    """
    return started(_by_crew(crew, iter(jobs), prefetch, meanwhile, release))


def _by_crew(
    crew: Crew,
    jobs: Iterator[Job],
    prefetch: Callable[[], int],
    meanwhile: Callable[[Job], Any] | None,
    release: Callable[[Crew], object],
) -> Generator[Any, None, None]:
    done: dict[int, Outcome] = {}
    submitted = 0

    def fill(most: int) -> int:
        number = submitted
        for job in itertools.islice(jobs, max(0, most - submitted)):
            crew.submit(number, job)
            number += 1
        return number

    try:
        submitted = fill(prefetch())
        yield None
        number = 0
        while True:
            submitted = fill(number + prefetch() + 1)
            if number == submitted:
                break
            while number not in done:
                if meanwhile is not None and not crew.is_ready:
                    done.update(crew.poll(0))
                    job = crew.withdraw(number)
                    if job is not None:
                        done[number] = Outcome(meanwhile(job))
                        break
                done.update(crew.poll())
            yield done.pop(number).result()
            number += 1
    except BaseException:
        crew.close()
        raise
    release(crew)
