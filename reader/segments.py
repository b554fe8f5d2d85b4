"""Shared memory without a name, passed on by descriptor: nothing is left, whoever is killed.

Each side of a `Channel` writes into segments of its own (`Outbox`) and reads the other's (`Inbox`).
A segment is lent with a message, and reported free once the receiver holds nothing on it.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import NamedTuple

import numpy as np

from .buffers import Bytes, is_held
from .memory import check_memory


class Place(NamedTuple):
    """Where some bytes lie: the number of a segment of the sender, and where in it."""

    segment: int
    start: int
    stop: int


class NewSegment(NamedTuple):
    """A segment that the receiver does not know yet; its descriptor goes with the message."""

    number: int
    nbytes: int


def unnamed_file() -> int:
    """Return a descriptor of a file that has no name and vanishes with its last user."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("patchmill", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:  # without a name too
        return os.dup(file.fileno())


def _mapped(descriptor: int, nbytes: int) -> Bytes:
    # One array a segment, on the map itself: arrays made on it keep it, and so its count of
    # references says whether there are any.
    return np.frombuffer(mmap.mmap(descriptor, nbytes), np.uint8)


class Inbox:
    """The segments of the other side, as this one sees them.

    Parameters
    ----------
    limit
        How many the other side keeps.

    Attributes
    ----------
    extra
        How often it made one beyond the limit.
    """

    def __init__(self, limit: int) -> None:
        self.extra = 0
        self._limit = limit
        self._numbers: list[int] = []
        self._arrays: list[Bytes] = []
        self._lent: set[int] = set()

    def attach(self, new: NewSegment, descriptor: int) -> None:
        """Map a segment and close its descriptor."""
        try:
            self._arrays.append(_mapped(descriptor, new.nbytes))
            self._numbers.append(new.number)
            self.extra += len(self._numbers) > self._limit
        finally:
            os.close(descriptor)

    def view(self, place: Place) -> memoryview:
        """Return the bytes at a place; whatever is made on them keeps the segment lent."""
        self._lent.add(place.segment)
        array = self._arrays[self._numbers.index(place.segment)]
        return array.data[place.start : place.stop]

    def freed(self) -> list[int]:
        """Return the segments that are no longer held since they were last lent, each once."""
        free = [
            number
            for position, number in enumerate(self._numbers)
            if number in self._lent and not is_held(self._arrays, position)
        ]
        self._lent.difference_update(free)
        return free

    def held(self) -> int:
        """Return how many segments something here is made on."""
        return sum(is_held(self._arrays, position) for position in range(len(self._arrays)))

    def drop(self, numbers: list[int]) -> None:
        """Unmap segments that the other side has given up."""
        for number in numbers:
            position = self._numbers.index(number)
            del self._numbers[position], self._arrays[position]


class Outbox:
    """The segments that this side writes into; a `Memory`.

    Parameters
    ----------
    limit
        How many to keep; more are made where all are lent, and given up once they are free.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._made = 0
        self._numbers: list[int] = []
        self._arrays: list[Bytes] = []
        self._taken: set[int] = set()  # for the next message
        self._lent: set[int] = set()
        self._new: dict[int, int] = {}  # number to descriptor
        self._dropped: list[int] = []

    def take(self, nbytes: int) -> Bytes:
        """Return at least so many bytes, see `Memory`."""
        busy = self._taken | self._lent
        for position, number in enumerate(self._numbers):
            # Held here: by what the user's function keeps between two calls.
            if number in busy or is_held(self._arrays, position):
                continue
            if nbytes <= len(self._arrays[position]) <= 2 * nbytes + mmap.PAGESIZE:
                self._taken.add(number)
                return self._arrays[position]
        return self._make(nbytes)

    def _make(self, nbytes: int) -> Bytes:
        self._trim(self._limit - 1)
        size = max(1, -(-nbytes // mmap.PAGESIZE)) * mmap.PAGESIZE
        check_memory(size, "a batch in shared memory")
        descriptor = unnamed_file()
        try:
            os.ftruncate(descriptor, size)
            array = _mapped(descriptor, size)
        except BaseException:
            os.close(descriptor)
            raise
        number, self._made = self._made, self._made + 1
        self._numbers.append(number)
        self._arrays.append(array)
        self._new[number] = descriptor
        self._taken.add(number)
        return array

    def _trim(self, most: int) -> None:
        """Give up free segments, the youngest first, until `most` are left."""
        busy = self._taken | self._lent
        for position in reversed(range(len(self._numbers))):
            if len(self._numbers) <= max(0, most):
                return
            number = self._numbers[position]
            if number not in busy and not is_held(self._arrays, position):
                del self._numbers[position], self._arrays[position]
                self._dropped.append(number)

    def find(self, address: int, nbytes: int) -> Place | None:
        """Return where bytes in memory lie, if in a segment that is taken for the next message."""
        for position, number in enumerate(self._numbers):
            start = address - self._arrays[position].__array_interface__["data"][0]
            if number in self._taken and 0 <= start <= len(self._arrays[position]) - nbytes:
                return Place(number, start, start + nbytes)
        return None

    def lend(self, places: list[Place]) -> tuple[list[NewSegment], list[int], list[int]]:
        """Return what goes with a message: new segments, their descriptors, and those given up.

        What was taken and is not in the message is free again. The descriptors are the caller's
        to close.
        """
        used = {place.segment for place in places}
        self._lent |= used
        self._taken.clear()
        self._trim(self._limit)
        if not self._new and not self._dropped:
            return [], [], []
        sizes = dict(zip(self._numbers, map(len, self._arrays), strict=True))
        new = {number: fd for number, fd in self._new.items() if number in used}
        for number in new:
            del self._new[number]
        dropped = [number for number in self._dropped if number not in self._new]
        for number in self._dropped:  # never sent: nobody else knows it
            if number in self._new:
                os.close(self._new.pop(number))
        self._dropped = []
        return [NewSegment(n, sizes[n]) for n in new], list(new.values()), dropped

    def release(self, numbers: list[int]) -> None:
        """Note that the other side holds these no longer; they are taken first, being in cache."""
        self._lent.difference_update(numbers)
        for number in numbers:
            position = self._numbers.index(number)
            self._numbers.insert(0, self._numbers.pop(position))
            self._arrays.insert(0, self._arrays.pop(position))

    def close(self) -> None:
        """Close the descriptors that were not sent."""
        for descriptor in self._new.values():
            os.close(descriptor)
        self._new.clear()
