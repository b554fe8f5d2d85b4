"""Stain normalisation against the formulas of the paper, pixel by pixel in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest

from patchmill.tasks.step import Window
from patchmill.tasks.step_stain import Reinhard, ToLab, ToReference, to_lab, to_rgb

WINDOW = Window(0, 0, (8, 9), (slice(0, 1), slice(0, 8), slice(0, 9)))


def lab_of(r, g, b):
    """Return l, alpha and beta of one pixel, as the paper has them (its equations 4 to 6)."""
    long = math.log(max(1, 0.3811 * r + 0.5783 * g + 0.0402 * b))
    middle = math.log(max(1, 0.1967 * r + 0.7244 * g + 0.0782 * b))
    short = math.log(max(1, 0.0241 * r + 0.1288 * g + 0.8444 * b))
    return (
        (long + middle + short) / math.sqrt(3),
        (long + middle - 2 * short) / math.sqrt(6),
        (long - middle) / math.sqrt(2),
    )


@pytest.fixture
def slide() -> np.ndarray:
    """RGB of two stains on white, float32, shape (3, 1, y, x)."""
    rng = np.random.default_rng(0)
    stains = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])
    amounts = rng.gamma(2, 0.3, (8, 9, 2))
    return np.moveaxis(240 * np.exp(-amounts @ stains), 2, 0)[:, None].astype(np.float32)


@pytest.mark.parametrize("top", [255.0, 65535.0])
def test_the_space_is_that_of_the_paper(slide, top):
    slide[:, 0, 0, 0] = 0
    slide[:, 0, 0, 1] = 255
    lab = to_lab(slide * np.float32(top / 255), top)
    assert lab.dtype == np.float32
    for y, x in np.ndindex(8, 9):
        np.testing.assert_allclose(lab[:, 0, y, x], lab_of(*slide[:, 0, y, x].tolist()), atol=3e-6)
    assert (lab[:, 0, 0, 0] == 0).all()
    bright = slide.min(axis=0) >= 2
    np.testing.assert_allclose(to_rgb(lab, top)[:, bright] * 255 / top, slide[:, bright], atol=1e-3)
    np.testing.assert_array_equal(ToLab(top)(slide * np.float32(top / 255), WINDOW), lab)


def test_colours_get_the_mean_and_the_deviation_of_the_reference(slide):
    lab = to_lab(slide.copy(), 255).reshape(3, -1).astype(np.float64)
    numbers = np.stack([lab.mean(axis=1), lab.std(axis=1)], axis=1)
    step = ToReference((8.7, -0.12, 0.04), (0.4, 0.07, 0.02), 255.0).bound(numbers)
    made = to_lab(step(slide.copy(), WINDOW), 255).reshape(3, -1).astype(np.float64)
    np.testing.assert_allclose(made.mean(axis=1), (8.7, -0.12, 0.04), atol=1e-5)
    np.testing.assert_allclose(made.std(axis=1), (0.4, 0.07, 0.02), atol=1e-5)


def test_a_slide_with_the_numbers_of_the_reference_stays_as_it_is(slide):
    numbers = (8.0, 0.1, 0.02), (0.5, 0.1, 0.03)
    step = Reinhard(*numbers, *numbers, 255.0)
    np.testing.assert_allclose(step(slide.copy(), WINDOW), slide, rtol=2e-5)


def test_one_colour_becomes_that_of_the_reference():
    grey = np.full((3, 1, 8, 9), 200, np.float32)
    mean = tuple(to_lab(grey.copy(), 255)[:, 0, 0, 0].tolist())
    step = Reinhard(mean, (0.0, 0.0, 0.0), (8.7, 0.0, 0.0), (0.5, 0.1, 0.1), 255.0)
    made = to_lab(step(grey, WINDOW), 255)
    np.testing.assert_allclose(made[0], 8.7, atol=1e-5)
    np.testing.assert_allclose(made[1:], 0, atol=1e-5)
