"""Thresholds of histograms against scikit-image's of the pixels; and noise, which has none."""

import numpy as np
import pytest
from skimage import filters

from patchmill.tasks.contrast import NO_JOINS, Joins, joins_of
from patchmill.tasks.sketch import merge, sketch
from patchmill.tasks.thresholds import THRESHOLDS, li, otsu, triangle

SEEDS = range(12)


def two_modes(seed):
    """Values of two modes, the larger one dark or bright, the other rare or not."""
    rng = np.random.default_rng(seed)
    low = rng.normal(40, 10, 4000)
    high = rng.normal(rng.integers(60, 200), 15, rng.integers(10, 3000))
    values = np.concatenate([low, high]).clip(0, 255).reshape(-1, 1)
    return 255 - values if seed % 2 else values


def counted(pixels):
    values, counts = np.unique(pixels, return_counts=True)
    return values.astype(np.float64), counts


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", THRESHOLDS)
def test_whole_numbers_have_the_threshold_of_scikit_image(name, seed):
    pixels = two_modes(seed).astype(np.uint8)
    expected = getattr(filters, f"threshold_{name}")(pixels)
    assert THRESHOLDS[name](*counted(pixels)) == expected


@pytest.mark.parametrize("seed", SEEDS)
def test_fractions_have_it_to_a_bin_or_so(seed):
    pixels = two_modes(seed) / 255
    bin_width = np.ptp(pixels) / 256
    found = [method(*counted(pixels)) for method in (otsu, triangle, li)]
    expected = [
        filters.threshold_otsu(pixels),
        filters.threshold_triangle(pixels),
        filters.threshold_li(pixels),
    ]
    np.testing.assert_allclose(found, expected, atol=1.5 * bin_width)


@pytest.mark.parametrize("name", THRESHOLDS)
def test_one_value_is_its_own_threshold(name):
    assert THRESHOLDS[name](np.array([7.0]), np.array([12])) == 7


@pytest.mark.parametrize("name", THRESHOLDS)
def test_merged_histograms_have_the_threshold_of_all_pixels(name):
    images = [two_modes(seed).astype(np.float32).round() for seed in SEEDS]
    merged = merge([sketch(image, True) for image in reversed(images)])
    every = np.concatenate(images)
    assert THRESHOLDS[name](merged.values, merged.counts) == THRESHOLDS[name](*counted(every))


def has_contrast(pixels, method):
    return joins_of(pixels > method(*counted(pixels))).has_contrast


@pytest.mark.parametrize("size", [32, 64, 300])
@pytest.mark.parametrize("photons", [0.02, 0.1, 1, 10, 300, 20_000])
def test_fields_of_noise_have_no_contrast(photons, size):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        pixels = rng.poisson(photons, (size, size)) + rng.normal(100, seed % 4, (size, size))
        pixels = pixels.round().clip(0, 65_535)
        for method in THRESHOLDS.values():
            assert not has_contrast(pixels, method)


def test_what_is_the_same_everywhere_has_no_contrast():
    for value in (0, 100):
        assert not has_contrast(np.full((50, 50), value), otsu)


@pytest.mark.parametrize("seed", range(10))
def test_one_dim_cell_in_noise_has_contrast(seed):
    rng = np.random.default_rng(seed)
    y, x = np.ogrid[:200, :200]
    cell = (y - 90) ** 2 + (x - 50) ** 2 < 8**2
    pixels = rng.poisson(100 + 150 * cell) + rng.normal(0, 3, cell.shape)
    mask = pixels > triangle(*counted(pixels.round()))
    assert joins_of(mask).has_contrast


def test_joins_are_counted_as_by_a_loop(rng):
    mask = rng.random((7, 9)) < 0.4
    pairs = joined = 0
    for y, x in np.ndindex(mask.shape):
        for other in ((y + 1, x), (y, x + 1)):
            if other[0] < 7 and other[1] < 9:
                pairs += 1
                joined += bool(mask[y, x] and mask[other])
    assert joins_of(mask) == Joins(63, int(mask.sum()), pairs, joined)
    assert joins_of(mask) + NO_JOINS == joins_of(mask)


def test_neighbours_agree_as_they_correlate(rng):
    mask = np.repeat(np.repeat(rng.random((60, 60)) < 0.3, 4, 0), 4, 1)
    first = np.concatenate([mask[:, :-1].ravel(), mask[:-1].ravel()])
    second = np.concatenate([mask[:, 1:].ravel(), mask[1:].ravel()])
    assert joins_of(mask).agreement == pytest.approx(np.corrcoef(first, second)[0, 1], abs=0.01)
