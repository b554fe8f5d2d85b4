"""Batches of a view, epoch after epoch, made ahead by threads or processes."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .batches import BatchMaker, Job, Made
from .buffers import BufferPool, Layout
from .options import Backend, Batch, BatchTransform, Collate, Shuffle, Transform
from .production import Production
from .randomness import MOST
from .ranks import find_rank
from .sampler import EpochOrder, Sampler
from .schedule import Schedule
from .sources import ItemSource, as_source
from .stats import LoaderStats
from .substitutes import Substitute
from .values import count_workers, one_of, whole_number

if TYPE_CHECKING:
    from .torch_loader import TensorLoader

#: How many substitutes for damaged samples are named; all are counted.
_MOST_NAMED = 1000


class Loader:
    """Iterates over a view in batches; each iteration is the next epoch.

    A batch is a dict: an array (batch, c, y, x) per field, `index` (int64, the rows in the store)
    and `valid` (bool). Every sample comes exactly once per epoch. Every batch has `batch_size`
    rows; at the very end some may not be valid, which are zero with index -1. The bytes do not
    depend on `num_workers`, `prefetch` or `backend`.

    The arrays are yours for as long as you hold them or anything made on their memory (views,
    tensors); their memory is used again after that.

    Parameters
    ----------
    source
        A view or a store; a dict of arrays or memory maps of one length, or one array (its batches'
        key is "data"); or anything with `len` and `read(rows)` or `[i]`, for instance a list of
        paths with a `transform` that reads one.
    batch_size
        Rows of a batch, of this rank.
    shuffle
        True: each epoch has an order of its own, a full permutation, see `order.epoch_order`;
        False: row order; "block": whole shards are read and shuffled within a window, for places
        where random reads are slow, see `order.block_order` and `shuffle_quality`.
    shuffle_window
        Samples of that window; by default 16 shards.
    seed
        Of the order and of all randomness.
    num_workers
        Threads or processes that make whole batches; 0 makes them in your own thread when you ask,
        and -1 is one for each core but one.
    backend
        "thread", or "process": faster with two or more workers, whose work does not hold up your
        own thread, and what a `transform` in Python needs. Workers start as a program of their own,
        so `transform` and the source must lie in a module that they can import.
    prefetch
        Batches made ahead of the one that you have; by default two per worker, at least 2. The
        loader holds memory for `prefetch` + 2 batches (with processes, + 4 for each of them),
        beside those that you keep.
    prefetch_bytes
        Bound on the bytes of the batches ahead; at least one batch is.
    transform
        `transform(sample, rng)` gets a sample, a dict of arrays (c, y, x), and a NumPy generator
        made from (seed, epoch, row, occurrence); it returns a dict of arrays, the same shapes and
        dtypes for all.
    batch_transform
        `batch_transform(batch, rng)` gets a whole batch, with a generator made from (seed, epoch,
        where the batch begins in the epoch), and returns a dict.
    collate
        `collate(samples)` makes a dict of a list of samples that are not alike (images of different
        sizes); "index" and "valid" are added.
    crop
        (height, width) of a window in all fields alike: from the middle of the patch, or with
        `random_crop` from anywhere in it.
    random_crop
        Whether the window's place is drawn, from (seed, epoch, row, occurrence).
    drop_last
        Leave out the last batch where it is not full.
    fields
        Names of the fields to read; all by default.
    rank, world_size
        Which of several training processes this is; all have the same number of batches, and
        together every sample once. `rank="auto"` asks torch.distributed, then the environment.
    weights
        One number per sample: `samples_per_epoch` samples (by default as many as there are) are
        drawn with replacement, each as often as its weight says.
    balance
        Name of a column (or "store"): drawn so that each of its values has the same expected share.
    samples_per_epoch
        With `weights` or `balance`.
    most_per_image
        No global batch holds more patches of one source image.
    on_corrupt
        "raise", or "substitute": another sample of the view takes the place of a damaged one.

    Raises
    ------
    ValueError
        For arguments that do not fit; names the argument, what was found and what to give.
    WorkerError
        With `backend="process"`, for a transform or a source that workers cannot import.
    """

    def __init__(
        self,
        source: Any,
        batch_size: int,
        *,
        shuffle: Shuffle = False,
        shuffle_window: int | None = None,
        seed: int = 0,
        num_workers: int = 1,
        backend: Backend = "thread",
        prefetch: int | None = None,
        prefetch_bytes: int | None = None,
        transform: Transform | None = None,
        batch_transform: BatchTransform | None = None,
        collate: Collate | None = None,
        crop: tuple[int, int] | None = None,
        random_crop: bool = False,
        drop_last: bool = False,
        fields: Sequence[str] | None = None,
        rank: int | Literal["auto"] = 0,
        world_size: int | None = None,
        weights: Any = None,
        balance: str | None = None,
        samples_per_epoch: int | None = None,
        most_per_image: int | None = None,
        on_corrupt: Literal["raise", "substitute"] = "raise",
    ) -> None:
        one_of("backend", backend, ("thread", "process"))
        one_of("on_corrupt", on_corrupt, ("raise", "substitute"))
        self.batch_size = whole_number("batch_size", batch_size, least=1)
        self.seed = whole_number("seed", seed, most=MOST)
        self.num_workers = count_workers(num_workers)
        self.backend = backend
        self.prefetch = max(2, 2 * self.num_workers)
        if prefetch is not None:
            self.prefetch = whole_number("prefetch", prefetch, least=1)
        if prefetch_bytes is not None:
            whole_number("prefetch_bytes", prefetch_bytes, least=1)
        self.rank, self.world_size = find_rank(rank, world_size)
        self.shuffle = shuffle
        self.substitutes: list[Substitute] = []
        read = as_source(source, fields)
        self._sampler = Sampler(
            source,
            len(read),
            shuffle=shuffle,
            seed=self.seed,
            shuffle_window=shuffle_window,
            weights=weights,
            balance=balance,
            samples_per_epoch=samples_per_epoch,
            most_per_image=most_per_image,
            global_batch=self.batch_size * self.world_size,
            drop_last=drop_last,
        )
        self._schedule = Schedule(
            self._sampler.length, self.batch_size, self.rank, self.world_size, bool(drop_last)
        )
        maker = BatchMaker(
            read,
            self.batch_size,
            self.seed,
            _checked_crop(crop, None if isinstance(read, ItemSource) else read.layout),
            bool(random_crop),
            transform,
            batch_transform,
            collate,
            on_corrupt == "substitute",
            BufferPool(max(1, self.num_workers)),
        )
        self._production = Production(
            maker, self.num_workers, backend, self.prefetch, prefetch_bytes
        )
        self._next = (0, 0)  # epoch, and samples of it to leave out, for the next iteration
        self._received = (0, 0)  # epoch, and samples of it that the consumers of all ranks have
        self._iterations = 0
        self._stats = LoaderStats()
        self._warned: set[str] = set()

    @property
    def epoch(self) -> int:
        """The epoch that the next iteration gives, counted from 0."""
        return self._next[0]

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration give this epoch, from its beginning."""
        self._next = self._received = (whole_number("epoch", epoch, most=MOST), 0)

    def __len__(self) -> int:
        return self._schedule.batches()

    def __iter__(self) -> Generator[Batch, None, None]:
        return self.batches()

    def batches(self, *, first: int = 0, step: int = 1) -> Generator[Batch, None, None]:
        """Return the next epoch's batches, made ahead from now on.

        Parameters
        ----------
        first, step
            Only batches first, first + step, … of this rank's, for processes that share them out;
            what `state_dict` says is then of no use.
        """
        whole_number("first", first)
        whole_number("step", step, least=1)
        epoch, consumed = self._next
        self._next = (epoch + 1, 0)
        self._received = (epoch, consumed)
        self._iterations += 1
        order = self._sampler.order(epoch)
        self._stats.distinct = self._sampler.distinct(order)
        self._stats.repeats = self._sampler.length - self._stats.distinct
        numbers = range(first, self._schedule.batches(consumed), step)
        made = self._production.run(self._jobs(epoch, consumed, order, numbers))
        return self._delivered(made, epoch, consumed, numbers, self._iterations)

    def state_dict(self) -> dict[str, int]:
        """Return where the consumer is: a few numbers, the same on every rank.

        Batches count when they have been received, not when they were made ahead. The state goes
        with a checkpoint, and `load_state_dict` goes on from there, also with other numbers of
        workers and ranks and another batch size.
        """
        epoch, samples = self._received
        if self._schedule.batches(samples) == 0:
            epoch, samples = epoch + 1, 0
        return {
            "seed": self.seed,
            "epoch": epoch,
            "samples": samples,
            "length": self._schedule.length,
            "global_batch": self._schedule.step,
        }

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Make the next iteration go on where a state was taken; takes no time.

        Raises
        ------
        ValueError
            For a state of another order: of another seed or number of samples, or, where an image
            is capped in a batch, of another size of the global batch.
        """
        own = self.state_dict()
        if set(state) != set(own):
            raise ValueError(f"a state has {sorted(own)}, and this has {sorted(state)}")
        fixed = ["seed", "length", *(["global_batch"] if self._sampler.is_capped else [])]
        for name in fixed:
            if state[name] != own[name]:
                raise ValueError(
                    f"the state is of a loader whose {name} is {state[name]}, and this one's is "
                    f"{own[name]}; make the loader as it was"
                )
        epoch = whole_number("epoch", state["epoch"], most=MOST)
        samples = whole_number("samples", state["samples"], most=state["length"])
        self._next = self._received = (epoch, samples)

    def stats(self) -> LoaderStats:
        """Return what was received so far and what it cost."""
        return replace(self._stats, replaced_workers=self._production.deaths)

    def shuffle_quality(self) -> float:
        """Return how well the next epoch is shuffled: 1 is a full shuffle, near 0 none.

        See `order.shuffle_quality` for what the number says.
        """
        return self._sampler.quality(self.epoch)

    def torch(self, *, pin_memory: bool = False, device: Any = None) -> TensorLoader:
        """Return an iterable of the same batches as tensors, see `torch_loader.TensorLoader`."""
        from .torch_loader import TensorLoader

        return TensorLoader(self, pin_memory=pin_memory, device=device)

    def close(self) -> None:
        """End the worker processes that wait for the next iteration."""
        self._production.close()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_production": copy.copy(self._production)}

    def __enter__(self) -> Loader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"Loader({len(self)} batches of {self.batch_size}, next epoch {self.epoch}, "
            f"shuffle={self.shuffle}, seed={self.seed}, num_workers={self.num_workers}, "
            f"backend={self.backend!r}, prefetch={self.prefetch})"
        )

    def _jobs(self, epoch: int, consumed: int, order: EpochOrder, numbers: range) -> Iterator[Job]:
        for number in numbers:
            start, stop = self._schedule.span(number, consumed)
            yield Job(epoch, start, *order.part(start, stop))

    def _delivered(
        self,
        made: Generator[Made, None, None],
        epoch: int,
        consumed: int,
        numbers: range,
        iteration: int,
    ) -> Generator[Batch, None, None]:
        with closing(made):
            for number in numbers:
                # Not held in a variable: its memory is free as soon as the consumer drops it.
                yield self._receive(
                    made, iteration, (epoch, consumed + (number + 1) * self._schedule.step)
                )
            next(made, None)  # to its end, so that the workers stay for the next iteration

    def _receive(
        self, made: Generator[Made, None, None], iteration: int, received: tuple[int, int]
    ) -> Batch:
        start = time.perf_counter()
        one = next(made)
        stats = self._stats
        stats.batches += 1
        stats.samples += int(np.count_nonzero(one.batch["valid"]))
        stats.wait_s += time.perf_counter() - start
        stats.io_s += one.waited_s
        stats.decode_s += one.read_s - one.waited_s
        stats.transform_s += one.transform_s
        stats.substitutes += len(one.substitutes)
        stats.extra_batches = self._production.extra
        self.substitutes += one.substitutes[: _MOST_NAMED - len(self.substitutes)]
        self._production.note(one.batch)
        if iteration == self._iterations:
            self._received = (received[0], min(received[1], self._schedule.length))
        if one.substitutes:
            row, by, fault = one.substitutes[0]
            self._warn_once(
                "substitutes",
                f"row {by} takes the place of row {row}: {fault}; loader.substitutes names all",
            )
        if stats.extra_batches:
            self._warn_once(
                "extra",
                "batches go into fresh memory, which is slow, since all that is used again is "
                "held; keep fewer batches, or copies of what you keep",
            )
        return one.batch

    def _warn_once(self, kind: str, text: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            warnings.warn(text, RuntimeWarning, stacklevel=4)


def _checked_crop(crop: tuple[int, int] | None, layout: Layout | None) -> tuple[int, int] | None:
    """Return a crop that fits the fields; they must all have one size in y and x."""
    if crop is None:
        return None
    if layout is None:
        raise ValueError("crop is for stores and arrays, whose shape is known; crop in transform")
    height, width = (whole_number("crop", size, least=1) for size in crop)
    sizes = {shape[-2:] for shape, _ in layout.values() if len(shape) >= 2}
    if len(sizes) != 1:
        raise ValueError(f"crop is {crop} for fields of sizes {sorted(sizes)}; they must be one")
    ((full_height, full_width),) = sizes
    if height > full_height or width > full_width:
        raise ValueError(f"crop is {crop}, more than the patch, {(full_height, full_width)}")
    return height, width
