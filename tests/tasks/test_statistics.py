"""Moments of patches: integers exactly, floats as NumPy's float64."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from patchmill.tasks.statistics import BLOCK_PIXELS, channel_moments, is_exact, moments_dtype

EXACT = ("uint8", "uint16", "int8", "int16")


def moments(pixels):
    out = np.ones(len(pixels), moments_dtype(pixels.dtype))  # what was there is overwritten
    channel_moments(pixels, out)
    return out


def assert_exact(pixels):
    for channel, record in zip(pixels, moments(pixels), strict=True):
        values = [int(value) for value in channel.ravel().tolist()]
        assert record["count"] == len(values)
        assert int(record["sum"]) == sum(values)
        assert int(record["spread"]) == sum(value * value for value in values)
        assert record["min"] == min(values)
        assert record["max"] == max(values)


SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, max_side=6)


@given(st.sampled_from(EXACT).flatmap(lambda dtype: hnp.arrays(dtype, SHAPES)))
def test_small_integers_are_exact(pixels):
    assert_exact(pixels)


@pytest.mark.parametrize("dtype", EXACT)
@pytest.mark.parametrize("value", ["min", "max"])
@pytest.mark.parametrize("side", [256, 700])
def test_all_saturated(dtype, value, side):
    """The largest sum of squares that a block can have; 700 px are several blocks and a rest."""
    limit = getattr(np.iinfo(dtype), value)
    (record,) = moments(np.full((1, side, side), limit, dtype))
    n = side * side
    assert record["count"] == n
    assert int(record["sum"]) == n * limit
    assert int(record["spread"]) == n * limit * limit
    assert record["min"] == record["max"] == limit


@pytest.mark.parametrize("dtype", EXACT)
@pytest.mark.parametrize(
    "shape",
    [(2, 1, BLOCK_PIXELS), (1, 1, BLOCK_PIXELS + 1), (3, 1, BLOCK_PIXELS - 1), (2, 999, 501)],
)
def test_large_patches_are_exact(rng, dtype, shape):
    limits = np.iinfo(dtype)
    assert_exact(rng.integers(limits.min, limits.max, shape, dtype, endpoint=True))


def test_a_patch_of_many_megapixels_does_not_overflow():
    side = 5000
    (record,) = moments(np.full((1, side, side), 65535, "uint16"))
    assert int(record["spread"]) == side * side * 65535**2


def assert_close(pixels):
    for channel, record in zip(pixels, moments(pixels), strict=True):
        values = channel.astype(np.float64).ravel()
        values = values[~np.isnan(values)]
        assert record["count"] == values.size
        np.testing.assert_allclose(record["sum"], math.fsum(values), rtol=1e-9, atol=1e-300)
        deviations = math.fsum((values - math.fsum(values) / values.size) ** 2)
        np.testing.assert_allclose(record["spread"], deviations, rtol=1e-9, atol=1e-300)
        assert record["min"] == values.min()
        assert record["max"] == values.max()


@pytest.mark.parametrize("dtype", ["uint32", "int32", "float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(3, 17, 23), (2, 400, 500)])
@pytest.mark.parametrize("offset", [0, 1000])
def test_others_are_sums_in_float64(rng, dtype, shape, offset):
    assert_close((rng.uniform(1, 500, shape) + offset).astype(dtype))


def test_large_integers_of_small_spread(rng):
    """Sums of squares would cancel: 4e9 squared has no digits left for a spread of 10."""
    assert_close((4_294_000_000 + rng.integers(0, 10, (2, 400, 500))).astype("uint32"))
    assert_close((-2_000_000_000 + rng.integers(0, 10, (2, 400, 500))).astype("int32"))


def test_nan_is_no_pixel(rng):
    pixels = rng.normal(100, 5, (2, 400, 500)).astype("float32")
    pixels[0, ::3] = np.nan
    assert_close(pixels)
    assert np.isnan(pixels[0, 0]).all()  # the patch itself keeps them


def test_nothing_but_nan():
    (record,) = moments(np.full((1, 8, 8), np.nan, "float32"))
    assert record.tolist() == (0, 0.0, 0.0, 0.0, 0.0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinity_is_a_pixel_and_no_warning(value):
    pixels = np.ones((1, 8, 8), "float32")
    pixels[0, 3, 3] = value
    (record,) = moments(pixels)
    assert record["count"] == 64
    assert record["sum"] == value
    assert np.isnan(record["spread"]) or record["spread"] == np.inf
    assert (record["min"], record["max"]) == ((1, np.inf) if value > 0 else (-np.inf, 1))


def test_a_part_of_a_patch_is_not_copied_over(rng):
    """What `cut` hands in is a view without the padding, not contiguous."""
    pixels = rng.integers(0, 99, (2, 16, 16)).astype("uint16")
    np.testing.assert_array_equal(moments(pixels[:, :7, :5]), moments(pixels[:, :7, :5].copy()))


def test_the_same_bytes_every_time(rng):
    pixels = rng.normal(100, 5, (3, 500, 500)).astype("float32")
    assert len({moments(pixels).tobytes() for _ in range(5)}) == 1


@pytest.mark.parametrize("dtype", [*EXACT, "uint32", "float32", ">u2"])
def test_records_are_little_endian_of_fixed_width(dtype):
    record = moments_dtype(np.dtype(dtype))
    assert record.itemsize == 3 * 8 + 2 * np.dtype(dtype).itemsize
    assert all(record[name].byteorder in "<|=" for name in record.names)
    assert record["sum"].kind == ("i" if is_exact(np.dtype(dtype)) else "f")
