"""The order of an epoch: a permutation that depends on seed and epoch, and on nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .randomness import BLOCK, MOST, ORDER, philox

__all__ = ["MOST", "block_order", "epoch_order", "shuffle_quality"]


def epoch_order(length: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the positions 0 to length - 1 in the shuffled order of an epoch.

    The positions are sorted by random 64-bit numbers, those of Philox-4x64 with the key
    (seed, epoch). NumPy promises that the stream of a bit generator never changes (NEP 19), and
    promises no such thing of `Generator.permutation`: so this order is the same for all versions
    of NumPy, all machines and all numbers of workers. Equal numbers keep their positions' order.

    Parameters
    ----------
    length
        Number of samples.
    seed, epoch
        Each 0 to 2**64 - 1.

    Examples
    --------
    >>> epoch_order(8, seed=0, epoch=0).tolist()
    [0, 2, 1, 5, 4, 3, 6, 7]
    >>> epoch_order(8, seed=0, epoch=1).tolist() == epoch_order(8, seed=0, epoch=0).tolist()
    False
    """
    return _shuffled(length, philox(seed, epoch, ORDER))


def block_order(
    starts: NDArray[np.int64], length: int, window: int, seed: int, epoch: int
) -> NDArray[np.int64]:
    """Return the positions 0 to length - 1, shuffled so that few shards are read at a time.

    The shards are put in random order, and then the samples are fully shuffled within one window
    after another. A window is as many whole shards as make at least `window` samples (the last is
    what is left), so that each shard is read in one window and never again: for spinning disks,
    NFS and object stores, where a random read is dear and a shard in the page cache is not.

    Parameters
    ----------
    starts
        int64, ascending from 0: the positions at which a shard begins, see `View.block_starts`.
    length
        Number of samples.
    window
        Least number of samples to shuffle among, at least 1.
    seed, epoch
        Each 0 to 2**64 - 1.

    Raises
    ------
    ValueError
        For starts that are not ascending positions from 0, or a window below 1.

    Examples
    --------
    >>> block_order(np.array([0, 4, 8]), 12, window=4, seed=0, epoch=0).tolist()
    [10, 11, 8, 9, 2, 0, 1, 3, 7, 6, 4, 5]
    """
    starts = np.asarray(starts, np.int64)
    edges = np.append(starts, length)
    if edges[0] != 0 or (len(edges) > 2 and not (np.diff(edges) > 0).all()):
        raise ValueError(
            f"shards begin at {starts.tolist()[:8]} of {length} samples; "
            "give ascending positions from 0, each less than the number of samples"
        )
    if window < 1:
        raise ValueError(f"the window is {window}; give at least 1 sample")
    shards = _shuffled(len(starts), philox(seed, epoch, BLOCK, 0))
    sizes = np.diff(edges)[shards]
    stops = np.cumsum(sizes)
    order = np.arange(length, dtype=np.int64)
    order += np.repeat(starts[shards] - (stops - sizes), sizes)
    numbers = np.asarray(philox(seed, epoch, BLOCK, 1).random_raw(length), np.uint64)
    first = 0
    while first < length:
        whole = min(int(np.searchsorted(stops, first + window)), len(stops) - 1)
        part = slice(first, int(stops[whole]))
        order[part] = order[part][np.argsort(numbers[part], kind="stable")]
        first = part.stop
    return order


def shuffle_quality(order: NDArray[Any], length: int | None = None) -> float:
    """Return how far apart successive samples of an order lie, against a full shuffle: 0 to 1.

    It is the mean distance between the positions of neighbours in the order, over that of a full
    shuffle of n samples, (n + 1) / 3, and at most 1. Row order has 3 / (n + 1), which is near 0.

    It says whether neighbours in a batch tend to be neighbours in the store, as patches of one
    image are. It does not say how much of the store one batch sees: in a block order whose windows
    hold k shards it is about 1 - 1/k, since shards are drawn from everywhere, though a whole
    window has those k shards alone. Nor does it compare epochs with each other.

    Parameters
    ----------
    order
        Positions, shape (m,); with fewer than two there is nothing to shuffle, which is 1.
    length
        The number n of positions to choose from, where the order is not a permutation of them.

    Examples
    --------
    >>> shuffle_quality(np.arange(299))
    0.01
    >>> shuffle_quality(epoch_order(299, seed=0, epoch=0)) > 0.9
    True
    """
    order = np.asarray(order, np.int64)
    if len(order) < 2:
        return 1.0
    most = len(order) if length is None else length
    return min(1.0, float(np.abs(np.diff(order)).mean()) * 3 / (most + 1))


def _shuffled(length: int, stream: np.random.Philox) -> NDArray[np.int64]:
    numbers = np.asarray(stream.random_raw(length), np.uint64)
    return np.argsort(numbers, kind="stable").astype(np.int64, copy=False)
