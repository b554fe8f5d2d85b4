"""Backgrounds against plain loops, windows against the whole, and pixels that are no number."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchmill.tasks.blocks import shrink
from patchmill.tasks.opening import open_ball, open_disc
from patchmill.tasks.step_background import SubtractConstant, SubtractOpening

OPENINGS = [
    SubtractOpening(radius, side, how, height, 100.0)
    for radius, side in ((1, 1), (3, 1), (4, 2), (7, 3), (5, 5), (11, 4))
    for how, height in (("mean", None), ("min", 20.0))
]


def scene(*shape, seed=0):
    """Return noise on a slope, with narrow bright spots."""
    rng = np.random.default_rng(seed)
    pixels = rng.normal(200, 5, shape) + 0.3 * np.arange(shape[-1])
    pixels[rng.random(shape) < 0.02] += 300
    return pixels.astype(np.float32)


@pytest.mark.parametrize("step", [SubtractConstant(120.5, 100.0), *OPENINGS], ids=str)
@settings(max_examples=15, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    corner=st.tuples(st.integers(-9, 40), st.integers(-9, 40)),
    size=st.tuples(st.integers(1, 33), st.integers(1, 33)),
    has_holes=st.booleans(),
)
def test_a_window_is_that_of_the_whole(run_mirrored, step, shape, corner, size, has_holes):
    image = scene(2, 1, *shape)
    if has_holes:
        image[:, :, 3:9, 5:20] = np.nan
        image[:, :, 30:31, ::7] = np.inf
    whole = run_mirrored([step], image, (-10, -10), (90, 90))
    y, x = corner[0] + 10, corner[1] + 10
    found = run_mirrored([step], image, corner, size)
    np.testing.assert_array_equal(found, whole[:, :, y : y + size[0], x : x + size[1]])


def test_a_constant_and_a_pedestal(run_mirrored):
    image = np.array([90, 100, 500], np.float32).reshape(1, 1, 1, 3)
    assert run_mirrored([SubtractConstant(100.0, 0.0)], image).ravel().tolist() == [-10, 0, 400]
    assert run_mirrored([SubtractConstant(100.0, 100.0)], image).ravel().tolist() == [90, 100, 500]


def plainly_opened(plane, radius, height):
    """Return the opening of a plane, pixel by pixel; beyond its edges nothing is."""
    reach = int(radius)
    offsets = [
        (y, x, height * (1 - math.sqrt(1 - (y * y + x * x) / radius**2)))
        for y in range(-reach, reach + 1)
        for x in range(-reach, reach + 1)
        if y * y + x * x <= radius**2
    ]

    def pass_over(values, sign):
        out = np.empty_like(values)
        for (y, x), _ in np.ndenumerate(values):
            near = [
                values[y + dy, x + dx] + sign * depth
                for dy, dx, depth in offsets
                if 0 <= y + dy < values.shape[0] and 0 <= x + dx < values.shape[1]
            ]
            out[y, x] = min(near) if sign > 0 else max(near)
        return out

    return pass_over(pass_over(plane.astype(np.float64), 1), -1)


@pytest.mark.parametrize("radius", [1, 2.5, 4])
def test_openings_are_those_of_a_plain_loop(radius):
    planes = scene(2, 24, 31)
    inner = np.s_[2 * int(radius) : -2 * int(radius), 2 * int(radius) : -2 * int(radius)]
    for plane, disc, ball in zip(
        planes, open_disc(planes, radius), open_ball(planes, radius, 9.0), strict=True
    ):
        np.testing.assert_array_equal(disc[inner], plainly_opened(plane, radius, 0.0)[inner])
        expected = plainly_opened(plane, radius, 9.0)[inner]
        np.testing.assert_allclose(ball[inner], expected, rtol=1e-6)


@pytest.mark.parametrize("how", ["mean", "min"])
@pytest.mark.parametrize("corner", [(0, 0), (-7, 5), (3, -2)])
def test_blocks_are_of_the_image_not_of_the_window(how, corner):
    side = 4
    planes = scene(1, 37, 30)
    found = shrink(planes, *corner, side, how)
    rows = [b for b in range(-5, 20) if corner[0] <= b * side and b * side + side <= corner[0] + 37]
    columns = [b for b in range(-5, 20) if corner[1] <= b * side <= corner[1] + 30 - side]
    assert found.shape == (1, len(rows), len(columns))
    for at, row in enumerate(rows):
        for to, column in enumerate(columns):
            y, x = row * side - corner[0], column * side - corner[1]
            block = planes[0, y : y + side, x : x + side].astype(np.float64)
            expected = block.mean() if how == "mean" else block.min()
            np.testing.assert_allclose(found[0, at, to], expected, rtol=1e-6)


@pytest.mark.parametrize("step", OPENINGS, ids=str)
def test_a_flat_background_is_found_exactly_below_narrow_objects(run_mirrored, step):
    image = np.full((1, 1, 80, 90), 250, np.float32)
    image[0, 0, 41, 37] += 1000
    found = run_mirrored([step], image)
    if step.shrink_by == "min" or step.shrink == 1:
        assert (found != 100).sum() == 1
    # A ball pokes as far into the hole below a block's object as its next ones let it.
    blocks = step.radius_px / step.shrink
    poke = step.height * (1 - math.sqrt(1 - 1 / blocks**2)) if step.height else 0
    np.testing.assert_allclose(found[0, 0, 41, 37], 1100 - poke * (step.shrink == 1), atol=1e-3)


def test_a_slope_is_no_object(run_mirrored):
    """Between the centres of blocks a slope goes on, and a ball lies on it as on a plane."""
    image = np.broadcast_to(5.0 * np.arange(200, dtype=np.float32), (1, 1, 60, 200)).copy()
    found = run_mirrored([SubtractOpening(8, 4, "mean", 8.0, 0.0)], image)[0, 0, :, 50:150]
    # The ball touches beside its middle: lower by r (sqrt(1 + s²) - 1), the same everywhere; and
    # rises to that slope again. Its 21 blocks do not resolve where it does.
    np.testing.assert_allclose(found, 0, atol=12)
    np.testing.assert_allclose(found - found.mean(), 0, atol=1e-3)


def test_large_objects_stay_and_shading_goes(run_mirrored):
    y, x = np.mgrid[:200, :240].astype(np.float32)
    shading = 300 + 100 * np.exp(-((y - 90) ** 2 + (x - 130) ** 2) / 2 / 90**2)
    rng = np.random.default_rng(0)
    cells = np.zeros_like(shading)
    for _ in range(25):
        cy, cx = rng.uniform(0, 200), rng.uniform(0, 240)
        cells[(y - cy) ** 2 + (x - cx) ** 2 < 64] = 500
    image = (shading + cells + rng.normal(0, 5, cells.shape)).astype(np.float32)[None, None]
    for step in (
        SubtractOpening(40, 4, "mean", None, 0.0),
        SubtractOpening(40, 4, "mean", 40.0, 0.0),
    ):
        found = run_mirrored([step], image)[0, 0]
        background, objects = found[cells == 0], found[cells > 0]
        assert abs(np.median(background)) < 10
        assert np.std(background) < 12 < np.std(shading[cells == 0])
        assert abs(np.median(objects) - 500) < 15


@pytest.mark.parametrize("step", OPENINGS, ids=str)
def test_missing_pixels_stay_and_are_no_background(run_mirrored, step):
    image = np.full((1, 1, 70, 80), 250, np.float32)
    image[0, 0, 20:50, 10:60] = np.nan
    image[0, 0, 60] = np.inf
    image[0, 0, 30, 30] = 250
    found = run_mirrored([step], image)
    there = np.isfinite(image)
    np.testing.assert_allclose(found[there], 100, rtol=1e-6)
    np.testing.assert_array_equal(found[~there], image[~there])
