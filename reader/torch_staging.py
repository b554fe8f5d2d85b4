"""Batches on their way to a device: pinned buffers in a ring, copies that run beside the step."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch

Mark = TypeVar("Mark")

#: Staging buffers: one whose copy may still run, one to fill meanwhile.
SLOTS = 2


class Event(Protocol):
    """A mark in a stream of copies."""

    def synchronize(self) -> None:
        """Wait until the device has come to the mark."""


class Copies(Protocol):
    """Tensors of a batch that are being copied to a device."""

    @property
    def event(self) -> Event:
        """The mark behind the copies: the memory that they come from is free then."""

    def deliver(self) -> dict[str, torch.Tensor]:
        """Return them; work that the consumer gives the device from now on comes behind them."""


class Lane(Protocol):
    """The way to a device, with a stream of its own for copies."""

    def pinned(self, like: torch.Tensor) -> torch.Tensor:
        """Return host memory that the device copies from by itself, shaped like a tensor."""

    def send(self, staged: Mapping[str, torch.Tensor]) -> Copies:
        """Begin to copy pinned tensors."""


@dataclass(frozen=True)
class CudaCopies:
    """Tensors on their way to a CUDA device, see `Copies`."""

    device: torch.device
    tensors: dict[str, torch.Tensor]
    event: torch.cuda.Event

    def deliver(self) -> dict[str, torch.Tensor]:
        """Return the tensors; the stream that is current now waits for them, this thread not."""
        consumer = torch.cuda.current_stream(self.device)
        consumer.wait_event(self.event)
        for tensor in self.tensors.values():
            # Allocated in the lane's stream: their memory must not be given to a later copy there
            # while the consumer's stream still has work on it.
            tensor.record_stream(consumer)
        return self.tensors


class CudaLane:
    """The way to a CUDA device, see `Lane`.

    Parameters
    ----------
    device
        Which.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def pinned(self, like: torch.Tensor) -> torch.Tensor:
        """Return pinned memory shaped like a tensor."""
        return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)

    def send(self, staged: Mapping[str, torch.Tensor]) -> CudaCopies:
        """Begin to copy pinned tensors, in the lane's own stream."""
        with torch.cuda.stream(self._stream):
            tensors = {
                name: tensor.to(self._device, non_blocking=True) for name, tensor in staged.items()
            }
            event = torch.cuda.Event()
            event.record(self._stream)
        return CudaCopies(self._device, tensors, event)


@dataclass(frozen=True)
class Sent:
    """A batch on its way: tensors, and what is none."""

    copies: Copies
    others: dict[str, Any]

    def deliver(self) -> dict[str, Any]:
        """Return the batch on the device, see `Copies`."""
        return self.copies.deliver() | self.others


class Staging:
    """A ring of pinned buffers, each filled again only when the copies have left it.

    Parameters
    ----------
    lane
        The way to the device.
    """

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._buffers: list[dict[str, torch.Tensor]] = [{} for _ in range(SLOTS)]
        self._events: list[Event | None] = [None] * SLOTS  # alone: copies hold device memory
        self._slot = 0

    def send(self, batch: Mapping[str, Any]) -> Sent:
        """Begin to copy a batch; its own memory is free on return."""
        slot, self._slot = self._slot, (self._slot + 1) % SLOTS
        event, buffers = self._events[slot], self._buffers[slot]
        if event is not None:
            event.synchronize()
        tensors = {n: value for n, value in batch.items() if isinstance(value, torch.Tensor)}
        staged = {name: self._stage(buffers, name, tensor) for name, tensor in tensors.items()}
        copies = self._lane.send(staged)
        self._events[slot] = copies.event
        return Sent(copies, {n: value for n, value in batch.items() if n not in tensors})

    def _stage(
        self, buffers: dict[str, torch.Tensor], name: str, tensor: torch.Tensor
    ) -> torch.Tensor:
        buffer = buffers.get(name)
        if buffer is None or (buffer.shape, buffer.dtype) != (tensor.shape, tensor.dtype):
            buffer = buffers[name] = self._lane.pinned(tensor)
        return buffer.copy_(tensor)


def sent_ahead(
    marked: Iterator[tuple[Mapping[str, Any], Mark]], staging: Staging
) -> Generator[tuple[dict[str, Any], Mark], None, None]:
    """Yield batches on the device with their marks, the next one already on its way.

    An error of the source is raised in its turn, behind the batches before it.
    """
    ahead: deque[tuple[Sent, Mark]] = deque()
    error: Exception | None = None
    while error is None:
        try:
            batch, mark = next(marked)
            ahead.append((staging.send(batch), mark))
            del batch
        except Exception as raised:  # the end too: both come behind what is on its way
            error = raised
        if len(ahead) > (error is None):
            yield _delivered(*ahead.popleft())
    if not isinstance(error, StopIteration):
        raise error


def _delivered(sent: Sent, mark: Mark) -> tuple[dict[str, Any], Mark]:
    return sent.deliver(), mark
