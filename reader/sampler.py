"""Which samples an epoch has, in which order: what the arguments of a loader come to."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .cap import capped_order
from .options import Shuffle
from .order import block_order, epoch_order, shuffle_quality
from .sampling import balanced_weights, check_weights, distinct, drawn_order, occurrences
from .sources import view_of
from .view import View

#: `shuffle="block"` shuffles within windows of so many shards, unless told otherwise.
_SHARDS_PER_WINDOW = 16


class EpochOrder(NamedTuple):
    """The samples of an epoch.

    Attributes
    ----------
    positions
        Shape (n,), int64, of the source; None for all of them as they stand.
    occurrences
        How often each came before, shape (n,); None where all come once.
    """

    positions: NDArray[np.int64] | None
    occurrences: NDArray[np.int64] | None

    def part(self, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
        """Return the positions and occurrences from start to stop."""
        positions = np.arange(start, stop) if self.positions is None else self.positions[start:stop]
        return positions, None if self.occurrences is None else self.occurrences[start:stop]


class Sampler:
    """The order of each epoch, a function of seed and epoch alone; see `Loader` for the parameters.

    Parameters
    ----------
    source
        What the loader was given: a view or a store has columns and shards.
    size
        Number of samples that it has.
    global_batch
        Samples of a batch, of all ranks together: what the cap counts in.
    drop_last
        Whether what is left over at the end is never used, and thus not capped.
    """

    def __init__(
        self,
        source: Any,
        size: int,
        *,
        shuffle: Shuffle,
        seed: int,
        shuffle_window: int | None,
        weights: Any,
        balance: str | None,
        samples_per_epoch: int | None,
        most_per_image: int | None,
        global_batch: int,
        drop_last: bool,
    ) -> None:
        if shuffle not in (True, False, "block"):
            raise ValueError(f'shuffle is {shuffle!r}; give True, False or "block"')
        if weights is not None and balance is not None:
            raise ValueError("weights and balance are both given; give one of them")
        self._view = view_of(source)
        self._shuffle = shuffle
        self._seed = seed
        self._weights = None if weights is None else check_weights(weights, size)
        if balance is not None:
            self._weights = balanced_weights(self._columns("balance").classes(balance))
        if samples_per_epoch is not None and self._weights is None:
            raise ValueError("samples_per_epoch is for weights or balance; a view has its length")
        self.length = size if samples_per_epoch is None else samples_per_epoch
        self._size = size
        self._global_batch = global_batch
        self._used = self.length // global_batch * global_batch if drop_last else self.length
        self._most_per_image = most_per_image
        self._images = None
        if most_per_image is not None:
            self._images = self._columns("most_per_image").column("image")
        self._starts = np.zeros(1, np.int64)
        self._window = shuffle_window or self.length
        if shuffle == "block":
            self._starts = self._columns('shuffle="block"').block_starts
            shards = max(1, len(self._starts))
            self._window = shuffle_window or -(-self._size * _SHARDS_PER_WINDOW // shards)
        elif shuffle_window is not None:
            raise ValueError('shuffle_window is for shuffle="block"')

    @property
    def is_drawn(self) -> bool:
        """Whether samples are drawn with weights, so that some come again and some not at all."""
        return self._weights is not None

    @property
    def is_capped(self) -> bool:
        """Whether the order depends on the size of a batch."""
        return self._images is not None

    def order(self, epoch: int) -> EpochOrder:
        """Return the order of an epoch."""
        positions: NDArray[np.int64] | None = None
        if self._weights is not None:
            positions = drawn_order(self._weights, self.length, self._seed, epoch)
        elif self._shuffle == "block" and self._size:
            positions = block_order(self._starts, self._size, self._window, self._seed, epoch)
        elif self._shuffle:
            positions = epoch_order(self._size, self._seed, epoch)
        if self._images is not None and self._most_per_image is not None:
            positions = np.arange(self._size) if positions is None else positions
            positions[: self._used] = capped_order(
                positions[: self._used], self._images, self._global_batch, self._most_per_image
            )
        return EpochOrder(
            positions, occurrences(positions) if self.is_drawn and positions is not None else None
        )

    def quality(self, epoch: int) -> float:
        """Return how well an epoch is shuffled, see `order.shuffle_quality`."""
        positions = self.order(epoch).positions
        return shuffle_quality(
            np.arange(self._size) if positions is None else positions, self._size
        )

    def distinct(self, order: EpochOrder) -> int:
        """Return how many different samples an epoch has."""
        if self.is_drawn and order.positions is not None:
            return distinct(order.positions)
        return self.length

    def _columns(self, argument: str) -> View:
        if self._view is None:
            raise ValueError(f"{argument} needs a view of a store, which has columns and shards")
        return self._view
