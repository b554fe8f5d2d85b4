"""Random numbers that are the same with every version of NumPy: one generator, a stream per use."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Seeds and epochs fill one 64-bit word of the generator's key each.
MOST = 2**64 - 1

#: One stream per use, so that no two uses draw the same numbers.
ORDER, TRANSFORM, BATCH, DRAW, BLOCK, CROP, SUBSTITUTE, POOL = range(8)


def philox(seed: int, epoch: int, stream: int, *words: int) -> np.random.Philox:
    """Return the generator Philox-4x64 with the key (seed, epoch), at the start of a stream.

    Its counter has four 64-bit words. NumPy counts from word 0 up; words 1 and 2 are the caller's
    (a row and an occurrence, a batch's number), word 3 is the stream: 2**66 numbers of each stream
    come before those of another. NumPy promises that what a bit generator puts out by
    `random_raw` never changes (NEP 19), and promises no such thing of `Generator`.

    Parameters
    ----------
    seed, epoch
        Each 0 to 2**64 - 1.
    stream
        What the numbers are for: `ORDER`, `TRANSFORM`, ….
    words
        Up to two more, each 0 to 2**64 - 1, which tell generators of one stream apart.

    Examples
    --------
    >>> philox(0, 0, ORDER).random_raw(), philox(0, 0, DRAW).random_raw()
    (213000021201967259, 5512269402585950393)
    """
    first, second = (*words, 0, 0)[:2]
    if len(words) > 2:
        raise ValueError(f"{len(words)} words tell generators of a stream apart; give at most two")
    return np.random.Philox(
        key=np.array([seed, epoch], np.uint64),
        counter=np.array([0, first, second, stream], np.uint64),
    )


def uniform(raw: NDArray[Any]) -> NDArray[np.float64]:
    """Return numbers from 0 up to, never at, 1 from 64 random bits each: their upper 53.

    Examples
    --------
    >>> uniform(np.array([0, 2**63, 2**64 - 1], np.uint64)).tolist()
    [0.0, 0.5, 0.9999999999999999]
    """
    upper = np.asarray(raw, np.uint64) >> np.uint64(11)
    return upper.astype(np.float64) * 2.0**-53


def hashed(
    seed: int, epoch: int, stream: int, rows: NDArray[np.int64], occurrences: NDArray[np.int64]
) -> NDArray[np.uint64]:
    """Return two random 64-bit numbers per sample, shape (n, 2), without a generator for each.

    The finalizer of SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number
    generators") over row and occurrence, keyed by the first numbers of the stream.
    """
    keys = np.asarray(philox(seed, epoch, stream).random_raw(2), np.uint64)
    mixed = _mixed(rows.astype(np.uint64) + keys[0])
    mixed = _mixed(mixed ^ (occurrences.astype(np.uint64) + keys[1]))
    return np.stack([mixed, _mixed(mixed + keys[0])], axis=1)


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(numbers ^ (numbers >> np.uint64(31)), np.uint64)
