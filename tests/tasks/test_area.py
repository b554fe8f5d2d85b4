"""The area filter against overlaps worked out pixel by pixel, and against OpenCV, in any parts."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchmill.tasks.area import add_area, area_taps, finish, span

#: How far beyond the image the windows of these tests may reach, in source pixels.
BEYOND = 40


def overlaps(origin, zoom, n_out, length):
    """Return how much of each source pixel lies in each output pixel, from -BEYOND on."""
    weight = np.zeros((n_out, length + 2 * BEYOND))
    for i in range(n_out):
        for j in range(-BEYOND, length + BEYOND):
            begin, end = origin + i * zoom, origin + (i + 1) * zoom
            weight[i, j + BEYOND] = max(0.0, min(end, j + 1) - max(begin, j))
    return weight


def slowly(image, rows, columns, reflect):
    """Return the mean under each output pixel; beyond the image lie 0 or its mirror image."""
    wide = np.pad(image.astype(float), BEYOND, mode="reflect" if reflect else "constant")
    tall, broad = overlaps(*rows, image.shape[0]), overlaps(*columns, image.shape[1])
    return np.einsum("iy,yx,jx->ij", tall, wide, broad) / (rows[1] * columns[1])


def in_parts(image, rows, columns, reflect, y_cuts=(), x_cuts=()):
    """Return the sums that the filter makes of an image that comes in parts, the last one first."""
    down = area_taps(*rows, image.shape[-2], reflect)
    across = area_taps(*columns, image.shape[-1], reflect)
    acc = np.zeros((image.shape[0], rows[2], columns[2]))
    y_ends, x_ends = [0, *sorted(y_cuts), image.shape[-2]], [0, *sorted(x_cuts), image.shape[-1]]
    for y0, y1 in reversed(list(pairwise(y_ends))):
        for x0, x1 in pairwise(x_ends):
            add_area(acc, image[:, y0:y1, x0:x1], y0, x0, down, across)
    return acc


@st.composite
def windows(draw, whole=False):
    """Origin, zoom and size along one axis, and the image's length there."""
    length, n_out = draw(st.integers(1, 30)), draw(st.integers(1, 8))
    if whole:
        zoom = draw(st.integers(1, 4))
        return draw(st.integers(-8, length)), zoom, n_out, length
    # Not closer to whole numbers than the filter tells apart, nor closer than it takes for whole.
    zoom = draw(st.integers(1000, 4000)) / 1000
    return draw(st.integers(-8000, 1000 * length)) / 1000, zoom, n_out, length


def draw_image(data, y, x, dtype):
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    return rng.integers(0, 60000, (2, y[3], x[3])).astype(dtype)


@given(y=windows(), x=windows(), reflect=st.booleans(), data=st.data())
def test_means_are_those_of_the_overlaps(y, x, reflect, data):
    image = draw_image(data, y, x, data.draw(st.sampled_from(["u2", ">u2", "i4", "f4", "f8"])))
    means = finish(in_parts(image, y[:3], x[:3], reflect), y[1] * x[1], np.float64)
    for found, plane in zip(means, image, strict=True):
        np.testing.assert_allclose(found, slowly(plane, y[:3], x[:3], reflect), 1e-9, 1e-6)


cuts = st.lists(st.integers(0, 30), max_size=3, unique=True)


@given(y=windows(), x=windows(), reflect=st.booleans(), y_cuts=cuts, x_cuts=cuts, data=st.data())
def test_parts_make_no_difference_but_rounding(y, x, reflect, y_cuts, x_cuts, data):
    image = draw_image(data, y, x, np.uint16)
    y_cuts, x_cuts = [c for c in y_cuts if c < y[3]], [c for c in x_cuts if c < x[3]]
    whole = in_parts(image, y[:3], x[:3], reflect)
    parts = in_parts(image, y[:3], x[:3], reflect, y_cuts, x_cuts)
    np.testing.assert_allclose(parts, whole, 1e-13, 1e-9)


@given(
    y=windows(whole=True),
    x=windows(whole=True),
    reflect=st.booleans(),
    y_cuts=cuts,
    x_cuts=cuts,
    data=st.data(),
)
def test_whole_zooms_are_exact_in_any_parts(y, x, reflect, y_cuts, x_cuts, data):
    image = draw_image(data, y, x, np.uint16)
    y_cuts, x_cuts = [c for c in y_cuts if c < y[3]], [c for c in x_cuts if c < x[3]]
    found = in_parts(image, y[:3], x[:3], reflect, y_cuts, x_cuts)
    for sums, plane in zip(found, image, strict=True):
        wide = np.pad(plane.astype(int), BEYOND, mode="reflect" if reflect else "constant")
        for i in range(y[2]):
            for j in range(x[2]):
                top, left = y[0] + i * y[1] + BEYOND, x[0] + j * x[1] + BEYOND
                assert sums[i, j] == wide[top : top + y[1], left : left + x[1]].sum()


@given(window=windows(), reflect=st.booleans())
def test_taps_of_an_axis(window, reflect):
    origin, zoom, n_out, length = window
    taps = area_taps(origin, zoom, n_out, length, reflect)
    assert ((taps.index >= 0) == (taps.weight > 0)).all()
    assert taps.index.max() < length
    first, last = span(taps)
    held = taps.index[taps.index >= 0]
    assert (first, last) == ((held.min(), held.max() + 1) if held.size else (0, 0))
    inside = overlaps(origin, zoom, n_out, length)
    if not reflect:
        inside = inside[:, BEYOND : BEYOND + length]
    np.testing.assert_allclose(taps.weight.sum(axis=1), inside.sum(axis=1), atol=1e-9)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("ratio", [2, 3, 4, 5, 8])
