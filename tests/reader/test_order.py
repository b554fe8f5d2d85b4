"""The order of an epoch is a permutation, fixed by seed and epoch for good."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from patchmill.reader.order import MOST, epoch_order

words = st.integers(0, MOST)


@given(st.integers(0, 300), words, words)
def test_is_a_permutation(length, seed, epoch):
    order = epoch_order(length, seed, epoch)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(length))
    np.testing.assert_array_equal(order, epoch_order(length, seed, epoch))


def test_differs_with_seed_and_epoch():
    orders = {tuple(epoch_order(50, *key)) for key in [(0, 0), (0, 1), (1, 0), (1, 1), (2**33, 0)]}
    assert len(orders) == 5


def test_never_changes():
    """A store prepared today is read in this order by every later version."""
    assert epoch_order(12, seed=3, epoch=5).tolist() == [0, 6, 2, 1, 3, 4, 7, 10, 8, 11, 5, 9]


def test_positions_are_evenly_spread():
    firsts = [epoch_order(10, seed=0, epoch=epoch)[0] for epoch in range(2000)]
    counts = np.bincount(firsts, minlength=10)
    assert counts.min() > 140  # 200 expected, standard deviation 13
    assert counts.max() < 260
