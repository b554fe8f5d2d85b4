"""Draws with replacement: by weight, or with the same share for each class of a column."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .randomness import DRAW, philox, uniform


def drawn_order(weights: NDArray[Any], samples: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Draw positions with replacement, each with a probability proportional to its weight.

    A function of its arguments alone: the weights are summed from the first to the last, and each
    draw takes the position in whose share of the sum a random number of `philox` falls. A position
    of weight 0 is never drawn.

    Parameters
    ----------
    weights
        Shape (n,), one per position, finite and at least 0; not all 0.
    samples
        Number of draws.
    seed, epoch
        Each 0 to 2**64 - 1.

    Returns
    -------
    positions
        int64, shape (samples,), each from 0 to n - 1.

    Raises
    ------
    ValueError
        For weights that are no such numbers, or fewer than 0 draws.

    Examples
    --------
    >>> drawn_order(np.array([1, 0, 3]), 8, seed=0, epoch=0).tolist()
    [2, 2, 2, 2, 2, 2, 2, 2]
    """
    if samples < 0:
        raise ValueError(
            f"{samples} samples per epoch cannot be drawn; give a number of at least 0"
        )
    sums = np.cumsum(check_weights(weights))
    numbers = uniform(np.asarray(philox(seed, epoch, DRAW).random_raw(samples), np.uint64))
    # Ascending numbers walk through the sums once, which is several times as fast.
    ascending = np.argsort(numbers, kind="stable")
    drawn = np.empty(samples, np.int64)
    drawn[ascending] = np.searchsorted(sums, numbers[ascending] * sums[-1], side="right")
    # The product of a number just below 1 may be rounded up to the sum itself.
    drawn[:] = np.minimum(drawn, np.searchsorted(sums, sums[-1], side="left"))
    return drawn


def check_weights(weights: Any, length: int | None = None) -> NDArray[np.float64]:
    """Return weights as float64, shape (n,).

    Parameters
    ----------
    weights
        One number per position.
    length
        How many there must be, where that is known.

    Raises
    ------
    ValueError
        Where they are not one finite number of at least 0 per position, or are all 0.
    """
    given = np.asarray(weights)
    if given.ndim != 1 or given.dtype.kind not in "biuf":
        raise ValueError(
            f"weights are {given.dtype} of shape {given.shape}; give one number per sample"
        )
    if length is not None and len(given) != length:
        raise ValueError(f"there are {len(given)} weights for {length} samples; give one for each")
    numbers = given.astype(np.float64)
    bad = np.flatnonzero(~(np.isfinite(numbers) & (numbers >= 0)))
    if bad.size:
        raise ValueError(
            f"the weight of sample {bad[0]} is {numbers[bad[0]]}; give finite numbers of at least 0"
        )
    total = numbers.sum()
    if not 0 < total < np.inf:
        raise ValueError(
            f"the weights of {len(numbers)} samples sum to {total}; give a finite sum above 0"
        )
    return numbers


def balanced_weights(classes: NDArray[Any]) -> NDArray[np.float64]:
    """Return weights under which each class has the same expected share of the draws.

    Parameters
    ----------
    classes
        Shape (n,): the class of each position, any numbers or texts, see `View.classes`.

    Examples
    --------
    >>> balanced_weights(np.array([7, 7, 7, 9])).round(3).tolist()
    [0.333, 0.333, 0.333, 1.0]
    """
    _, codes, counts = np.unique(classes, return_inverse=True, return_counts=True)
    return (1.0 / counts)[codes.reshape(-1)]


def occurrences(order: NDArray[Any]) -> NDArray[np.int64]:
    """Return for each entry of an order how many entries before it are the same position.

    Examples
    --------
    >>> occurrences(np.array([5, 2, 5, 5, 2])).tolist()
    [0, 0, 1, 2, 1]
    """
    order = np.asarray(order)
    places = np.argsort(order, kind="stable")
    ascending = order[places]
    is_first = np.ones(len(order), bool)
    is_first[1:] = ascending[1:] != ascending[:-1]
    here = np.arange(len(order))
    counted = np.empty(len(order), np.int64)
    counted[places] = here - np.maximum.accumulate(np.where(is_first, here, 0))
    return counted


def distinct(order: NDArray[Any]) -> int:
    """Return how many different positions an order has; all others are repeats.

    Examples
    --------
    >>> distinct(np.array([5, 2, 5, 5, 2]))
    2
    """
    return int(np.count_nonzero(np.bincount(np.asarray(order))))