def test_whole_ratios_are_those_of_opencv(dtype, ratio):
    rng = np.random.default_rng(ratio)
    image = rng.integers(0, np.iinfo(dtype).max, (2, 40 * ratio, 30 * ratio), endpoint=True)
    image = image.astype(dtype)
    acc = in_parts(image, (0, ratio, 40), (0, ratio, 30), reflect=False, y_cuts=[7, 100 % ratio])
    found = finish(acc, ratio**2, dtype)
    assert found.dtype == dtype
    for plane, ours in zip(image, found, strict=True):
        theirs = cv2.resize(plane, (30, 40), interpolation=cv2.INTER_AREA)
        if ratio == 2:  # where OpenCV rounds halves up
            np.testing.assert_allclose(ours, theirs, atol=1)
            theirs = np.rint(plane.reshape(40, 2, 30, 2).mean(axis=(1, 3)))
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("length", "n_out"), [(100, 37), (64, 63), (1000, 256)])
def test_other_ratios_are_those_of_opencv_but_its_single_precision(length, n_out):
    image = np.random.default_rng(0).integers(0, 60000, (1, length, length)).astype(np.uint16)
    zoom = length / n_out
    means = finish(in_parts(image, *[(0, zoom, n_out)] * 2, False), zoom * zoom, np.float64)
    theirs = cv2.resize(image[0].astype(float), (n_out, n_out), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(means[0], theirs, rtol=1e-5)


@pytest.mark.parametrize("cut", [[], [5], [4, 8]])
def test_what_is_not_finite_stays_where_it_lies(cut):
    image = np.ones((1, 12, 12), np.float32)
    image[0, 4, 7], image[0, 9, 0] = np.nan, np.inf
    acc = in_parts(image, (0, 1.5, 8), (0, 2.5, 4), reflect=False, y_cuts=cut)[0]
    # Row 4 lies under output rows 2 (3 to 4.5) and 3; column 7 under 2 (5 to 7.5) and 3.
    assert np.argwhere(np.isnan(acc)).tolist() == [[2, 2], [2, 3], [3, 2], [3, 3]]
    assert np.argwhere(np.isinf(acc)).tolist() == [[6, 0]]
    assert np.isfinite(acc).sum() == 8 * 4 - 5


def test_rounding_does_not_touch_the_next_pixel():
    assert 25 * 2.2 > 55.0  # by 7e-15
    assert span(area_taps(0, 2.2, 25, 99, reflect=False)) == (0, 55)
    taps = area_taps(7.0000000001, 2.0000000001, 4, 99, reflect=False)
    assert span(taps) == (7, 15)
    assert set(taps.weight.ravel()) <= {0.0, 1.0}


@given(zoom=st.floats(1, 9), origin=st.floats(-20, 20), value=st.integers(0, 65535))
def test_a_constant_image_stays_constant(zoom, origin, value):
    image = np.full((1, 40, 40), value, np.uint16)
    acc = in_parts(image, (origin, zoom, 5), (origin, zoom, 5), reflect=True, y_cuts=[13])
    assert (finish(acc, zoom * zoom, np.uint16) == value).all()


def test_planes_are_weighted():
    planes = np.random.default_rng(0).integers(0, 1000, (3, 1, 8, 8)).astype(np.uint16)
    taps, acc = area_taps(0, 2, 4, 8, reflect=False), np.zeros((1, 4, 4))
    for plane, weight in zip(planes, (0.5, 1.0, 0.25), strict=True):
        add_area(acc, plane, 0, 0, taps, taps, weight)
    whole = np.average(planes[:, 0], axis=0, weights=(0.5, 1.0, 0.25))
    expected = whole.reshape(4, 2, 4, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(finish(acc, 4 * 1.75, np.float64)[0], expected, rtol=1e-12)


def test_a_part_beside_the_window_adds_nothing():
    taps, acc = area_taps(4, 2, 3, 100, reflect=False), np.zeros((1, 3, 3))
    for y0, x0 in [(0, 4), (4, 10), (50, 50)]:
        add_area(acc, np.full((1, 4, 4), 9, np.uint8), y0, x0, taps, taps)
    assert not acc.any()


def test_halves_are_rounded_to_even_once():
    sums = np.array([1.0, 3.0, 5.0, -1.0, -3.0, 2.999])
    np.testing.assert_array_equal(finish(sums, 2, np.int16), [0, 2, 2, 0, -2, 1])
    assert finish(sums, 2, np.float32).dtype == np.float32


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "int64", "uint64"])
def test_means_stay_in_the_range_of_the_type(dtype):
    info = np.iinfo(dtype)
    found = finish(np.array([-1e30, 1e30, float(info.max)]), 1, dtype)
    assert int(found[0]) == info.min
    # The largest numbers that float64 has within 64 bits.
    assert info.max - 2048 < int(found[1]) <= info.max
    assert found[2] == found[1]


@pytest.mark.parametrize("zoom", [0.99, 0.0, -1.0, float("nan")])
def test_it_makes_nothing_larger(zoom):
    with pytest.raises(ValueError, match=f"zoom is {zoom}; .* give 1 or more"):
        area_taps(0, zoom, 4, 10, reflect=False)
