"""Histograms against NumPy, whatever the order in which they are merged."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchmill.reader.histograms import percentiles
from patchmill.tasks.histograms import Histograms

EXACT = ["uint8", "int8", "uint16", "int16"]
PERCENTS = [0, 0.1, 5, 33.3, 50, 75, 99.9, 100]


def pixels_of(seed: int, dtype: str, n: int = 6) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.normal(0, 1, (n, 2, 5, 7)).astype(dtype)
    limits = np.iinfo(dtype)
    low = int(rng.integers(limits.min, limits.max - 9))
    high = int(rng.integers(low + 1, limits.max, endpoint=True))
    return rng.integers(low, high, (n, 2, 5, 7), dtype=dtype, endpoint=True)


@given(
    seed=st.integers(0, 2**32),
    dtype=st.sampled_from(EXACT),
    order=st.permutations(range(6)),
    parts=st.integers(1, 6),
)
def test_exact_in_any_order(seed, dtype, order, parts):
    pixels = pixels_of(seed, dtype)
    merged = Histograms(np.dtype(dtype))
    for part in np.array_split(np.array(order), parts):
        own = Histograms(np.dtype(dtype))
        for number in part.tolist():
            own.add(number % 2, pixels[number])
        merged.add_packed(own.packed())
    found = {place: (bins, counts) for place, bins, counts in merged.items()}
    assert sorted(found) == [(split, channel) for split in (0, 1) for channel in (0, 1)]
    for (split, channel), (bins, counts) in found.items():
        values = pixels[split::2, channel]
        expected, often = np.unique(values, return_counts=True)
        np.testing.assert_array_equal(merged.values(bins), expected)
        np.testing.assert_array_equal(counts, often)
        np.testing.assert_array_equal(
            percentiles(merged.values(bins), counts, PERCENTS),
            np.percentile(values.astype(np.float64), PERCENTS),
        )


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint32", "int64"])
def test_bins_of_other_types_are_narrow(dtype):
    pixels = pixels_of(3, dtype)
    histograms = Histograms(np.dtype(dtype))
    for patch in pixels:
        histograms.add(0, patch)
    for (_, channel), bins, counts in histograms.items():
        values = np.sort(pixels[:, channel].ravel().astype(np.float64))
        assert counts.sum() == values.size
        of_bins = np.repeat(histograms.values(bins), counts)
        np.testing.assert_allclose(of_bins, values, rtol=2**-11)


def test_what_is_no_number_is_no_pixel():
    histograms = Histograms(np.dtype(np.float32))
    histograms.add(0, np.array([[np.nan, np.inf, -np.inf, 2.0, -0.0, 0.0]], np.float32))
    ((_, bins, counts),) = histograms.items()
    assert histograms.values(bins).tolist() == [0.0, 2.0]
    assert counts.tolist() == [2, 1]


def test_nothing():
    histograms = Histograms(np.dtype(np.uint16))
    histograms.add_packed(Histograms(np.dtype(np.uint16)).packed())
    assert list(histograms.items()) == []
    none = np.zeros(0)
    assert np.isnan(percentiles(none, none.astype(np.int64), [0, 50])).all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("spread", [1, 100, 30_000])
def test_patches_that_are_larger_than_a_block_split_after_split(dtype, spread):
    """Narrow and wide ranges are counted in other ways, and splits that were left are settled."""
    rng = np.random.default_rng(spread)
    histograms = Histograms(np.dtype(dtype))
    patches = []
    for split in (0, 0, 1, 0, 2, 1):
        pixels = rng.integers(-spread, spread, (1, 300, 700), endpoint=True)
        if np.dtype(dtype).kind in "ui":
            limits = np.iinfo(dtype)
            pixels = (pixels + (0 if limits.min else spread)).clip(limits.min, limits.max)
        patches.append((split, pixels.astype(dtype)))
        histograms.add(*patches[-1])
    merged = Histograms(np.dtype(dtype))
    merged.add_packed(histograms.packed())
    for (split, _), bins, counts in merged.items():
        values = np.concatenate([own.ravel() for number, own in patches if number == split])
        assert counts.sum() == values.size
        if np.dtype(dtype).kind in "ui":
            expected, often = np.unique(values, return_counts=True)
            np.testing.assert_array_equal(merged.values(bins), expected)
            np.testing.assert_array_equal(counts, often)
        else:
            of_bins = np.repeat(merged.values(bins), counts)
            np.testing.assert_allclose(of_bins, np.sort(values), rtol=2**-11)


def test_counts_beyond_32_bits():
    histograms = Histograms(np.dtype(np.uint8))
    histograms.add(0, np.zeros((1, 4, 4), np.uint8))
    for _ in range(30):  # 2**34 pixels in the end
        histograms.add_packed(histograms.packed())
    ((_, bins, counts),) = histograms.items()
    assert (bins.tolist(), counts.tolist()) == ([0], [2**34])
