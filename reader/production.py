"""Who makes a loader's batches: the consumer's own thread, threads, or worker processes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from .batches import BatchMaker, Job, Made
from .buffers import BufferPool, layout_nbytes
from .crew import Crew
from .options import Backend, Batch
from .prefetch import prefetched, started
from .processes import by_crew
from .spawned import pickled_function
from .stacking import batch_layout

#: Batches of memory to keep beside those that are ahead: the one that the consumer holds while it
#: waits, and the one that it waits for.
_SPARE_BATCHES = 2


class Production:
    """Makes batches ahead and in order, one iteration after another.

    Workers stay for the next iteration when one has come to its end. One that is left early ends
    its own. Iterations at the same time each have their own.

    Parameters
    ----------
    maker
        Makes one batch.
    num_workers, backend, prefetch, prefetch_bytes
        Those of `Loader`.

    Raises
    ------
    WorkerError
        For a maker that worker processes cannot import.
    """

    def __init__(
        self,
        maker: BatchMaker,
        num_workers: int,
        backend: Backend,
        prefetch: int,
        prefetch_bytes: int | None,
    ) -> None:
        self._options = (num_workers, backend, prefetch, prefetch_bytes)
        self._maker = maker
        self._num_workers = num_workers
        self._uses_processes = backend == "process" and num_workers > 0
        self._prefetch = prefetch
        self._prefetch_bytes = prefetch_bytes
        self._pools: list[BufferPool] = []
        self._idle: list[BufferPool] = []
        self._crews: list[Crew] = []
        self._resting: list[Crew] = []
        self._past_extra = self._past_deaths = 0
        self._batch_nbytes: int | None = None
        if maker.layout is not None and maker.keeps_layout:
            self._batch_nbytes = layout_nbytes(batch_layout(maker.layout, maker.batch_size))
        if self._uses_processes:
            pickled_function(maker)

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy shares nothing that is alive or locked: it may be used after a fork.
        maker = replace(self._maker, scratch=copy.copy(self._maker.scratch))
        return Production, (maker, *self._options)

    @property
    def extra(self) -> int:
        """Batches that went into fresh memory, since the consumer held all that is used again."""
        return (
            self._past_extra
            + sum(crew.extra for crew in self._crews)
            + sum(pool.extra for pool in self._pools)
        )

    @property
    def deaths(self) -> int:
        """Worker processes that died and were replaced."""
        return self._past_deaths + sum(crew.deaths for crew in self._crews)

    def run(self, jobs: Iterable[Job]) -> Generator[Made, None, None]:
        """Yield a batch for each job, made ahead from now on."""
        if not self._idle:
            self._idle.append(BufferPool(self._prefetch + _SPARE_BATCHES))
            self._pools += self._idle
        return started(self._run(jobs, self._idle.pop()))

    def _run(self, jobs: Iterable[Job], pool: BufferPool) -> Generator[Any, None, None]:
        here = partial(self._maker, memory=pool)
        try:
            if self._uses_processes:
                results = self._by_crew(jobs, here)
            else:
                results = prefetched(
                    here, jobs, num_workers=self._num_workers, prefetch=self._ahead
                )
            yield None
            yield from results
        finally:
            self._idle.append(pool)

    def _by_crew(
        self, jobs: Iterable[Job], here: Callable[[Job], Made]
    ) -> Generator[Made, None, None]:
        crew = self._resting.pop() if self._resting else self._new_crew()
        # A transform runs where it was asked to run, and nowhere else.
        may_help = self._maker.transform is None and self._maker.batch_transform is None
        may_help = may_help and self._maker.collate is None
        return by_crew(
            crew,
            jobs,
            prefetch=self._ahead,
            meanwhile=here if may_help else None,
            release=self._rest,
        )

    def note(self, batch: Batch) -> None:
        """Note the size of a batch, for `prefetch_bytes`."""
        if self._prefetch_bytes is not None:
            self._batch_nbytes = sum(getattr(part, "nbytes", 0) for part in batch.values())

    def close(self) -> None:
        """End the workers that are at rest."""
        while self._resting:
            self._resting.pop().close()

    def _new_crew(self) -> Crew:
        for crew in [crew for crew in self._crews if crew.is_closed]:
            self._crews.remove(crew)
            self._past_extra += crew.extra
            self._past_deaths += crew.deaths
        crew = Crew(
            self._maker,
            self._num_workers,
            ahead=self._prefetch + 1,
            describe=partial(_described, self._maker),  # not a method: that would be a cycle
        )
        self._crews.append(crew)
        return crew

    def _ahead(self) -> int:
        if self._prefetch_bytes is None:
            return self._prefetch
        if self._batch_nbytes is None:  # one, to see how large they are
            return 1
        return max(1, min(self._prefetch, self._prefetch_bytes // max(1, self._batch_nbytes)))

    def _rest(self, crew: Crew) -> None:
        if self._resting:  # one is enough
            crew.close()
        else:
            self._resting.append(crew)


def _described(maker: BatchMaker, job: Job) -> str:
    rows = maker.source.rows(job.positions).tolist()
    return f"the batch of rows {rows} in epoch {job.epoch}"
