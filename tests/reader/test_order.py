"""The order of an epoch is a permutation, fixed by seed and epoch for good."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchmill.reader.order import MOST, block_order, epoch_order, shuffle_quality

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


@st.composite
def shards(draw):
    sizes = draw(st.lists(st.integers(1, 9), max_size=30))
    return np.cumsum([0, *sizes])[:-1].astype(np.int64), sum(sizes)


@given(shards(), st.integers(1, 60), words, words)
def test_block_order_reads_each_shard_in_one_window(layout, window, seed, epoch):
    starts, length = layout
    order = block_order(starts, length, window, seed, epoch)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(length))
    np.testing.assert_array_equal(order, block_order(starts, length, window, seed, epoch))
    # It can be cut into windows of whole shards: of enough samples (but the last), and of no shard
    # more than is needed, so that without the largest of them they are too few.
    shard = np.searchsorted(starts, order, side="right") - 1
    sizes = np.bincount(shard, minlength=len(starts))
    ends = [p for p in range(1, length + 1) if not set(shard[:p]) & set(shard[p:])]
    reached = {0}
    for stop in ends:
        for start in sorted(reached):
            samples = stop - start
            enough = samples >= window or stop == length
            if enough and samples - max(sizes[shard[start:stop]]) < window:
                reached.add(stop)
                break
    assert length in reached


def test_block_order_with_a_window_of_all_is_a_full_shuffle():
    firsts = [block_order(np.array([0, 6]), 10, 10, 0, epoch)[0] for epoch in range(2000)]
    counts = np.bincount(firsts, minlength=10)
    assert counts.min() > 140  # 200 expected, standard deviation 13
    assert counts.max() < 260


def test_block_order_shuffles_shards_and_samples_anew_each_epoch():
    starts = np.arange(0, 1000, 10)
    one, two = (block_order(starts, 1000, 10, 0, epoch) for epoch in (0, 1))
    assert (one[::10] // 10 != two[::10] // 10).mean() > 0.9
    assert (np.diff(one) == 1).mean() < 0.3
    other = block_order(starts, 1000, 10, 1, 0)
    assert (one != other).mean() > 0.9


def test_block_order_never_changes():
    order = block_order(np.array([0, 4, 8]), 12, window=6, seed=3, epoch=5)
    assert order.tolist() == [2, 4, 5, 1, 3, 6, 7, 0, 11, 10, 9, 8]


@pytest.mark.parametrize(
    ("starts", "window", "match"),
    [
        ([1, 4], 5, "ascending positions from 0"),
        ([0, 4, 4], 5, "ascending positions from 0"),
        ([0, 12], 5, "ascending positions from 0"),
        ([0, 4], 0, "window is 0"),
    ],
)
def test_block_order_refuses_what_is_no_layout(starts, window, match):
    with pytest.raises(ValueError, match=match):
        block_order(np.array(starts), 12, window, 0, 0)


def test_shuffle_quality():
    assert shuffle_quality(np.arange(2999)) == 0.001
    assert shuffle_quality(np.arange(2999)[::-1]) == 0.001
    assert 0.95 < shuffle_quality(epoch_order(10_000, 0, 0)) <= 1
    starts = np.arange(0, 10_000, 100)
    blocks = {k: shuffle_quality(block_order(starts, 10_000, k * 100, 0, 0)) for k in (1, 4, 10)}
    for shards_per_window, found in blocks.items():
        assert abs(found - (1 - 1 / shards_per_window)) < 0.05
    assert shuffle_quality(np.tile([0, 9], 5)) == 1  # further than at random is not better
    assert shuffle_quality(np.array([], np.int64)) == shuffle_quality(np.array([3])) == 1
    drawn = np.random.default_rng(0).integers(0, 1000, 200)
    assert 0.8 < shuffle_quality(drawn, length=1000) <= 1
