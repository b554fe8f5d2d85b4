"""A batch out of a job: read, crop, transform, stack; the same wherever and whenever it is done."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .buffers import BufferPool, Layout, Memory, take_arrays
from .errors import DamagedStoreError
from .options import Batch, BatchTransform, Collate, Transform
from .randomness import BATCH, CROP, TRANSFORM, hashed, philox
from .sources import ItemSource, Source
from .stacking import INDEX, VALID, mark_rows, stacked, take_batch
from .substitutes import Substitute, read_what_is_whole


class Job(NamedTuple):
    """What a batch depends on, beside the loader's own settings.

    Attributes
    ----------
    epoch
        Of the batch.
    start
        Where it begins in the epoch's order: its number, for its generator.
    positions
        Shape (n,), int64, of the source; fewer than a batch at the very end.
    occurrences
        Shape (n,): how often each came before in this epoch; None where all come once.
    """

    epoch: int
    start: int
    positions: NDArray[np.int64]
    occurrences: NDArray[np.int64] | None


class Made(NamedTuple):
    """A batch, and what it cost: seconds, of which those read were partly spent waiting."""

    batch: Batch
    read_s: float
    waited_s: float
    transform_s: float
    substitutes: list[Substitute]


@dataclass
class BatchMaker:
    """Makes batches; the same function of a `Job` in threads and in worker processes.

    Attributes are those of `Loader`; `may_substitute` says whether damaged samples are replaced,
    and `scratch` is memory for samples on their way to a transform.
    """

    source: Source | ItemSource
    batch_size: int
    seed: int
    crop: tuple[int, int] | None
    random_crop: bool
    transform: Transform | None
    batch_transform: BatchTransform | None
    collate: Collate | None
    may_substitute: bool
    scratch: BufferPool = field(default_factory=lambda: BufferPool(1))

    @cached_property
    def layout(self) -> Layout | None:
        """Name to shape and dtype of a sample's arrays as they are read, where that is known."""
        if isinstance(self.source, ItemSource):
            return None
        known = self.source.layout
        return {name: (self._cropped(shape), dtype) for name, (shape, dtype) in known.items()}

    @property
    def keeps_layout(self) -> bool:
        """Whether samples go into the batch as they are read."""
        return self.layout is not None and self.transform is None and self.collate is None

    def __call__(self, job: Job, memory: Memory) -> Made:
        """Make a batch whose arrays lie in `memory`, as far as they are made here."""
        if len(job.positions) == 0 and not self.keeps_layout:
            return self._empty(job, memory)
        clock = _Clock()
        substitutes: list[Substitute] = []
        if self.keeps_layout:
            batch = self._read_into_batch(job, memory, substitutes)
            clock.stop_reading()
        else:
            samples, rows = self._read_samples(job, substitutes)
            clock.stop_reading()
            batch = self._stacked(self._transformed(job, rows, samples), rows, memory)
        if self.batch_transform is not None:
            rng = np.random.Generator(philox(self.seed, job.epoch, BATCH, job.start))
            result = self.batch_transform(dict(batch), rng)
            if not isinstance(result, dict):
                raise TypeError(f"batch_transform returned {type(result).__name__}; return a dict")
            batch = {**result, INDEX: batch[INDEX], VALID: batch[VALID]}
        clock.stop()
        return Made(batch, clock.read_s, clock.waited_s, clock.worked_s, substitutes)

    def _read_into_batch(self, job: Job, memory: Memory, substitutes: list[Substitute]) -> Batch:
        layout = self.layout
        assert layout is not None
        batch = take_batch(memory, layout, self.batch_size)
        parts = {name: batch[name][: len(job.positions)] for name in layout}
        mark_rows(batch, self._read(job, parts, substitutes))
        return batch

    def _read_samples(
        self, job: Job, substitutes: list[Substitute]
    ) -> tuple[Sequence[Any], NDArray[np.int64]]:
        if isinstance(self.source, ItemSource):
            return self.source.samples(job.positions), self.source.rows(job.positions)
        layout, count = self.layout, len(job.positions)
        assert layout is not None
        arrays = take_arrays(
            self.scratch,
            {name: ((count, *shape), dtype) for name, (shape, dtype) in layout.items()},
        )
        rows = self._read(job, arrays, substitutes)
        return [{name: array[n] for name, array in arrays.items()} for n in range(count)], rows

    def _read(
        self, job: Job, out: Mapping[str, NDArray[Any]], substitutes: list[Substitute]
    ) -> NDArray[np.int64]:
        """Read samples of known layout, and return their rows."""
        assert not isinstance(self.source, ItemSource)
        corners = self._corners(job, self.source)
        try:
            return self.source.read_into(job.positions, out, corners)
        except DamagedStoreError:
            if not self.may_substitute:
                raise
        key = (self.seed, job.epoch, job.start)
        taken, found = read_what_is_whole(self.source, job.positions, out, corners, key)
        substitutes += found
        return self.source.rows(taken)

    def _cropped(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if self.crop is None or len(shape) < 2:
            return shape
        return (*shape[:-2], *self.crop)

    def _corners(self, job: Job, source: Source) -> NDArray[np.int64] | None:
        """Return where each sample is cropped, shape (n, 2), y and x."""
        if self.crop is None:
            return None
        size = next(shape[-2:] for shape, _ in source.layout.values() if len(shape) > 1)
        room = np.array(size, np.int64) - self.crop
        if not self.random_crop:
            return np.repeat([room // 2], len(job.positions), axis=0)
        rows = source.rows(job.positions)
        numbers = hashed(self.seed, job.epoch, CROP, rows, _occurrences(job))
        return (numbers % (room + 1).astype(np.uint64)).astype(np.int64)

    def _transformed(
        self, job: Job, rows: NDArray[np.int64], samples: Sequence[Any]
    ) -> Sequence[Any]:
        if self.transform is None:
            return samples
        results = []
        occurrences = _occurrences(job).tolist()
        for sample, row, occurrence in zip(samples, rows.tolist(), occurrences, strict=True):
            rng = np.random.Generator(philox(self.seed, job.epoch, TRANSFORM, row, occurrence))
            try:
                results.append(self.transform(sample, rng))
            except Exception as error:
                error.add_note(f"in the transform of row {row}, epoch {job.epoch}")
                raise
        return results

    def _stacked(self, samples: Sequence[Any], rows: NDArray[np.int64], memory: Memory) -> Batch:
        if self.collate is None:
            return stacked(samples, rows, self.batch_size, memory)
        collated = self.collate(samples)
        if not isinstance(collated, dict):
            raise TypeError(f"collate returned {type(collated).__name__}; return a dict")
        marks = take_batch(memory, {}, self.batch_size)
        mark_rows(marks, rows)
        return {**collated, **marks}

    def _empty(self, job: Job, memory: Memory) -> Made:
        """Make a batch without a valid row, which other ranks have some of, like any other."""
        made = self(job._replace(positions=np.zeros(1, np.int64), occurrences=None), memory)
        arrays = {n: part for n, part in made.batch.items() if isinstance(part, np.ndarray)}
        mark_rows(arrays, np.zeros(0, np.int64))
        return made


def _occurrences(job: Job) -> NDArray[np.int64]:
    if job.occurrences is None:
        return np.zeros(len(job.positions), np.int64)
    return job.occurrences


class _Clock:
    """What reading and working take: seconds, and how long reading waited without computing."""

    def __init__(self) -> None:
        self._start, self._cpu = time.perf_counter(), time.thread_time()
        self.read_s = self.waited_s = self.worked_s = 0.0

    def stop_reading(self) -> None:
        self.read_s = time.perf_counter() - self._start
        self.waited_s = max(0.0, self.read_s - (time.thread_time() - self._cpu))

    def stop(self) -> None:
        self.worked_s = time.perf_counter() - self._start - self.read_s
