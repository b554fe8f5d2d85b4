"""`PatchIterable`: a loader's batches through DataLoader, shared out between its workers."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info

from .loader import Loader
from .torch_epochs import SharedEpochs
from .torch_tensors import as_tensors


class PatchIterable(IterableDataset[dict[str, Any]]):
    """The batches of a loader, for `DataLoader(PatchIterable(loader), batch_size=None)`.

    It yields whole batches, dicts of tensors. Of n DataLoader workers, worker w makes batches w,
    w + n, …, which DataLoader delivers in turn: every sample comes exactly once, and the batches
    are those of the loader itself, in the same order, with any number of workers. What this rank
    gets of each global batch is the loader's affair (its `rank` and `world_size`).

    Each iteration is the next epoch, in the workers too, whether they live on
    (`persistent_workers=True`) or are new; `set_epoch` reaches all of them. An iteration that has
    begun keeps its epoch.

    Each worker runs a copy of the loader with the workers that the loader was told to have:
    `num_workers=0` there lets DataLoader's processes do the work alone.

    Parameters
    ----------
    loader
        What to iterate over. From here on set the epoch here, not there.
    """

    def __init__(self, loader: Loader) -> None:
        self.loader = loader
        self._epochs = SharedEpochs(loader.epoch)
        self._local: Loader | None = None
        self._iteration = (-1, -1)

    @property
    def epoch(self) -> int:
        """The epoch that the next iteration gives, counted from 0."""
        return self._epochs.next_epoch

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration give this epoch, in this process and in DataLoader's workers."""
        self.loader.set_epoch(epoch)
        self._epochs.set_next(epoch)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        # No generator: the epoch is that of the moment in which the iteration is asked for.
        worker = get_worker_info()
        if worker is None:
            loader = self.loader
            _go_to(loader, self._epochs.take())
            return map(as_tensors, loader)
        # DataLoader draws a number for each set of workers that it starts, and the n-th iteration
        # of one worker is the n-th of all of that set.
        drawn = worker.seed - worker.id
        last, count = self._iteration
        self._iteration = (drawn, count + 1 if drawn == last else 0)
        epoch = self._epochs.take((worker.num_workers, *self._iteration), worker.id)
        if self._local is None:
            # A copy has no thread, process or lock of the one that a fork brought along.
            self._local = copy.copy(self.loader)
        _go_to(self._local, epoch)
        return map(as_tensors, self._local.batches(first=worker.id, step=worker.num_workers))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_local": None, "_iteration": (-1, -1)}

    def __repr__(self) -> str:
        return f"PatchIterable({self.loader!r})"


def _go_to(loader: Loader, epoch: int) -> None:
    # Only where it is elsewhere: a loader whose state was restored stands within its epoch.
    if loader.epoch != epoch:
        loader.set_epoch(epoch)
