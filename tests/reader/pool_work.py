"""What the workers of pools run in the tests; a module that they can import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

#: How many `Heavy` were unpickled in this process.
LOADED = 0


def square(number):
    return number * number


def same(item):
    return item


def draw(item, rng):
    return item, rng.integers(1 << 40, size=3).tolist()


def which_process(item):
    return os.getpid()


def square_here(number):
    return number * number, os.getpid()


def no_seven(number):
    if number == 7:
        raise ValueError("no seven here")
    return number


def killed_by_seven(number):
    if number == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def exits(item):
    raise SystemExit(3)


def stops(item):
    raise StopIteration(item)


def returns_lambda(number):
    return (lambda: None) if number == 3 else number


def forever(item):
    time.sleep(1000)


def doubled(arrays):
    return {name: array + array for name, array in arrays.items()}


def zeros(shape):
    return np.zeros(shape)


class Heavy:
    """A function whose copies in a process are counted."""

    def __init__(self) -> None:
        self.table = np.zeros(100_000)

    def __setstate__(self, state):
        global LOADED
        LOADED += 1
        self.__dict__ = state

    def __call__(self, item):
        return os.getpid(), LOADED


class Relay:
    """Item 0 is done after item 1, whoever does them."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __call__(self, number):
        if number == 1:
            self.mark.touch()
        while number == 0 and not self.mark.exists():
            time.sleep(0.001)
        return number


class Unloadable:
    """Can be pickled, and not unpickled."""

    def __reduce__(self):
        return int, ("this is no number",)


def unloadable(number):
    return Unloadable() if number == 3 else number
