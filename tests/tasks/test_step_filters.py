"""Filters against plain NumPy, windows against the whole, and pixels that are no number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from patchmill.tasks.local_median import local_median
from patchmill.tasks.step_filters import Gaussian, Invert, Median
from patchmill.tasks.step_hot_pixels import HotPixels

STEPS = [
    HotPixels(3, 8.0, 1.0),
    HotPixels(5, 4.0, 0.0),
    HotPixels(3, 8.0, 1.0, counts=60.0),
    *(Median(size) for size in (3, 5, 7, 11)),
    *(Gaussian(sigma) for sigma in (0.2, 0.7, 1.5, 4.0)),
    Invert(4095.0),
]


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(300, 40, shape).astype(np.float32)


def around(image, border):
    return np.pad(image, ((0, 0), (0, 0), (border, border), (border, border)), mode="reflect")


@pytest.mark.parametrize("step", STEPS, ids=str)
@settings(max_examples=20, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    corner=st.tuples(st.integers(-9, 40), st.integers(-9, 40)),
    size=st.tuples(st.integers(1, 33), st.integers(1, 33)),
    has_holes=st.booleans(),
)
def test_a_window_is_that_of_the_whole(run_mirrored, step, shape, corner, size, has_holes):
    image = noise(2, 1, *shape)
    image[image > 400] += 500
    if has_holes:
        image[:, :, 3:9, 5:20] = np.nan
        image[:, :, 30:31, ::7] = np.inf
    whole = run_mirrored([step], image, (-10, -10), (90, 90))
    y, x = corner[0] + 10, corner[1] + 10
    found = run_mirrored([step], image, corner, size)
    np.testing.assert_array_equal(found, whole[:, :, y : y + size[0], x : x + size[1]])


@pytest.mark.parametrize("size", [3, 5, 7, 13])
def test_median_is_numpys(run_mirrored, size):
    image = noise(2, 3, 40, 30)
    padded = around(image, size // 2)
    expected = np.median(sliding_window_view(padded, (size, size), axis=(2, 3)), axis=(4, 5))
    np.testing.assert_array_equal(run_mirrored([Median(size)], image), expected)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.3])
def test_gaussian_is_the_plain_sum_in_double_precision(run_mirrored, sigma):
    image = noise(1, 2, 40, 30)
    reach = int(4 * sigma + 0.5)
    line = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = np.outer(line, line) / line.sum() ** 2
    padded = around(image, reach).astype(np.float64)
    windows = sliding_window_view(padded, kernel.shape, axis=(2, 3))
    expected = (windows * kernel).sum(axis=(4, 5))
    np.testing.assert_allclose(run_mirrored([Gaussian(sigma)], image), expected, rtol=1e-6)


def test_invert_turns_the_top_to_zero(run_mirrored):
    image = np.array([0, 255, 100], np.float32).reshape(1, 1, 1, 3)
    assert run_mirrored([Invert(255.0)], image).ravel().tolist() == [255, 0, 155]


@pytest.mark.parametrize("size", [3, 5, 9])
def test_median_leaves_missing_pixels_out(run_mirrored, size):
    image = noise(1, 1, 40, 50)
    image[0, 0, 5:25, 8:30] = np.nan
    image[0, 0, np.arange(40), np.arange(40)] = np.inf
    found = run_mirrored([Median(size)], image)
    padded = around(image, size // 2)
    padded[~np.isfinite(padded)] = np.nan
    windows = sliding_window_view(padded, (size, size), axis=(2, 3))
    there = np.isfinite(image)
    np.testing.assert_array_equal(found[there], np.nanmedian(windows[there], axis=(1, 2)))
    np.testing.assert_array_equal(found[~there], image[~there])


def test_median_of_what_is_left_may_be_between_two_pixels():
    plane = np.full((1, 3, 3), np.nan, np.float32)
    plane[0, 1, 1], plane[0, 0, 2] = 4, 7
    assert local_median(plane, 3)[0, 1, 1] == 5.5


def test_gaussian_leaves_missing_pixels_out(run_mirrored):
    image = np.full((1, 1, 40, 50), 7, np.float32)
    image[0, 0, 5:25, 8:30] = np.nan
    image[0, 0, np.arange(40), np.arange(40)] = -np.inf
    found = run_mirrored([Gaussian(2.0)], image)
    there = np.isfinite(image)
    np.testing.assert_allclose(found[there], 7, rtol=1e-6)
    np.testing.assert_array_equal(found[~there], image[~there])


class TestHotPixels:
    """What is replaced, and above all what is not."""

    step = HotPixels(3, 8.0, 1.0)
    size = 512

    def camera(self, light, seed=0):
        """Return counts of photons with an offset of 100 and a read noise of 3."""
        rng = np.random.default_rng(seed)
        counts = rng.poisson(light) + rng.normal(100, 3, light.shape)
        return np.rint(counts).astype(np.float32)[None, None]

    def grids(self):
        return np.mgrid[: self.size, : self.size].astype(np.float64)

    @pytest.mark.parametrize("amount", [-250, 400])
    def test_hot_and_dead_pixels_and_pairs_of_them(self, run_mirrored, amount):
        image = self.camera(np.full((self.size, self.size), 200.0))
        hot = np.zeros(image.shape, bool)
        hot[:, :, 0::16, 3::16] = True
        hot[:, :, 0::16, 4::32] = True
        hot[:, :, -1, -1] = True
        image[hot] += amount
        found = run_mirrored([self.step], image)
        changed = found != image
        assert (changed & hot).sum() >= 0.99 * hot.sum()
        assert not (changed & ~hot).any()
        around = np.abs(found[changed] - 300)
        assert around.max() < 40

    def test_what_takes_its_place_is_the_median(self, run_mirrored):
        image = self.camera(np.full((self.size, self.size), 200.0))
        image[0, 0, 20, 30] = 9000
        expected = np.median(image[0, 0, 19:22, 29:32])
        assert run_mirrored([self.step], image)[0, 0, 20, 30] == expected

    def test_noise_stays(self, run_mirrored):
        for light in (0.02, 1.0, 40.0, 5000.0):
            image = self.camera(np.full((self.size, self.size), light))
            np.testing.assert_array_equal(run_mirrored([self.step], image), image)

    def test_photons_in_the_dark_stay(self, run_mirrored):
        photons = np.random.default_rng(0).poisson(0.01, (1, 1, self.size, self.size))
        image = photons.astype(np.float32)
        assert image.max() > 0
        np.testing.assert_array_equal(run_mirrored([self.step], image), image)

    def test_small_spots_stay(self, run_mirrored):
        y, x = self.grids()
        rng = np.random.default_rng(0)
        light = np.full((self.size, self.size), 50.0)
        for top in np.arange(16, self.size, 32):
            for left in np.arange(16, self.size, 32):
                a, b = top + rng.uniform(), left + rng.uniform()
                near = np.s_[top - 8 : top + 8, left - 8 : left + 8]
                squared = (y[near] - a) ** 2 + (x[near] - b) ** 2
                light[near] += rng.uniform(50, 5000) * np.exp(-squared / 2 / 0.85**2)
        image = self.camera(light)
        assert (run_mirrored([self.step], image) != image).sum() <= 3  # of 256 spots

    def test_thin_lines_stay(self, run_mirrored):
        y, x = self.grids()
        light = np.full((self.size, self.size), 50.0)
        for angle in np.linspace(0, np.pi, 7):
            away = (y - 250.3) * np.cos(angle) + (x - 240.6) * np.sin(angle)
            light += 1500 * np.exp(-(away**2) / 2 / 0.85**2)
        image = self.camera(light)
        assert (run_mirrored([self.step], image) != image).sum() <= 5  # of 3500 pixels on lines

    def test_a_threshold_in_counts(self, run_mirrored):
        image = np.full((1, 1, 9, 9), 10, np.float32)
        image[0, 0, 2, 2], image[0, 0, 6, 6] = 60, 61
        found = run_mirrored([HotPixels(3, 8.0, 1.0, counts=50.0)], image)
        assert found[0, 0, 2, 2] == 60
        assert found[0, 0, 6, 6] == 10

    def test_missing_pixels_stay_and_are_no_neighbours(self, run_mirrored):
        image = self.camera(np.full((self.size, self.size), 200.0))
        image[0, 0, 100:200, 50:300] = np.nan
        image[0, 0, 300] = np.inf
        hot = [(99, 60), (299, 100), (301, 10), (250, 49)]
        for y, x in hot:
            image[0, 0, y, x] = 9000
        found = run_mirrored([self.step], image)
        changed = np.argwhere((found != image) & np.isfinite(image))
        assert sorted(map(tuple, changed[:, 2:].tolist())) == sorted(hot)
        there = np.isfinite(image)
        np.testing.assert_array_equal(found[~there], image[~there])
