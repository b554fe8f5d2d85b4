"""`TensorLoader`: a loader's batches as tensors, on the CPU without a copy, or on a GPU."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

import torch

from .torch_staging import CudaLane, Lane, Staging, sent_ahead
from .torch_tensors import as_tensors

if TYPE_CHECKING:
    from .loader import Loader
    from .options import Batch
    from .stats import LoaderStats

    Batches = Generator[Batch, None, None]


class TensorLoader:
    """Iterates over a loader in dicts of tensors; made by `Loader.torch`.

    On the CPU the tensors share the batch's memory, which is used again once nobody holds the
    tensor or anything made on it. uint16 stays uint16; `batch["image"].to(torch.float32)` or
    `.float()` converts it where it lies, on a GPU at half the transfer of converting before.

    With `device="cuda"` each batch is copied into pinned memory and from there by a stream of its
    own, one batch ahead of the one that you have: the copy runs while your step does. The
    tensors are ready for the stream that is current when they are delivered.

    Parameters
    ----------
    loader
        What to iterate over.
    pin_memory
        Deliver tensors in pinned memory (a copy), for transfers of your own with
        `non_blocking=True`. With a device it is pinned anyway.
    device
        Where to deliver: None or "cpu", or "cuda", "cuda:1", ….

    Raises
    ------
    ValueError
        For pinned memory or a device that this machine or this build of torch does not have.
    """

    def __init__(
        self,
        loader: Loader,
        *,
        pin_memory: bool = False,
        device: str | torch.device | None = None,
    ) -> None:
        self.loader = loader
        self.device = _check_device(device)
        self.pin_memory = bool(pin_memory)
        if self.pin_memory and self.device.type == "cpu" and not torch.cuda.is_available():
            raise ValueError(
                f"pin_memory is True, and torch {torch.__version__} sees no GPU here to pin memory "
                "for; leave it out"
            )
        self._lane: Lane | None = None
        self._delivered: dict[str, int] | None = None

    @property
    def epoch(self) -> int:
        """The epoch that the next iteration gives, counted from 0."""
        return self.loader.epoch

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration give this epoch."""
        self._delivered = None
        self.loader.set_epoch(epoch)

    def state_dict(self) -> dict[str, int]:
        """Return the loader's state after the batches that were delivered, see `Loader`."""
        return self.loader.state_dict() if self._delivered is None else dict(self._delivered)

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Make the next iteration go on from a state, see `Loader`."""
        self._delivered = None
        self.loader.load_state_dict(state)

    def stats(self) -> LoaderStats:
        """Return what was received so far and what it cost, see `Loader`."""
        return self.loader.stats()

    def close(self) -> None:
        """End the worker processes that wait for the next iteration, see `Loader`."""
        self.loader.close()

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Generator[dict[str, Any], None, None]:
        # The loader's iterator is made now, not when the first batch is asked for.
        if self.device.type == "cpu":
            self._delivered = None
            return self._on_cpu(iter(self.loader))
        if self._lane is None:
            self._lane = CudaLane(self.device)
        return self._through(self._lane)

    def __repr__(self) -> str:
        return (
            f"TensorLoader({self.loader!r}, pin_memory={self.pin_memory}, device='{self.device}')"
        )

    def _on_cpu(self, batches: Batches) -> Generator[dict[str, Any], None, None]:
        # Maps keep nothing of what went through them: its memory is the consumer's alone.
        tensors = map(as_tensors, batches)
        with closing(batches):
            yield from map(_pinned, tensors) if self.pin_memory else tensors

    def _through(self, lane: Lane) -> Generator[dict[str, Any], None, None]:
        """Begin an iteration whose batches go through a lane."""
        # The loader is a batch ahead of the consumer: its state goes along with each batch.
        self._delivered = self.loader.state_dict()
        return self._ahead(iter(self.loader), Staging(lane))

    def _ahead(self, batches: Batches, staging: Staging) -> Generator[dict[str, Any], None, None]:
        with closing(batches):
            for tensors, state in sent_ahead(map(self._marked, batches), staging):
                self._delivered = state
                yield tensors
                del tensors
        self._delivered = None

    def _marked(self, batch: Batch) -> tuple[dict[str, Any], dict[str, int]]:
        return as_tensors(batch), self.loader.state_dict()


def _pinned(tensors: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.pin_memory() if isinstance(value, torch.Tensor) else value
        for name, value in tensors.items()
    }


def _check_device(device: str | torch.device | None) -> torch.device:
    found = torch.device("cpu" if device is None else device)
    if found.type not in ("cpu", "cuda"):
        raise ValueError(
            f"device is '{found}'; give cpu or cuda, and move tensors elsewhere by .to"
        )
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device is '{found}', and torch {torch.__version__} sees "
            f"{torch.cuda.device_count()} CUDA devices here; leave device out to train on the CPU"
        )
    return found
