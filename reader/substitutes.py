"""Other samples in the place of damaged ones, drawn from seed, epoch and place alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import DamagedStoreError
from .randomness import SUBSTITUTE, philox
from .sources import Source

#: How many other samples are tried in place of a damaged one.
_TRIES = 32


class Substitute(NamedTuple):
    """A damaged sample that another took the place of: their rows, and what was wrong."""

    row: int
    by: int
    fault: str


def read_what_is_whole(
    source: Source,
    positions: NDArray[np.int64],
    out: Mapping[str, NDArray[Any]],
    corners: NDArray[np.int64] | None,
    key: tuple[int, int, int],
) -> tuple[NDArray[np.int64], list[Substitute]]:
    """Read samples one by one, and others of the source in place of the damaged ones.

    Parameters
    ----------
    source, positions, out, corners
        As of `Source.read_into`.
    key
        Seed, epoch, and where the samples begin in the epoch's order.

    Returns
    -------
    positions
        What was read, shape (n,).
    substitutes
        One for each damaged sample.

    Raises
    ------
    DamagedStoreError
        Where the others that were tried are damaged too.
    """
    seed, epoch, start = key
    taken = positions.copy()
    substitutes = []
    for number in range(len(taken)):
        one = slice(number, number + 1)
        parts = {name: array[one] for name, array in out.items()}
        corner = None if corners is None else corners[one]
        fault = _fault(source, taken[one], parts, corner)
        if fault is None:
            continue
        drawn = philox(seed, epoch, SUBSTITUTE, start + number).random_raw(_TRIES)
        for other in (np.asarray(drawn, np.uint64) % np.uint64(len(source))).tolist():
            taken[number] = other
            if _fault(source, taken[one], parts, corner) is None:
                break
        else:
            raise fault
        row, by = source.rows(np.array([positions[number], taken[number]])).tolist()
        substitutes.append(Substitute(row, by, str(fault)))
    return taken, substitutes


def _fault(
    source: Source,
    positions: NDArray[np.int64],
    out: Mapping[str, NDArray[Any]],
    corners: NDArray[np.int64] | None,
) -> DamagedStoreError | None:
    try:
        source.read_into(positions, out, corners)
    except DamagedStoreError as error:
        return error
    return None
