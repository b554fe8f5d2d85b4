"""What a pool's worker does: a few items of a call, each with an outcome of its own."""

from __future__ import annotations

import pickle
import reprlib
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .buffers import Memory
from .errors import WorkerError
from .outcome import Outcome, failure
from .randomness import POOL, philox

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 200  # a path is worth reading whole


@dataclass(frozen=True, eq=False)
class Call:
    """What the items of one `map` or `imap` have in common.

    Attributes
    ----------
    number
        Tells it from the pool's other calls.
    function
        `function(item)`, or with a seed `function(item, rng)`.
    pickled
        The function, for worker processes; b"" where there are none.
    seed, epoch
        What the items' generators are made from, with the item's number; no seed for none.
    """

    number: int
    function: Callable[..., Any]
    pickled: bytes
    seed: int | None
    epoch: int


class Task(NamedTuple):
    """Some items of a call that are done one after another, the first of which is number `first`.

    For worker processes each item is `Packed`.
    """

    call: Call
    first: int
    items: Sequence[Any]


class Packed(NamedTuple):
    """A pickled object, its arrays beside it and not copied (pickle protocol 5, PEP 574)."""

    data: bytes
    buffers: list[Any]

    def unpacked(self) -> Any:
        """Return the object; its arrays lie in the buffers."""
        return pickle.loads(self.data, buffers=self.buffers)


def packed(value: object) -> Packed:
    """Pickle an object."""
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(value, 5, buffer_callback=buffers.append)
    return Packed(data, buffers)


class NotSent(NamedTuple):
    """Stands for an item that could not be pickled."""

    error: Outcome


def packed_item(item: object) -> Packed:
    """Pickle an item, or what says why that could not be done."""
    try:
        return packed(item)
    except Exception as error:
        return packed(NotSent(failure(error)))


class Message(NamedTuple):
    """A task as it is sent; a worker is sent each call's function once, and told what to forget."""

    call: int
    function: bytes | None
    forget: list[int]
    seed: int | None
    epoch: int
    first: int
    items: Sequence[Packed]


def encode(task: Task, known: dict[int, weakref.ref[Call]]) -> Message:
    """Make a message of a task; `known` are the calls whose function the worker has."""
    call = task.call
    forget = [number for number, there in known.items() if there() is None]
    for number in forget:
        del known[number]
    function = None if call.number in known else call.pickled
    known[call.number] = weakref.ref(call)
    return Message(call.number, function, forget, call.seed, call.epoch, task.first, task.items)


class Runner:
    """The function of a pool's `Crew`; each worker has one of its own."""

    def __init__(self) -> None:
        self._functions: dict[int, Callable[..., Any] | Outcome] = {}

    def __call__(self, message: Message, memory: Memory) -> list[Packed]:
        """Do a task's items and return their outcomes."""
        for number in message.forget:
            del self._functions[number]
        if message.function is not None:
            try:
                self._functions[message.call] = pickle.loads(message.function)
            except BaseException as error:  # what its module raises when it is imported
                self._functions[message.call] = failure(error)
        function = self._functions[message.call]
        return [
            self._outcome(function, item, number, message)
            for number, item in enumerate(message.items, message.first)
        ]

    def _outcome(
        self, function: Callable[..., Any] | Outcome, item: Packed, number: int, message: Message
    ) -> Packed:
        if isinstance(function, Outcome):
            return packed(function)
        try:
            value = item.unpacked()
            if isinstance(value, NotSent):
                return packed(value.error)
            return packed(Outcome(_called(function, value, number, message.seed, message.epoch)))
        except BaseException as error:  # of the function, or where its value cannot be pickled
            error.add_note(f"in item {number}, {_described(item)}")
            return packed(failure(error))


def outcomes(task: Task) -> Iterator[Outcome]:
    """Do a task's items in this thread and yield their outcomes."""
    call = task.call
    for number, item in enumerate(task.items, task.first):
        try:
            yield Outcome(_called(call.function, item, number, call.seed, call.epoch))
        except Exception as error:
            error.add_note(f"in item {number}, {_SHORT.repr(item)}")
            yield Outcome(error=error)
        except BaseException as error:  # SystemExit would end the consumer without a word
            error.add_note(f"in item {number}, {_SHORT.repr(item)}")
            yield failure(error)


def described(task: Task) -> str:
    """Say which item a task's first is; of worker processes."""
    return f"item {task.first}, {_described(task.items[0])}"


def _described(item: Packed) -> str:
    try:
        return _SHORT.repr(item.unpacked())
    except Exception as error:
        return f"which cannot be unpickled ({type(error).__name__}: {error})"


def _called(
    function: Callable[..., Any], item: object, number: int, seed: int | None, epoch: int
) -> Any:
    try:
        if seed is None:
            return function(item)
        return function(item, np.random.Generator(philox(seed, epoch, POOL, number)))
    except StopIteration as error:  # which would end the consumer's loop without a word
        raise WorkerError(f"the function raised StopIteration({error})") from error
