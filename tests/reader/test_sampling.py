"""Draws follow the weights, and are fixed by seed and epoch for good."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchmill.reader.randomness import DRAW, MOST, philox, uniform
from patchmill.reader.sampling import (
    balanced_weights,
    check_weights,
    distinct,
    drawn_order,
    occurrences,
)

words = st.integers(0, MOST)
positive = st.floats(1e-3, 1e3)


@given(st.lists(st.just(0.0) | positive, max_size=40), positive, st.integers(0, 60), words, words)
def test_each_draw_is_where_its_number_falls(some, last, samples, seed, epoch):
    weights = np.array([*some, last, 0.0])
    drawn = drawn_order(weights, samples, seed, epoch)
    assert drawn.dtype == np.int64
    assert drawn.shape == (samples,)
    assert (weights[drawn] > 0).all()
    numbers = uniform(philox(seed, epoch, DRAW).random_raw(samples))
    for position, number in zip(drawn.tolist(), numbers.tolist(), strict=True):
        total = 0.0
        sums = [total := total + weight for weight in weights.tolist()]
        below = sums[position - 1] if position else 0.0
        assert below <= number * total < sums[position] or position == len(some)


def test_shares_follow_the_weights():
    drawn = drawn_order(np.array([1, 0, 3, 4]), 80_000, seed=0, epoch=0)
    counts = np.bincount(drawn, minlength=4)
    assert counts[1] == 0
    np.testing.assert_allclose(counts / 10_000, [1, 0, 3, 4], atol=0.06)  # 6 deviations


def test_never_changes():
    weights = np.array([0.5, 2.0, 0.0, 1.0, 0.25])
    expected = [0, 1, 1, 1, 3, 1, 3, 1, 3, 0, 3, 3]
    assert drawn_order(weights, 12, seed=3, epoch=5).tolist() == expected
    assert drawn_order(weights, 12, seed=3, epoch=6).tolist() != expected
    assert drawn_order(weights, 5, seed=3, epoch=5).tolist() == expected[:5]


def test_a_weight_that_vanishes_in_the_sum_does_no_harm():
    assert set(drawn_order(np.array([1e-300, 1.0, 1e-300]), 1000, 0, 0).tolist()) == {1}


@pytest.mark.parametrize(
    ("weights", "match"),
    [
        ([1, -1], "weight of sample 1 is -1.0"),
        ([1, np.nan], "weight of sample 1 is nan"),
        ([np.inf], "weight of sample 0 is inf"),
        ([1e308, 1e308], "sum to inf"),
        ([0, 0], "sum to 0.0"),
        ([], "weights of 0 samples sum to 0.0"),
        ([[1, 2]], r"of shape \(1, 2\)"),
        (["a"], "give one number per sample"),
        ([1 + 1j], "give one number per sample"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_weights_that_are_none(weights, match):
    with pytest.raises(ValueError, match=match):
        drawn_order(np.array(weights), 3, 0, 0)


def test_the_number_of_weights_and_of_draws_is_checked():
    assert check_weights([True, False, 2], 3).tolist() == [1, 0, 2]
    with pytest.raises(ValueError, match="2 weights for 3 samples"):
        check_weights([1, 2], 3)
    with pytest.raises(ValueError, match="-1 samples"):
        drawn_order(np.ones(3), -1, 0, 0)


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=40))
def test_balance_gives_each_class_the_same_share(classes):
    weights = balanced_weights(np.array(classes, dtype=object))
    for name in set(classes):
        total = sum(w for w, c in zip(weights, classes, strict=True) if c == name)
        np.testing.assert_allclose(total, 1)


@given(st.lists(st.integers(0, 9), max_size=40))
def test_occurrences_and_distinct(order):
    found = occurrences(np.array(order, np.int64))
    assert found.dtype == np.int64
    assert found.tolist() == [order[:place].count(value) for place, value in enumerate(order)]
    assert distinct(np.array(order, np.int64)) == len(set(order))
