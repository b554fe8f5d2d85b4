"""Statistics of many rows against NumPy on all their pixels at once."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchmill.tasks.statistics import channel_moments, moments_dtype
from patchmill.workflows.summary import Merged, row_columns

INTEGERS = ("uint8", "uint16", "int8", "int16")
OTHERS = ("uint32", "int32", "float32", "float64")


def moments(patches):
    """Records of patches of one channel, shape (n,)."""
    records = np.zeros((len(patches), 1), moments_dtype(patches[0].dtype))
    for record, patch in zip(records, patches, strict=True):
        channel_moments(patch[None], record)
    return records[:, 0]


def merged(rows, exact):
    result = Merged(exact)
    result.add(rows)
    return result


def make_patches(rng, dtype, n=40):
    """Patches of several sizes, as at an image's edge; some constant, some at the type's limits."""
    dtype = np.dtype(dtype)
    patches = []
    for number in range(n):
        shape = (int(rng.integers(1, 9)), int(rng.integers(1, 9)))
        if dtype.kind == "f":
            patch = rng.normal(1000, 3, shape)
        else:
            limits = np.iinfo(dtype)
            low = limits.max - 20 if number % 3 == 0 else limits.min
            patch = rng.integers(low, limits.max, shape, dtype, endpoint=True)
        if number % 5 == 0:
            patch = np.full(shape, patch.flat[0])
        patches.append(patch.astype(dtype))
    return patches


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_are_exact_in_any_order(rng_of, dtype):
    rng = rng_of(0)
    patches = make_patches(rng, dtype)
    rows = moments(patches)
    values = [int(v) for patch in patches for v in patch.ravel().tolist()]
    expected = merged(rows, exact=True)
    assert expected.count == len(values)
    assert expected.total == sum(values)
    assert expected.spread == sum(v * v for v in values)
    assert (expected.low, expected.high) == (min(values), max(values))
    n, total = len(values), sum(values)
    assert expected.mean == total / n
    assert expected.deviations == (n * sum(v * v for v in values) - total**2) / n
    np.testing.assert_allclose(expected.std, np.std(np.array(values, np.float64)), rtol=1e-12)
    for _ in range(5):
        again = Merged(exact=True)
        for part in np.array_split(rows[rng.permutation(len(rows))], 7):
            again.add(part)
        assert again == expected


@pytest.mark.parametrize("dtype", OTHERS)
def test_others_merge_in_the_order_of_rows(rng_of, dtype):
    patches = make_patches(rng_of(1), dtype)
    rows = moments(patches)
    values = np.concatenate([patch.ravel() for patch in patches]).astype(np.float64)
    expected = merged(rows, exact=False)
    assert expected.count == values.size
    assert (expected.low, expected.high) == (values.min(), values.max())
    np.testing.assert_allclose(expected.mean, math.fsum(values) / values.size, rtol=1e-12)
    np.testing.assert_allclose(expected.std, values.std(), rtol=1e-9)
    # However the rows come in parts: the result is of the same bits.
    for parts in (2, 7, len(rows)):
        again = Merged(exact=False)
        for part in np.array_split(rows, parts):
            again.add(part)
        assert again == expected


def test_a_small_spread_on_a_large_mean_does_not_cancel(rng_of):
    patches = [(1e8 + rng_of(n).normal(0, 1, (16, 16))).astype("float64") for n in range(50)]
    values = np.concatenate([patch.ravel() for patch in patches])
    deviations = values - math.fsum(values) / values.size
    expected = math.sqrt(math.fsum(deviations**2) / values.size)
    np.testing.assert_allclose(merged(moments(patches), exact=False).std, expected, rtol=1e-9)


def test_more_pixels_than_an_int64_can_hold():
    """The squares of 2**32 saturated pixels add up to 2**64; a large slide has more."""
    patch = np.full((4096, 4096), 65535, "uint16")
    row = moments([patch])
    result = Merged(exact=True)
    for _ in range(1024):
        result.add(row)
    n = 1024 * 4096 * 4096
    assert result.spread == n * 65535**2 > 2**64
    assert (result.mean, result.std, result.deviations) == (65535.0, 0.0, 0.0)


@settings(deadline=None)
@given(st.lists(st.integers(0, 65535), min_size=1, max_size=60), st.integers(1, 10))
def test_the_variance_is_never_negative(values, size):
    patches = [np.array([values[n : n + size]], "uint16") for n in range(0, len(values), size)]
    rows = moments(patches)
    result = merged(rows, exact=True)
    np.testing.assert_allclose(result.std, np.std(values), rtol=1e-12, atol=1e-12)
    assert (row_columns(rows, np.dtype("uint16"))["std"] >= 0).all()


def test_rows_without_pixels_do_not_count():
    for dtype, exact in (("uint16", True), ("float32", False)):
        rows = np.zeros(3, moments_dtype(np.dtype(dtype)))
        assert merged(rows, exact) == Merged(exact)
        rows[1] = moments([np.full((4, 4), 7, dtype)])[0]
        result = merged(rows, exact)
        assert (result.count, result.low, result.high, result.mean) == (16, 7, 7, 7.0)


def test_what_json_holds():
    empty = {"count": 0, "mean": None, "std": None, "min": None, "max": None}
    for exact in (True, False):
        assert Merged(exact).as_dict() == empty
        assert math.isnan(Merged(exact).mean)
        assert math.isnan(Merged(exact).std)
    pixels = np.array([[1, np.inf]], "float32")
    found = merged(moments([pixels]), exact=False).as_dict()
    assert found == {"count": 2, "mean": None, "std": None, "min": 1.0, "max": None}
    for dtype in (*INTEGERS, *OTHERS):
        exact = dtype in INTEGERS
        result = merged(moments([np.arange(12).reshape(3, 4).astype(dtype)]), exact).as_dict()
        again = json.loads(json.dumps(result, allow_nan=False))
        assert again == {"count": 12, "mean": 5.5, "std": result["std"], "min": 0, "max": 11}
        np.testing.assert_allclose(again["std"], np.std(np.arange(12)), rtol=1e-12)


def test_infinity_is_no_warning_when_rows_are_merged():
    """Warnings are errors in a test: an infinite pixel must not stop a run, or fill its log."""
    pixels = [np.array([[1, np.inf]], "float32"), np.array([[2, 3]], "float32")]
    pixels += [np.array([[-np.inf, 3]], "float32"), np.array([[np.nan, 3]], "float32")]
    rows = moments(pixels)
    result = merged(rows, exact=False)
    assert result.count == 7
    assert (result.low, result.high) == (-np.inf, np.inf)
    columns = row_columns(rows, np.dtype("float32"))
    assert columns["mean"].tolist()[:2] == [np.inf, 2.5]
    assert columns["max"].tolist() == [np.inf, 3, 3, 3]


@pytest.mark.parametrize("dtype", [*INTEGERS, *OTHERS])
def test_columns_of_rows(rng_of, dtype):
    patches = make_patches(rng_of(2), dtype)
    patches += [np.full((300, 300), patch.max()) for patch in patches[:2]]
    columns = row_columns(moments(patches), np.dtype(dtype))
    for name in ("mean", "std", "min", "max"):
        expected = [getattr(np, name)(patch.astype(np.float64)) for patch in patches]
        if name in ("min", "max"):
            assert columns[name].tolist() == expected
            assert columns[name].dtype == np.dtype(dtype)
        else:
            assert columns[name].dtype == np.float64
            tolerance = {"mean": 1e-12, "std": 1e-9}[name]
            np.testing.assert_allclose(columns[name], expected, rtol=tolerance, atol=1e-9)


@pytest.mark.parametrize("value", [0, 1, 65534, 65535])
@pytest.mark.parametrize("one_off", [False, True])
def test_a_row_of_nearly_equal_pixels(value, one_off):
    """Sums of squares near 2**32 a pixel, of which nothing may be lost to cancelling."""
    patch = np.full((2048, 2048), value, "uint16")
    if one_off:
        patch[7, 7] = value - 1 if value else 1
    columns = row_columns(moments([patch]), np.dtype("uint16"))
    n = patch.size
    expected = math.sqrt((n - 1) / n**2) if one_off else 0.0
    np.testing.assert_allclose(columns["std"], expected, rtol=1e-9)
    np.testing.assert_allclose(columns["mean"], patch.mean(dtype=np.float64), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_columns_of_rows_without_pixels(dtype):
    rows = np.zeros(2, moments_dtype(np.dtype(dtype)))
    columns = row_columns(rows, np.dtype(dtype))
    assert np.isnan(columns["mean"]).all()
    assert np.isnan(columns["std"]).all()
    assert columns["min"].tolist() == columns["max"].tolist() == [0, 0]


@pytest.fixture
def rng_of():
    return np.random.default_rng
