"""Sketches against NumPy of all pixels at once; merged in any order they are the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from patchmill.tasks.sketch import Sketch, merge, sketch

#: Width of the bins around 0.
SUBNORMAL = 2.0**-126 * 2.0**-12
PERCENTS = [0, 0.1, 1, 12.34, 25, 50, 75, 99, 99.9, 100]

whole = arrays(
    np.int32,
    st.integers(1, 300),
    elements=st.one_of(st.integers(-32768, 65535), st.integers(0, 5)),
)
floats = arrays(
    np.float32,
    st.integers(1, 300),
    elements=st.floats(-(2.0**40), 2.0**40, width=32) | st.floats(0, 1, width=32),
)


def same(one: Sketch, other: Sketch) -> bool:
    is_alike = (one.is_whole, one.low, one.high) == (other.is_whole, other.low, other.high)
    return is_alike and np.array_equal(one.bins, other.bins)


@given(whole)
def test_whole_numbers_are_exact(values):
    found = sketch(values.astype(np.float32), is_whole=True)
    wide = values.astype(np.float64)
    assert (found.count, found.low, found.high) == (wide.size, wide.min(), wide.max())
    assert found.percentiles(PERCENTS).tolist() == np.percentile(wide, PERCENTS).tolist()
    np.testing.assert_allclose(found.mean, wide.mean(), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.std, wide.std(), rtol=1e-12, atol=1e-9)
    assert np.repeat(found.values, found.counts).tolist() == np.sort(wide).tolist()


@given(floats)
def test_floats_have_exact_moments_and_narrow_bins(values):
    found = sketch(values)
    wide = values.astype(np.float64)
    assert (found.count, found.low, found.high) == (wide.size, wide.min(), wide.max())
    scale = np.abs(wide).max()
    np.testing.assert_allclose(found.mean, wide.mean(), rtol=1e-12, atol=1e-14 * scale)
    np.testing.assert_allclose(found.std, wide.std(), rtol=1e-9, atol=1e-9 * scale)
    # Each order statistic is less than a bin away, so a percentile is as near as its neighbours.
    ordered = np.sort(wide)
    # Below the smallest normal number bins are as wide as there.
    np.testing.assert_allclose(
        np.repeat(found.values, found.counts), ordered, rtol=2.0**-12, atol=SUBNORMAL
    )
    for percent, value in zip(PERCENTS, found.percentiles(PERCENTS), strict=True):
        at = (wide.size - 1) * percent / 100
        around = ordered[int(np.floor(at))], ordered[min(int(np.floor(at)) + 1, wide.size - 1)]
        near = 2.0**-12 * max(map(abs, around)) + SUBNORMAL
        assert abs(value - np.percentile(wide, percent)) <= near
    assert found.percentiles([0, 100]).tolist() == [wide.min(), wide.max()]


@settings(max_examples=50)
@given(st.lists(floats, min_size=1, max_size=6), st.randoms(), st.booleans())
def test_merged_in_any_order(parts, random, is_whole):
    if is_whole:
        parts = [np.floor(np.abs(part) % 65536).astype(np.float32) for part in parts]
    together = sketch(np.concatenate(parts), is_whole)
    sketches = [sketch(part, is_whole) for part in parts]
    random.shuffle(sketches)
    assert same(merge(sketches), together)
    # By pairs too, with one that has no pixel.
    left = sketch(np.zeros(0, np.float32), is_whole)
    for each in sketches:
        left = merge([each, left])
    assert same(left, together)


def test_what_is_no_number_is_no_pixel():
    found = sketch(np.array([[np.nan, 1], [np.inf, 3]], np.float32))
    assert (found.count, found.mean, found.std) == (2, 2.0, 1.0)
    nothing = sketch(np.full(3, np.nan, np.float32))
    assert nothing.count == 0
    assert np.isnan([nothing.mean, nothing.std, *nothing.percentiles([0, 50])]).all()


@pytest.mark.parametrize("value", [0.1, -0.0, -1e-40, 3e38, 40000.3])
def test_a_constant_has_no_deviation_at_all(value):
    found = sketch(np.full(1000, value, np.float32))
    assert found.std == 0
    assert found.percentiles([0.1, 99.9]).tolist() == [np.float32(value)] * 2


def test_a_small_deviation_on_a_large_offset():
    values = np.random.default_rng(0).normal(1e5, 0.5, 50_000).astype(np.float32)
    np.testing.assert_allclose(sketch(values).std, values.astype(np.float64).std(), rtol=1e-9)


def test_sketches_of_two_kinds_do_not_merge():
    ones = np.ones(3, np.float32)
    with pytest.raises(ValueError, match="of one kind"):
        merge([sketch(ones, is_whole=True), sketch(ones)])
