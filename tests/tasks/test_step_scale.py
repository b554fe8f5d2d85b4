"""Intensity steps against NumPy in float64, for each channel by its own numbers."""

from __future__ import annotations

import numpy as np
import pytest

from patchmill.tasks.pixel_measures import Extremes, Largest, MeanAndDeviation, Percentiles
from patchmill.tasks.sketch import sketch
from patchmill.tasks.source import SourceError
from patchmill.tasks.step import Window
from patchmill.tasks.step_curve import Clip, Gamma, Log
from patchmill.tasks.step_scale import (
    LessOffset,
    Offset,
    OfPatch,
    Scale,
    ToRange,
    ToStandard,
    Unscaled,
    ZScore,
)

OWN = slice(0, 1), slice(2, 9), slice(3, 8)
WINDOW = Window(-2, -3, (7, 5), OWN)


@pytest.fixture
def pixels():
    rng = np.random.default_rng(1)
    return rng.integers(0, 4096, (2, 1, 12, 11)).astype(np.float32)


def test_scale_maps_each_channel_to_the_range(pixels):
    step = Scale((100, 300), (1100, 4000), 0, 65535, clip=True)
    wide = pixels.astype(np.float64)
    low, high = (np.array(ends).reshape(2, 1, 1, 1) for ends in ((100, 300), (1100, 4000)))
    expected = np.clip((wide - low) / (high - low), 0, 1) * 65535
    np.testing.assert_allclose(step(pixels.copy(), WINDOW), expected, rtol=1e-6, atol=1e-2)
    unclipped = Scale((100, 300), (1100, 4000), -1, 1, clip=False)(pixels.copy(), WINDOW)
    np.testing.assert_allclose(unclipped, (wide - low) / (high - low) * 2 - 1, atol=1e-5)
    assert unclipped.max() > 1
    assert unclipped.dtype == np.float32


def test_z_score_and_offset(pixels):
    wide = pixels.astype(np.float64)
    mean, std = wide.mean((1, 2, 3)), wide.std((1, 2, 3))
    found = ZScore(tuple(mean.tolist()), tuple(std.tolist()))(pixels.copy(), WINDOW)
    np.testing.assert_allclose(found.mean((1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(found.std((1, 2, 3)), 1, rtol=1e-5)
    less = Offset((7.0, 900.0), 100.0)(pixels.copy(), WINDOW)
    assert np.array_equal(less, wide - np.reshape([7, 900], (2, 1, 1, 1)) + 100)


def test_a_channel_without_contrast_is_not_divided_by_zero(pixels):
    scaled = Scale((50, 0), (50, 4000), 5, 9, clip=True)(pixels.copy(), WINDOW)
    assert (scaled[0] == 5).all()
    assert len(np.unique(scaled[1])) > 2
    assert (ZScore((50, 0), (0, 1))(pixels.copy(), WINDOW)[0] == 0).all()
    pixels[0] = np.float32(0.1)
    for mapping, measure in (
        (ToRange(2, 3, True), Percentiles((0.1, 99.9), ("low", "high"))),
        (ToRange(2, 3, True), Extremes()),
        (ToStandard(), MeanAndDeviation()),
    ):
        found = OfPatch(measure, mapping)(pixels.copy(), WINDOW)
        assert np.unique(found[0]).tolist() == [0 if mapping == ToStandard() else 2]
    # Nothing is above 0, so 0 cannot be the lower end.
    dark = OfPatch(Largest(), ToRange(0, 1, True))(-pixels.copy() - 1, WINDOW)
    assert (dark == 0).all()


@pytest.mark.parametrize(
    "measure",
    [Percentiles((1, 98), ("low", "high")), Extremes(), Largest(), MeanAndDeviation()],
)
def test_a_patch_is_measured_by_its_own_pixels(pixels, measure):
    mapping = ToStandard() if measure.names == ("mean", "std") else ToRange(0, 255, True)
    found = OfPatch(measure, mapping)(pixels.copy(), WINDOW)
    own = pixels[(slice(None), *OWN)].reshape(2, -1)
    numbers = np.stack([measure.of_sketch(sketch(one, is_whole=True)) for one in own])
    np.testing.assert_allclose(found, mapping.bound(numbers)(pixels.copy(), WINDOW), atol=1e-4)
    # What lies in border and padding decides nothing.
    other = pixels + 1000
    other[(slice(None), *OWN)] = pixels[(slice(None), *OWN)]
    again = OfPatch(measure, mapping)(other, WINDOW)
    assert np.array_equal(again[(slice(None), *OWN)], found[(slice(None), *OWN)])


def test_nan_does_not_count(pixels):
    own = pixels[(0, *OWN)]
    own[0, 0, 0] = np.nan
    found = OfPatch(Percentiles((10,), ("value",)), LessOffset(0))(pixels.copy(), WINDOW)
    expected = own - np.percentile(own[np.isfinite(own)].astype(np.float64), 10)
    np.testing.assert_allclose(found[(0, *OWN)], expected, rtol=1e-6)
    assert np.isnan(found[0, 0, 2, 3])
    pixels[0] = np.nan
    assert np.isnan(OfPatch(Extremes(), ToRange(0, 1, True))(pixels, WINDOW)[0]).all()


def test_curves(pixels):
    wide = pixels.astype(np.float64)
    found = Gamma(0.5, 0, 4095)(pixels.copy(), WINDOW)
    np.testing.assert_allclose(found, 4095 * np.sqrt(wide / 4095), rtol=1e-6, atol=1e-3)
    # Below the range there is no power; such pixels are put to its end.
    ends = Gamma(2, 100, 200)(np.array([50, 150, 900], np.float32).reshape(1, 1, 1, 3), WINDOW)
    assert ends.ravel().tolist() == [100, 125, 200]
    clipped = Clip(None, 500)(pixels.copy(), WINDOW)
    assert np.array_equal(clipped, np.minimum(wide, 500))
    assert np.array_equal(Clip(10, None)(pixels.copy(), WINDOW), np.maximum(wide, 10))
    pixels[0, 0, 0, 0] = -5
    expected = np.log2(np.maximum(pixels.astype(np.float64), 0) + 3)
    np.testing.assert_allclose(Log(3, 2)(pixels.copy(), WINDOW), expected, rtol=1e-6)
    for step in (Gamma(0.5, 0, 1), Clip(0, 1), Log(1, np.e)):
        assert step(pixels.copy(), WINDOW).dtype == np.float32
        assert step.halo_px == 0


def test_an_image_without_numbers_cannot_be_cut(pixels):
    with pytest.raises(SourceError, match="A01: has none"):
        Unscaled("A01: has none")(pixels, WINDOW)
