"""The generator's streams: the same for good, and no two alike."""

import numpy as np
import pytest

from patchmill.reader import randomness
from patchmill.reader.randomness import CROP, MOST, ORDER, TRANSFORM, philox, uniform


def test_never_changes():
    """What is drawn today is drawn by every later version."""
    assert philox(0, 0, ORDER).random_raw(2).tolist() == [
        213000021201967259,
        4455796210202625458,
    ]
    assert philox(3, 5, CROP, 7, 1).random_raw() == 4733339264017916625
    # The stream of an order is NumPy's own, from its beginning.
    plain = np.random.Philox(key=np.array([3, 5], np.uint64))
    np.testing.assert_array_equal(philox(3, 5, ORDER).random_raw(9), plain.random_raw(9))


def test_streams_words_seeds_and_epochs_differ():
    calls = [(seed, epoch, stream) for seed in (0, 1) for epoch in (0, MOST) for stream in range(8)]
    calls += [(0, 0, TRANSFORM, row, again) for row in (1, MOST) for again in (0, 1)]
    found = [philox(*call).random_raw(50).tolist() for call in calls]
    assert len({number for numbers in found for number in numbers}) == 50 * len(calls)


def test_streams_have_numbers_of_their_own():
    names = ("ORDER", "TRANSFORM", "BATCH", "DRAW", "BLOCK", "CROP", "SUBSTITUTE", "POOL")
    assert [getattr(randomness, name) for name in names] == list(range(8))


def test_more_words_than_there_are_is_an_error():
    with pytest.raises(ValueError, match="3 words"):
        philox(0, 0, TRANSFORM, 1, 2, 3)


def test_uniform_is_what_numpy_makes_of_them():
    """`Generator.random` of today makes the same numbers; only we promise to keep to it."""
    raw = philox(1, 2, ORDER).random_raw(1000)
    np.testing.assert_array_equal(
        uniform(raw), np.random.Generator(philox(1, 2, ORDER)).random(1000)
    )
    assert uniform(np.array([0, MOST], np.uint64)).tolist() == [0, 1 - 2**-53]
