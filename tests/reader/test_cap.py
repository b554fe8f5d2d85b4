"""No batch has more than so many samples of an image, wherever that can be had at all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchmill.reader.cap import capped_order
from patchmill.reader.order import epoch_order
from patchmill.reader.sampling import drawn_order


def batches(values, size):
    return [values[start : start + size] for start in range(0, len(values), size)]


def is_possible(counts, sizes, most):
    """Gale's condition, for every number of batches: its cuts are the largest batches."""
    largest = sorted(sizes, reverse=True)
    return all(
        sum(min(count, most * k) for count in counts) >= sum(largest[:k])
        for k in range(1, len(largest) + 1)
    )


def check(order, images, batch_size, most):
    """Arrange, and check what must hold of the result; return it."""
    before = order.copy()
    capped = capped_order(order, images, batch_size, most)
    np.testing.assert_array_equal(order, before)
    assert capped.dtype == np.int64
    assert sorted(capped.tolist()) == sorted(order.tolist())
    for batch in batches(images[capped], batch_size):
        assert np.unique(batch, return_counts=True)[1].max() <= most
    np.testing.assert_array_equal(capped, capped_order(order, images, batch_size, most))
    return capped


@st.composite
def cases(draw):
    images = draw(st.lists(st.integers(0, draw(st.integers(0, 9))), min_size=1, max_size=60))
    order = draw(st.permutations(range(len(images))))
    return np.array(order), np.array(images), draw(st.integers(1, 12)), draw(st.integers(1, 5))


@settings(max_examples=500)
@given(cases())
def test_it_succeeds_where_and_only_where_it_can(case):
    order, images, batch_size, most = case
    sizes = [len(batch) for batch in batches(order, batch_size)]
    if is_possible(np.bincount(images), sizes, most):
        check(*case)
    else:
        with pytest.raises(ValueError, match="allow more of an image per batch"):
            capped_order(*case)


@st.composite
def tight_cases(draw):
    """Orders that were dealt out to batches, so that many images just fit."""
    batch_size, most = draw(st.integers(1, 10)), draw(st.integers(1, 4))
    numbers = draw(st.integers(1, 8))
    labels = []
    for _ in range(numbers):
        images = draw(st.permutations([*range(12)] * most))
        labels += images[:batch_size]
    rest = draw(st.integers(0, batch_size - 1))
    labels += draw(st.permutations([*range(12)] * most))[:rest]
    order = draw(st.permutations(range(len(labels))))
    return np.array(order), np.array(labels), batch_size, most


@settings(max_examples=300)
@given(tight_cases())
def test_near_tight_cases_are_solved(case):
    check(*case)


@pytest.mark.parametrize(
    ("images", "batch_size", "most"),
    [
        ([*range(16)] * 50, 16, 1),  # every batch has each image once
        ([*range(4)] * 200, 16, 4),
        ([0] * 100 + [*range(1, 301)], 4, 1),  # one image is in every batch
        ([0] * 101 + [*range(1, 301)], 4, 1),  # in the smaller last one, too
        (sorted([*range(17)] * 40), 16, 1),
    ],
)
def test_hard_cases(images, batch_size, most):
    images = np.array(images)
    for seed in range(5):
        check(epoch_order(len(images), seed, 0), images, batch_size, most)
    check(np.arange(len(images)), images, batch_size, most)
    check(np.arange(len(images))[::-1].copy(), images, batch_size, most)


def test_an_order_that_keeps_the_cap_is_not_touched():
    images = np.arange(1000) // 50
    order = np.arange(1000).reshape(20, 50).T.ravel()  # image after image
    np.testing.assert_array_equal(check(order, images, 20, 1), order)
    for most in (8, 9):
        np.testing.assert_array_equal(capped_order(order, images, 8, most), order)


def test_a_loose_cap_moves_few_samples():
    images = np.arange(20_000) // 100
    order = epoch_order(20_000, 0, 0)
    capped = check(order, images, 50, 3)
    before, after = np.empty(20_000, int), np.empty(20_000, int)
    before[order] = after[capped] = np.arange(20_000) // 50
    crowded = sum(
        (np.unique(batch, return_counts=True)[1] - 3).clip(0).sum()
        for batch in batches(images[order], 50)
    )
    assert 0 < crowded < 20
    assert np.count_nonzero(before != after) <= 3 * crowded
    assert np.abs(before - after).max() <= 3


def test_a_batch_is_as_random_as_before():
    """An image with few samples is as likely in the first batch as in any."""
    images = np.repeat([0, 1], [40, 60])
    firsts = np.zeros(10)
    for seed in range(300):
        capped = capped_order(epoch_order(100, seed, 0), images, 10, 7)
        firsts += np.bincount(np.flatnonzero(images[capped] == 0) // 10, minlength=10)
    np.testing.assert_allclose(firsts / 300, 4, atol=0.5)


def test_repeats_of_a_draw_keep_the_cap():
    images = np.arange(300) // 30
    order = drawn_order(np.linspace(0, 1, 300), 1000, seed=0, epoch=0)
    check(order, images, 32, 8)


def test_what_cannot_be_is_an_error_with_the_numbers():
    images = np.repeat([7, 8, 9], [41, 30, 29])
    with pytest.raises(ValueError, match=r"image 7 has 41 samples, and 10 batches .* room for 40"):
        capped_order(np.arange(100), images, 10, 4)
    with pytest.raises(ValueError, match=r"9 batches of 11 and one of 1 with .* room for 28"):
        capped_order(np.arange(100), images, 11, 3)
    # Each fits by itself, but there is one place in the last batch for what is over.
    over = np.repeat([1, 2, 3], [3, 3, 1])
    with pytest.raises(ValueError, match=r"2 images .* image 1 has 3: 2 samples .* which has 1"):
        capped_order(np.arange(7), over, 3, 1)
    for batch_size, most in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="give at least 1"):
            capped_order(np.arange(7), over, batch_size, most)


def test_nothing_to_arrange():
    assert capped_order(np.arange(0), np.arange(0), 4, 1).tolist() == []
