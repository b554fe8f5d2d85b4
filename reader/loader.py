"""Batches of a view, epoch after epoch, decoded ahead on threads."""

from __future__ import annotations

import operator
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .buffers import BufferPool
from .order import MOST, epoch_order
from .prefetch import prefetched

if TYPE_CHECKING:
    from .view import View

#: Each field's array (batch, …), "index" int64 (batch,), "valid" bool (batch,).
Batch = dict[str, NDArray[Any]]


class _Job(NamedTuple):
    positions: NDArray[np.int64]
    buffers: dict[str, NDArray[Any]]


class Loader:
    """Iterates over a view in batches; each iteration is the next epoch.

    A batch is a dict: an array (batch, c, y, x) per field, `index` (int64, the rows in the store)
    and `valid` (bool). Every sample comes exactly once per epoch. Every batch has `batch_size`
    rows; the last may have some that are not valid, which are zero with index -1. The bytes do
    not depend on `num_workers` or `prefetch`.

    The arrays are yours for as long as you hold them or anything made on their memory (views,
    tensors); their memory is used again after that.

    Parameters
    ----------
    source
        The view to read.
    batch_size
        Rows of a batch.
    shuffle
        Whether each epoch has an order of its own, see `order.epoch_order`; otherwise row order.
    seed
        Of the order.
    num_workers
        Threads that decode, each whole batches; 0 decodes when the batch is asked for. One is
        the default: it decodes while your step runs, and more of them mostly pass Python's lock
        back and forth, unless chunks are large or slow to decompress (zstd).
    prefetch
        Batches decoded ahead of the one that you have. Memory is bounded by `prefetch` + 2
        batches, and those that you keep.
    drop_last
        Leave out the last batch where it is not full.
    fields
        Names of the fields to read; all by default.
    """

    def __init__(
        self,
        source: View,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        num_workers: int = 1,
        prefetch: int = 2,
        drop_last: bool = False,
        fields: Sequence[str] | None = None,
    ) -> None:
        self._source = source
        self.batch_size = _count("batch_size", batch_size, least=1)
        self.shuffle = bool(shuffle)
        self.seed = _count("seed", seed, most=MOST)
        self.num_workers = _count("num_workers", num_workers)
        self.prefetch = _count("prefetch", prefetch, least=1)
        self.drop_last = bool(drop_last)
        self._epoch = 0
        self._pools = {
            field.name: BufferPool((self.batch_size, *field.shape), field.dtype, self.prefetch + 2)
            for field in source.choose_fields(fields)
        }

    @property
    def epoch(self) -> int:
        """The epoch that the next iteration gives, counted from 0."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration give this epoch."""
        self._epoch = _count("epoch", epoch, most=MOST)

    def __len__(self) -> int:
        full, rest = divmod(len(self._source), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Generator[Batch, None, None]:
        epoch = self._epoch
        self._epoch += 1
        return prefetched(
            self._batch, self._jobs(epoch), num_workers=self.num_workers, prefetch=self.prefetch
        )

    def __repr__(self) -> str:
        return (
            f"Loader({len(self)} batches of {self.batch_size}, next epoch {self._epoch}, "
            f"shuffle={self.shuffle}, seed={self.seed}, num_workers={self.num_workers}, "
            f"prefetch={self.prefetch})"
        )

    def _jobs(self, epoch: int) -> Iterator[_Job]:
        length = len(self._source)
        order = epoch_order(length, self.seed, epoch) if self.shuffle else None
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            stop = min(start + self.batch_size, length)
            yield _Job(
                np.arange(start, stop) if order is None else order[start:stop],
                {name: pool.take() for name, pool in self._pools.items()},
            )

    def _batch(self, job: _Job) -> Batch:
        filled = len(job.positions)
        index = np.full(self.batch_size, -1, np.int64)
        index[:filled] = self._source.read_into(
            job.positions, {name: buffer[:filled] for name, buffer in job.buffers.items()}
        )
        if filled < self.batch_size:
            for buffer in job.buffers.values():
                buffer[filled:] = 0
        # Views, so that nothing that the consumer does to the array itself reaches the pool.
        batch = {name: buffer.view() for name, buffer in job.buffers.items()}
        return batch | {"index": index, "valid": index >= 0}


def _count(name: str, value: int, *, least: int = 0, most: int | None = None) -> int:
    """Return a whole number of at least `least`, and at most `most`."""
    limits = f"of at least {least}" if most is None else f"from {least} to {most}"
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = -1
    if number < least or (most is not None and number > most):
        raise ValueError(f"{name} is {value!r}; give a whole number {limits}")
    return number
