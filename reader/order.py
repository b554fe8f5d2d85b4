"""The order of an epoch: a permutation that depends on seed and epoch, and on nothing else."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Seeds and epochs fill one 64-bit word of the generator's key each.
MOST = 2**64 - 1


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
    stream = np.random.Philox(key=np.array([seed, epoch], np.uint64))
    numbers = np.asarray(stream.random_raw(length), np.uint64)
    return np.argsort(numbers, kind="stable").astype(np.int64, copy=False)
