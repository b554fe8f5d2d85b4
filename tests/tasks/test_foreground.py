"""Foreground masks against scikit-image on the whole image, and fractions against plain loops."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.ndimage import generic_filter
from skimage import filters

from patchmill.tasks.annotation import AnnotationField
from patchmill.tasks.contrast import is_separated
from patchmill.tasks.foreground import Foreground, foreground_mask
from patchmill.tasks.foreground_scores import score_foreground, sketch_images
from patchmill.tasks.foreground_signals import local_std, saturation_of
from patchmill.tasks.foreground_windows import ForegroundMask
from patchmill.tasks.resolution import Resolution, as_level, rescaled
from patchmill.tasks.sketch import sketch
from patchmill.tasks.source import SourceError

SIZE = (1, 16, 16)


@pytest.fixture
def cells(rng):
    """A field of 96 x 130 with bright discs on noise, uint16."""
    pixels = np.zeros((96, 130))
    y, x = np.ogrid[:96, :130]
    for _ in range(6):
        centre = rng.integers(8, 90, 2)
        pixels[(y - centre[0]) ** 2 + (x - centre[1]) ** 2 < 49] = rng.uniform(200, 900)
    return (rng.poisson(100 + pixels) + rng.normal(50, 3, pixels.shape)).round().astype(np.uint16)


@pytest.fixture
def with_foreground(tmp_path, described):
    """Return a function that writes an image, and says how its mask is made."""

    def make(pixels, method="otsu", zoom=1, axes=None, name="a.npy", **changes):
        np.save(tmp_path / name, pixels)
        file = described(tmp_path / name, axes or "TCZYX"[-pixels.ndim :])
        own = file.source.kind.resolution
        scale = (1.0, float(zoom), float(zoom))
        options = {
            "resolution": Resolution(0, own.shape, scale, scale),
            "segment": file.source.kind.segment,
            "channels": (0,),
            **changes,
        }
        foreground = Foreground(method=method, **options)
        file.source = replace(file.source, foreground=foreground)
        return file

    return make


def windows(height, width, size=16, t=0, z=0):
    """Windows of a grid that sticks out, int64, shape (n, 4)."""
    return np.array(
        [(t, z, y, x) for y in range(0, height, size) for x in range(0, width, size)], np.int64
    )


def scored(file, corners, size=SIZE):
    (found,) = score_foreground([file.source], [corners], size, file.options)
    assert not isinstance(found, str), found
    return found


def shares(mask, corners, size=16):
    return [mask[y : y + size, x : x + size].mean() for _, _, y, x in corners.tolist()]


METHODS = {
    "otsu": filters.threshold_otsu,
    "li": filters.threshold_li,
    # In 256 bins of one width, as scikit-image has fractions.
    "triangle": lambda pixels: filters.threshold_triangle(pixels.astype(float)),
}


@pytest.mark.parametrize("method", METHODS)
def test_an_automatic_mask_is_that_of_scikit_image(cells, with_foreground, method):
    file, corners = with_foreground(cells, method), windows(*cells.shape)
    found = scored(file, corners)
    expected = METHODS[method](cells)
    assert found.thresholds == pytest.approx((expected,))
    np.testing.assert_allclose(found.fractions, shares(cells > expected, corners), atol=1e-6)
    file.source = replace(
        file.source, foreground=replace(file.source.foreground, thresholds=found.thresholds)
    )
    mask = foreground_mask(file.source, file.options)
    np.testing.assert_array_equal(mask.mask[0], cells > expected)


def test_a_percentile_is_numpys(cells, with_foreground):
    file = with_foreground(cells, "percentile", percentile=93.0)
    assert scored(file, windows(*cells.shape)).thresholds == (np.percentile(cells, 93),)


def test_a_stated_threshold_is_taken_whatever_the_image_is(rng, with_foreground):
    noise = rng.poisson(100, (64, 64)).astype(np.uint16)
    found = scored(with_foreground(noise, "fixed", thresholds=(110.0,)), windows(64, 64))
    np.testing.assert_allclose(found.fractions, shares(noise > 110, windows(64, 64)), atol=1e-6)


def test_dark_things_are_below_the_threshold(cells, with_foreground):
    negative = 5000 - cells
    bright, dark = (
        scored(with_foreground(pixels, "fixed", thresholds=(value,), is_dark=is_dark), corners)
        for pixels, value, is_dark in ((cells, 300.0, False), (negative, 4700.0, True))
        for corners in [windows(*cells.shape)]
    )
    np.testing.assert_array_equal(bright.fractions, dark.fractions)
    automatic = scored(with_foreground(negative, "otsu", is_dark=True), windows(*cells.shape))
    assert automatic.fractions.max() > 0.5
    assert automatic.fractions.mean() < 0.3


@pytest.mark.parametrize("method", [*METHODS, "percentile"])
@pytest.mark.parametrize("is_dark", [False, True])
def test_noise_has_no_foreground(rng, with_foreground, method, is_dark):
    for seed, photons in enumerate((0.1, 5, 300)):
        noise = np.random.default_rng(seed).poisson(photons, (120, 120)) + rng.normal(
            100, 2, (120, 120)
        )
        file = with_foreground(noise.round().astype(np.uint16), method, is_dark=is_dark)
        found = scored(file, windows(120, 120))
        assert found.thresholds == (-math.inf if is_dark else math.inf,)
        assert not found.fractions.any()


@pytest.mark.parametrize("zoom", [1, 3])
def test_noise_has_no_foreground_by_its_standard_deviation_or_when_shrunk(
    rng, with_foreground, zoom
):
    noise = rng.poisson(200, (300, 300)).astype(np.uint16)
    for method, radius in (("local_std", 4), ("otsu", 1)):
        file = with_foreground(noise, method, zoom, radius=radius)
        assert not scored(file, windows(300, 300)).fractions.any()


def test_limits_of_thresholds(cells, with_foreground):
    corners, alone = windows(*cells.shape), with_foreground(cells)
    otsu = scored(alone, corners).thresholds[0]
    raised = scored(with_foreground(cells, min_value=otsu + 50), corners)
    lowered = scored(with_foreground(cells, max_value=otsu - 50), corners)
    assert (raised.thresholds, lowered.thresholds) == ((otsu + 50,), (otsu - 50,))
    # All of it is brighter than what is foreground for certain.
    full = np.full_like(cells, 900)
    assert (scored(with_foreground(full, max_value=500.0), corners).fractions == 1).all()


def test_any_of_several_channels(cells, with_foreground):
    both = np.stack([cells, np.roll(cells, 40, 1)])
    file, corners = with_foreground(both, axes="CYX", channels=(0, 1)), windows(*cells.shape)
    expected = np.logical_or(*(one > filters.threshold_otsu(one) for one in both))
    np.testing.assert_allclose(
        scored(file, corners).fractions, shares(expected, corners), atol=1e-6
    )


def test_a_channel_of_noise_adds_nothing(cells, rng, with_foreground):
    noise = rng.poisson(100, cells.shape).astype(np.uint16)
    file, corners = (
        with_foreground(np.stack([noise, cells]), axes="CYX", channels=(0, 1)),
        windows(96, 130),
    )
    found = scored(file, corners)
    assert found.thresholds[0] == math.inf
    alone = scored(with_foreground(cells), corners)
    np.testing.assert_array_equal(found.fractions, alone.fractions)


def test_local_standard_deviation(cells):
    expected = generic_filter(cells.astype(float), np.std, size=7, mode="mirror")
    found = local_std(cells.astype(np.float32), 3)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)


def test_local_standard_deviation_leaves_out_what_is_no_number(cells):
    pixels = cells.astype(np.float32)
    pixels[30:33, 40] = np.nan
    expected = generic_filter(pixels.astype(float), np.nanstd, size=5, mode="mirror")
    np.testing.assert_allclose(local_std(pixels, 2), expected, rtol=1e-4, atol=1e-2)


def test_local_std_finds_texture(rng, with_foreground):
    pixels = np.full((120, 120), 500.0)
    pixels[40:90, 20:80] += rng.normal(0, 60, (50, 60))
    pixels += rng.normal(0, 4, pixels.shape)
    file = with_foreground(pixels.round().astype(np.uint16), "local_std", radius=3)
    found = scored(file, np.array([(0, 0, 50, 40), (0, 0, 100, 100)], np.int64))
    np.testing.assert_array_equal(found.fractions, [1, 0])


def test_saturation_is_opencvs(rng):
    colours = rng.integers(0, 256, (40, 50, 3)).astype(np.float32) / 255
    expected = cv2.cvtColor(colours, cv2.COLOR_RGB2HSV)[..., 1]
    np.testing.assert_allclose(saturation_of(np.moveaxis(colours, -1, 0)), expected, atol=1e-5)


def test_stained_tissue_is_saturated(rng, with_foreground):
    slide = rng.normal(235, 3, (3, 90, 90))
    slide[:, 20:60, 30:80] = rng.normal([[[180]], [[90]], [[150]]], 12, (3, 40, 50))
    pixels = slide.round().clip(0, 255).astype(np.uint8)
    file = with_foreground(pixels, "saturation", axes="CYX", channels=(0, 1, 2))
    found = scored(file, np.array([(0, 0, 30, 40), (0, 0, 70, 0)], np.int64))
    np.testing.assert_allclose(found.fractions, [1, 0], atol=0.01)


some = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@some
@given(
    shape=st.tuples(st.integers(4, 40), st.integers(4, 40)),
    zoom=st.integers(1, 4),
    factor=st.sampled_from([1.0, 1.3, 2.0, 3.7]),
    size=st.integers(1, 20),
    at=st.tuples(st.integers(-10, 40), st.integers(-10, 40)),
    seed=st.integers(0, 99),
)
def test_fractions_are_those_of_a_plain_loop(shape, zoom, factor, size, at, seed):
    height, width = shape
    mask = np.random.default_rng(seed).random((-(-height // zoom), -(-width // zoom))) < 0.4
    made = ForegroundMask(mask[None], np.zeros((1, 1), np.int32), (zoom, zoom), shape)
    resolution = rescaled([(1, *shape)], (1.0, factor, factor))
    assert resolution is not None
    corner = np.array([[0, 0, *at]], np.int64)
    # Where a window is taken as it is, its corner is rounded to whole pixels of the patch.
    (y,), (x,) = (resolution.origins(axis, corner[:, 1 + axis]) for axis in (1, 2))
    steps = 60
    finest = [(np.arange(steps * size) + 0.5) / steps * factor + first for first in (y, x)]
    ys, xs = (own[(own >= 0) & (own < n)] for own, n in zip(finest, shape, strict=True))
    expected = 0.0
    if ys.size and xs.size:
        rows, columns = (ys // zoom).astype(int), (xs // zoom).astype(int)
        expected = mask[rows[:, None], columns].mean()
    (found,) = made.fractions(resolution, corner, (size, size))
    assert found == pytest.approx(expected, abs=0.03)
    pixels = made.pixels(resolution, corner[0], (size, size))
    for i, j in np.ndindex(size, size):
        cy, cx = y + (i + 0.5) * factor, x + (j + 0.5) * factor
        inside = 0 <= cy < height and 0 <= cx < width
        assert pixels[i, j] == (inside and mask[int(cy // zoom), int(cx // zoom)])


def test_fractions_of_whole_pixels_are_exact(cells, with_foreground):
    file = with_foreground(cells, "fixed", thresholds=(200.0,))
    mask = foreground_mask(file.source, file.options)
    corners = windows(*cells.shape, 13)
    expected = shares(cells > 200, corners, 13)
    found = mask.fractions(file.source.kind.resolution, corners, (13, 13))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_shrunk_mask_is_of_block_means(cells, with_foreground):
    file = with_foreground(cells, "fixed", 3, thresholds=(200.0,))
    mask = foreground_mask(file.source, file.options)
    padded = np.pad(cells.astype(float), ((0, 0), (0, 2)), mode="reflect")
    means = padded.reshape(32, 3, 44, 3).mean(axis=(1, 3))
    np.testing.assert_array_equal(mask.mask[0], means.astype(np.float32) > 200)
    assert mask.extent == (96, 130)
    assert mask.scale == (3, 3)


def test_planes_have_masks_of_their_own_and_a_threshold_in_common(cells, with_foreground):
    stack = np.stack([np.stack([cells // 2, cells]), np.stack([cells // 3, cells + 30])])
    file = with_foreground(stack[:, None], "otsu", axes="TCZYX")
    corners = np.concatenate([windows(96, 130, t=t, z=z) for t in range(2) for z in range(2)])
    found = scored(file, corners)
    (threshold,) = found.thresholds
    assert threshold == filters.threshold_otsu(stack)
    expected = [shares(stack[t, z] > threshold, windows(96, 130)) for t in (0, 1) for z in (0, 1)]
    np.testing.assert_allclose(found.fractions, np.concatenate(expected), atol=1e-6)
    file.source = replace(
        file.source, foreground=replace(file.source.foreground, thresholds=(threshold,))
    )
    one = foreground_mask(file.source, file.options, [(1, 0)])
    np.testing.assert_array_equal(one.mask, (stack[1, 0] > threshold)[None])
    own = file.source.kind.resolution
    np.testing.assert_allclose(one.fractions(own, windows(96, 130, t=1), (16, 16)), expected[2])
    with pytest.raises(ValueError, match="no mask was made"):
        one.fractions(own, windows(96, 130), (16, 16))


def test_a_stack_counts_all_its_planes(cells, with_foreground):
    stack = np.stack([cells, cells // 2, cells + 100, cells])
    file = with_foreground(stack, "fixed", thresholds=(200.0,))
    corners = np.array([(0, 0, 16, 16), (0, 1, 30, 50), (0, 2, 80, 120)], np.int64)
    found = scored(file, corners, (2, 16, 16))
    expected = [
        (stack[z : z + 2, y : y + 16, x : x + 16] > 200).mean() for _, z, y, x in corners.tolist()
    ]
    np.testing.assert_allclose(found.fractions, expected, atol=1e-6)
    mask = foreground_mask(file.source, file.options)
    pixels = mask.pixels(file.source.kind.resolution, corners[1], (2, 16, 16))
    np.testing.assert_array_equal(pixels, stack[1:3, 30:46, 50:66] > 200)


def test_projected_planes_have_one_mask(cells, with_foreground):
    stack = np.stack([cells, np.roll(cells, 30, 0), cells // 2])
    file = with_foreground(stack, "otsu", project_z="max")
    found, largest = scored(file, windows(96, 130)), stack.max(axis=0)
    expected = largest > filters.threshold_otsu(largest)
    np.testing.assert_allclose(found.fractions, shares(expected, windows(96, 130)), atol=1e-6)


def test_levels(tmp_path, described, cells):
    path = tmp_path / "pyramid.tif"
    with tifffile.TiffWriter(path) as tif:
        tif.write(np.kron(cells, np.ones((4, 4), np.uint16)), subifds=1, tile=(64, 64))
        tif.write(cells, subfiletype=1, tile=(64, 64))
    file = described(path)
    shapes = [level.shape for level in file.info.levels]
    coarse = as_level(shapes, 1)
    foreground = Foreground(coarse, file.info.levels[1].segment, "otsu", (0,))
    file.source = replace(file.source, foreground=foreground)
    corners = windows(384, 520, 64)
    found = scored(file, corners, (1, 64, 64))
    mask = cells > filters.threshold_otsu(cells)
    expected = shares(np.kron(mask, np.ones((4, 4))), corners, 64)
    np.testing.assert_allclose(found.fractions, expected, atol=1e-6)


class Given:
    """An annotation that is the same everywhere it is asked for."""

    def __init__(self, mask):
        self.mask = mask

    def cut(self, source, options, corners, patch, field, patches):
        assert patches.shape == (len(corners), patch.channels, *patch.size)
        return self.mask[None, None]


@pytest.mark.parametrize(("classes", "counted"), [((), (1, 2)), ((2,), (2,))])
def test_a_given_mask(cells, rng, with_foreground, classes, counted):
    mask = rng.choice(np.array([0, 1, 2, 255], np.uint8), cells.shape)
    field = AnnotationField("masks/tissue", mask.dtype, ((0, "a"), (1, "b"), (2, "c")), 255)
    file = with_foreground(
        cells, "mask", annotation=Given(mask), annotation_field=field, classes=classes, channels=()
    )
    corners = windows(*cells.shape)
    expected = shares(np.isin(mask, counted), corners)
    np.testing.assert_allclose(scored(file, corners).fractions, expected, atol=1e-6)
    np.testing.assert_array_equal(
        foreground_mask(file.source, file.options).mask[0], np.isin(mask, counted)
    )


def test_pixels_that_are_no_numbers_are_no_foreground(cells, with_foreground):
    pixels = cells.astype(np.float32)
    pixels[:40, :40] = np.nan
    found = scored(with_foreground(pixels), windows(*cells.shape))
    expected = filters.threshold_otsu(pixels[np.isfinite(pixels)])
    assert found.thresholds[0] == pytest.approx(expected, rel=0.05)
    assert not found.fractions[[0, 1, 9, 10]].any()
    nothing = scored(with_foreground(np.full((32, 32), np.nan, np.float32)), windows(32, 32))
    assert nothing.thresholds == (math.inf,)


def test_an_image_that_cannot_be_read_says_so(cells, with_foreground, tmp_path):
    file = with_foreground(cells)
    (tmp_path / "a.npy").unlink()
    for found in (
        score_foreground([file.source], [windows(96, 130)], SIZE, file.options),
        sketch_images([file.source], file.options),
    ):
        assert "a.npy: the file is gone" in str(found[0])
    with pytest.raises(SourceError, match="gone"):
        foreground_mask(
            replace(file.source, foreground=replace(file.source.foreground, thresholds=(1.0,))),
            file.options,
        )


def test_a_large_image_takes_the_memory_of_its_thumbnail(tmp_path, described, peak_memory):
    path = tmp_path / "large.tif"
    shape = (12_000, 12_000)
    tifffile.imwrite(
        path,
        (np.zeros((256, 256), np.uint16) for _ in range(47 * 47)),
        shape=shape,
        dtype=np.uint16,
        tile=(256, 256),
        compression="zlib",
    )
    file = described(path)
    zoom = (1.0, 12.0, 12.0)
    file.source = replace(
        file.source,
        foreground=Foreground(
            Resolution(0, (1, *shape), zoom, zoom), file.source.kind.segment, "otsu", (0,)
        ),
    )
    corners = windows(*shape, 256)
    used = peak_memory(lambda: scored(file, corners, (1, 256, 256)))
    assert used < 100e6  # the image holds 288 MB


@pytest.fixture
def peak_memory():
    """Return a function that runs another one and returns the most that NumPy held meanwhile."""
    import tracemalloc

    def run(function):
        tracemalloc.start()
        try:
            function()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    return run


def real_fields(folder):
    fields = folder / "fields"
    return [
        *sorted(fields.glob("faim_imagexpress/**/*_w[124]*.tif")),
        *sorted(fields.glob("cellprofiler_human/images/*.tif")),
        *sorted(fields.glob("bionotebooks_2d/BBBC007_batch/*.tif")),
    ]


def test_real_fields_have_foreground_and_not_all_of_it(data_folder, described):
    paths = [path for path in real_fields(data_folder) if "thumb" not in path.name]
    assert len(paths) > 10
    for path in paths:
        file = described(path)
        kind = file.source.kind
        for method in ("otsu", "triangle"):
            made = Foreground(kind.resolution, kind.segment, method, (0,))
            file.source = replace(file.source, foreground=made)
            found = scored(file, windows(*kind.resolution.shape[1:], 64), (1, 64, 64))
            assert 0.004 < found.fractions.mean() < 0.7, (path.name, method)


def test_a_real_camera_without_light_has_none(data_folder, described):
    (path,) = (data_folder / "fields").glob("**/xy_16bit__bg_camera_downsampled.tif")
    file = described(path)
    for method in METHODS:
        made = Foreground(file.source.kind.resolution, file.source.kind.segment, method, (0,))
        file.source = replace(file.source, foreground=made)
        assert not scored(file, windows(512, 512)).fractions.any()


@pytest.mark.parametrize("radius", [1, 2, 4, 8, 16])
def test_deviations_of_noise_are_not_separated_and_those_of_crowded_cells_are(radius):
    rng = np.random.default_rng(radius)
    noise = rng.poisson(200, (2, 400, 400)).astype(np.float32)
    cells = np.zeros((400, 400), np.uint8)
    for y, x in rng.integers(0, 400, (120, 2)).tolist():
        cv2.circle(cells, (x, y), 9, 1, -1)
    crowded = noise[0] + cells * rng.normal(0, 40, cells.shape).astype(np.float32)
    found = []
    for plane in (*noise, crowded):
        own = sketch(local_std(plane, radius))
        threshold = filters.threshold_otsu(local_std(plane, radius))
        found.append(is_separated(own.values, own.counts, threshold, (2 * radius + 1) ** 2))
    assert found == [False, False, True]
