"""The order of rows: a permutation that keeps a shard's patches together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchmill.workflows.order import compact_order

NUMBERS = st.integers(1, 200)
PAIRS = st.tuples(NUMBERS, NUMBERS)


@given(
    st.lists(st.tuples(st.integers(0, 199), st.integers(0, 199)), max_size=60, unique=True),
    PAIRS,
    PAIRS,
    PAIRS,
    st.integers(1, 100),
)
def test_a_permutation(corners, shape, segment, stride, rows_per_shard):
    y, x = np.array(corners, np.int64).reshape(-1, 2).T
    order = compact_order(np.zeros_like(y), y, x, shape, (1, *segment), stride, rows_per_shard)
    assert sorted(order.tolist()) == list(range(len(corners)))


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), max_size=60, unique=True))
def test_the_order_of_what_comes_in_does_not_matter(corners):
    def ordered(corners):
        y, x = np.array(corners, np.int64).reshape(-1, 2).T
        order = compact_order(np.zeros_like(y), y, x, (100, 100), (1, 16, 16), (8, 8), 7)
        return np.stack([y, x])[:, order].tolist()

    assert ordered(corners) == ordered(corners[::-1])


@pytest.mark.parametrize(("segment", "rows_per_shard"), [((5, 100), 4), ((16, 16), 144)])
def test_strips_and_small_images_are_in_reading_order(segment, rows_per_shard):
    y, x = np.divmod(np.arange(144), 12)
    segment, z = (1, *segment), np.zeros_like(y)
    order = compact_order(z, y * 8, x * 8, (100, 100), segment, (8, 8), rows_per_shard)
    assert order.tolist() == list(range(144))


def test_a_shard_is_a_compact_window():
    """64 patches of 8 px in a shard: an ideal window is 64 px wide and high."""
    side = 64
    y, x = (n.reshape(-1) * 8 for n in np.mgrid[:side, :side])
    order = compact_order(y * 0, y, x, (side * 8, side * 8), (1, 16, 16), (8, 8), 64)
    for shard in order.reshape(-1, 64):
        height, width = (np.ptp(n[shard]) + 8 for n in (y, x))
        assert height <= 2 * 64
        assert width <= 2 * 64
        assert height * width <= 2 * 64 * 64


@pytest.mark.parametrize("together", [1, 4])
def test_planes_that_are_decoded_together_stay_together(together):
    """Reading plane after plane would decode each chunk of four planes four times."""
    z, y, x = (n.reshape(-1) for n in np.mgrid[:8, :16, :16])
    order = compact_order(z, y * 8, x * 8, (128, 128), (together, 16, 16), (8, 8), 64)
    assert sorted(order.tolist()) == list(range(z.size))
    block = (z // together)[order]
    assert (np.diff(block) >= 0).all()
    for shard in order.reshape(-1, 64):
        assert np.ptp(z[shard]) < together
