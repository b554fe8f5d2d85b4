"""Positions, mirrors and spans along one axis, against brute force and NumPy's `pad`."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchmill.tasks.grid import axis_starts, reflect_index, source_span

LENGTHS = st.integers(1, 60)
SIZES = st.integers(1, 30)


def positions(length, size, stride):
    """From 0 in steps, until one reaches the end or the next begins outside."""
    starts = [0]
    while starts[-1] + size < length and starts[-1] + stride < length:
        starts.append(starts[-1] + stride)
    return starts


@given(LENGTHS, SIZES, st.integers(1, 45))
def test_drop(length, size, stride):
    starts, kept = axis_starts(length, size, stride, "drop")
    assert starts.tolist() == positions(length, size, stride)
    assert kept.tolist() == [start + size <= length for start in starts.tolist()]


@given(LENGTHS, SIZES, st.integers(1, 45))
def test_pad(length, size, stride):
    starts, kept = axis_starts(length, size, stride, "pad")
    assert starts.tolist() == positions(length, size, stride)
    assert kept.all()
    assert (starts < length).all()


@given(LENGTHS, SIZES, st.integers(1, 45))
def test_shift(length, size, stride):
    starts, kept = axis_starts(length, size, stride, "shift")
    if size > length:
        assert starts.tolist() == [0]
        assert not kept.any()
        return
    assert kept.all()
    assert starts.tolist() == [min(s, length - size) for s in positions(length, size, stride)]
    assert len(set(starts.tolist())) == len(starts)


@given(LENGTHS, SIZES, SIZES, st.sampled_from(["pad", "shift"]))
def test_without_gaps_every_pixel_is_covered(length, size, stride, edge):
    stride = min(stride, size)
    starts, kept = axis_starts(length, size, stride, edge)
    if edge == "shift" and size > length:
        return
    covered = {at for start in starts[kept].tolist() for at in range(start, start + size)}
    assert covered >= set(range(length))


@pytest.mark.parametrize("edge", ["drop", "pad", "shift"])
def test_the_types_and_no_aliasing(edge):
    starts, kept = axis_starts(10, 4, 4, edge)
    assert starts.dtype == np.int64
    assert kept.dtype == np.bool_
    starts[:] = kept[:] = 0
    assert axis_starts(10, 4, 4, edge)[0].any()


def test_an_axis_of_two_billion_pixels():
    starts, kept = axis_starts(2**33, 2**20, 2**20 - 1, "drop")
    assert starts[-1] == (2**20 - 1) * (len(starts) - 1)
    assert starts[-1] < 2**33 <= starts[-1] + 2**20
    assert kept[:-1].all()


@given(LENGTHS, SIZES, st.data())
def test_reflection_is_that_of_pad(length, size, data):
    start = data.draw(st.integers(0, length - 1))
    beyond = max(0, start + size - length)
    padded = np.pad(np.arange(length), (0, beyond), mode="reflect" if length > 1 else "edge")
    assert reflect_index(start, size, length).tolist() == padded[start : start + size].tolist()


@given(LENGTHS, SIZES, st.integers(0, 40), st.data())
def test_reflection_before_the_first_pixel_is_that_of_pad(length, size, before, data):
    start = data.draw(st.integers(-before, length - 1))
    beyond = max(0, start + size - length)
    mode = "reflect" if length > 1 else "edge"
    padded = np.pad(np.arange(length), (before, beyond), mode=mode)
    expected = padded[start + before : start + before + size]
    assert reflect_index(start, size, length).tolist() == expected.tolist()


@given(LENGTHS, SIZES, st.booleans(), st.data())
def test_spans_are_the_pixels_that_are_read(length, size, reflect, data):
    # Any window that has at least one pixel of the image.
    some = st.lists(st.integers(1 - size, length - 1), min_size=1, max_size=5)
    starts = np.array(data.draw(some))
    before = starts.copy()
    first, stop = source_span(starts, size, length, reflect)
    assert (starts == before).all()
    for start, low, high in zip(starts.tolist(), first.tolist(), stop.tolist(), strict=True):
        pixels = reflect_index(start, size, length) if reflect else range(start, start + size)
        inside = [at for at in pixels if 0 <= at < length]
        # As narrow as can be: what is read decides which split a patch belongs to.
        assert (low, high) == (min(inside), max(inside) + 1)
