"""Numbers that callers give, checked with one sentence for what does not fit."""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from typing import SupportsIndex


def whole_number(
    name: str, value: SupportsIndex, *, least: int = 0, most: int | None = None
) -> int:
    """Return a whole number of at least `least`, and at most `most`; else a ValueError."""
    limits = f"of at least {least}" if most is None else f"from {least} to {most}"
    try:
        number = least - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or (most is not None and number > most):
        raise ValueError(f"{name} is {value!r}; give a whole number {limits}")
    return number


def one_of(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise a ValueError for a value that is none of the choices."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; give one of {', '.join(map(repr, choices))}")


def count_workers(value: SupportsIndex) -> int:
    """Return a number of workers; -1 is one for each core but one, -2 for each but two, ….

    Cores are those that this process may use, which a batch system may have limited.
    """
    number = whole_number("num_workers", value, least=-1024)
    if number >= 0:
        return number
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (cores or 1) + number)
