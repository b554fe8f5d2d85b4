"""Puts groups into splits so that the splits get the shares of patches they should have."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .errors import SplitError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def assign(
    counts: Ints,
    fractions: Mapping[str, float],
    keys: Sequence[str],
    seed: int,
    fixed: Ints | None = None,
) -> Ints:
    """Assign each group, whole, to a split.

    Groups are taken from the largest to the smallest, each to the split where it lowers the
    squared error of the shares most, summed over classes: sum of ((assigned - f T) / T)^2, with f
    the split's fraction and T the patches of the class. Ties in size are broken by the seed and
    the group's key, so that the order of the groups does not matter. A split that stays empty gets
    the group whose move costs least. Groups without patches come last, into the largest split.
    With one class and no such move, each share is within the largest group's share of its
    fraction.

    Parameters
    ----------
    counts
        Shape (groups, classes): patches of each group in each class.
    fractions
        Share of each split, in order.
    keys
        Of the groups, unique.
    seed
        For ties.
    fixed
        Shape (groups,): the split of groups that must not move, -1 for the others.

    Returns
    -------
    numpy.ndarray
        int64, shape (groups,): the split of each group.

    Raises
    ------
    SplitError
        When there are fewer groups with patches than splits, or a split stays empty.

    Examples
    --------
    >>> counts = np.array([[10], [90], [10]])
    >>> assign(counts, {"train": 0.8, "val": 0.2}, ["a", "b", "c"], seed=0)
    array([1, 0, 1])
    """
    names = list(fractions)
    chosen = np.full(len(keys), -1, np.int64) if fixed is None else fixed.astype(np.int64)
    sizes = counts.sum(axis=1)
    filled = int(np.count_nonzero(sizes))
    if filled < len(names):
        raise SplitError(
            f"{filled} groups with patches cannot fill {len(names)} splits "
            f"({', '.join(names)}); write fewer splits, or a finer images.group"
        )
    wanted = np.outer(np.fromiter(fractions.values(), np.float64), counts.sum(axis=0))
    weights = _weights(counts)
    is_free = chosen < 0
    order = _order(sizes, keys, seed)
    assigned = np.zeros(wanted.shape, np.int64)
    np.add.at(assigned, chosen[~is_free], counts[~is_free])
    for group in order[is_free[order] & (sizes[order] > 0)]:
        added = counts[group]
        cost = ((2 * (assigned - wanted) + added) * added) @ weights
        split = int(np.argmin(cost))
        chosen[group] = split
        assigned[split] += added
    _fill(chosen, order[is_free[order] & (sizes[order] > 0)], counts, wanted, names)
    totals = np.bincount(chosen[sizes > 0], sizes[sizes > 0], minlength=len(names))
    chosen[chosen < 0] = int(np.argmax(totals))
    return chosen


def _weights(counts: Ints) -> Floats:
    """Return 1 / T^2 of each class, 0 for a class without patches."""
    total = counts.sum(axis=0).astype(np.float64)
    weights: Floats = np.where(total > 0, 1 / np.maximum(total, 1) ** 2, 0.0)
    return weights


def _order(sizes: Ints, keys: Sequence[str], seed: int) -> NDArray[np.intp]:
    """Return the groups from the largest to the smallest, ties by a hash of seed and key."""
    # File names need not be UTF-8; Python keeps such bytes as surrogates.
    texts = (f"{seed}\0{key}".encode(errors="surrogateescape") for key in keys)
    ties = [hashlib.blake2b(text, digest_size=16).digest() for text in texts]
    return np.array(sorted(range(len(keys)), key=lambda n: (-int(sizes[n]), ties[n])), np.intp)


def _fill(
    chosen: Ints, movable: NDArray[np.intp], counts: Ints, wanted: Floats, names: Sequence[str]
) -> None:
    """Move, into each empty split, the group whose move costs least; changes `chosen`."""
    filled = counts.sum(axis=1) > 0
    weights = _weights(counts)
    for split, name in enumerate(names):
        groups = np.bincount(chosen[filled & (chosen >= 0)], minlength=len(names))
        if groups[split]:
            continue
        # A split gives only while another group stays in it.
        givers = movable[groups[chosen[movable]] > 1]
        if not len(givers):
            raise SplitError(
                f'the split "{name}" gets no patches: the groups that could fill it are fixed by '
                "the CSV; write some of them into it, or leave the split out"
            )
        assigned = np.zeros(wanted.shape, np.int64)
        np.add.at(assigned, chosen[chosen >= 0], counts[chosen >= 0])
        excess = assigned - wanted
        moved = counts[givers]
        cost = (moved * (moved + excess[split] - excess[chosen[givers]])) @ weights
        chosen[givers[int(np.argmin(cost))]] = split
