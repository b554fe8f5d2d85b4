"""Steps on windows of an image against the same steps on all of it, before and after geometry."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patchmill.tasks import mirrored, region_windows
from patchmill.tasks.image import ImageOptions
from patchmill.tasks.patches import cut_counted, cut_patches
from patchmill.tasks.resolution import Resolution
from patchmill.tasks.source import ImageSteps

SHAPE = (37, 53)


@dataclass(frozen=True)
class Box:
    """The sum over a square of 2r + 1 pixels: whole numbers, so that nothing rounds."""

    r: int

    @property
    def halo_px(self):
        return self.r

    def __call__(self, pixels, window):
        kernel = np.ones((2 * self.r + 1,) * 2, np.float32)
        planes = pixels.reshape(-1, *pixels.shape[2:])
        done = [cv2.filter2D(plane, -1, kernel) for plane in planes]
        return np.stack(done).reshape(pixels.shape)


@dataclass(frozen=True)
class Place:
    """Adds a number that depends on where in the image a pixel lies, mirrored beyond it."""

    halo_px: int = 0

    def __call__(self, pixels, window):
        height, width = window.shape
        y, x = (
            np.pad(np.arange(length), 200, mode="reflect")[200 + first :][:n]
            for length, first, n in (
                (height, window.y, pixels.shape[2]),
                (width, window.x, pixels.shape[3]),
            )
        )
        return pixels + (3 * y[:, None] + 7 * x).astype(np.float32)


@dataclass(frozen=True)
class Own:
    """Marks the pixels that are the patch's own."""

    halo_px: int = 0
    is_of_patch: bool = True

    def __call__(self, pixels, window):
        pixels[...] = 0
        pixels[:, *window.own] = 1
        return pixels


def whole(image, steps):
    """Do steps on all of an image (c, z, y, x), which goes on as its mirror image."""
    for step in steps:
        if isinstance(step, Box):
            r = step.r
            wide = np.pad(image, ((0, 0), (0, 0), (r, r), (r, r)), mode="reflect")
            image = sum(
                wide[:, :, i : i + image.shape[2], j : j + image.shape[3]]
                for i in range(2 * r + 1)
                for j in range(2 * r + 1)
            )
        else:
            y, x = np.ogrid[: image.shape[2], : image.shape[3]]
            image = image + 3 * y + 7 * x
    return image.astype(np.float64)


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 90, (2, 3, *SHAPE)).astype("uint16")


@pytest.fixture
def source(tmp_path, described, pixels):
    path = tmp_path / "a.ome.tif"
    options = {"metadata": {"axes": "CZYX"}, "photometric": "minisblack"}
    tifffile.imwrite(path, pixels, tile=(16, 16), **options)
    return described(path).source


def stepped(source, before=(), after=()):
    return replace(source, steps=ImageSteps(tuple(before), tuple(after)))


CHAIN = (Place(), Box(1), Place(), Box(3))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    y=st.integers(0, SHAPE[0] - 1),
    x=st.integers(0, SHAPE[1] - 1),
    z=st.integers(0, 2),
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    margin=st.integers(0, 9),
)
def test_a_window_is_that_of_the_whole_image(source, pixels, patch_spec, y, x, z, size, margin):
    spec = patch_spec("float64", channels=2, size=(1, *size), margin_px=margin)
    corners = np.array([[0, z, y, x], [0, (z + 1) % 3, 0, 0]])
    found = cut_patches(stepped(source, after=CHAIN), ImageOptions(), corners, spec)
    done = np.pad(whole(pixels, CHAIN), ((0, 0), (0, 0), (50, 50), (50, 50)), mode="reflect")
    for patch, (_, plane, top, left) in zip(found, corners.tolist(), strict=True):
        rows = slice(50 + top - margin, 50 + top + size[0] + margin)
        columns = slice(50 + left - margin, 50 + left + size[1] + margin)
        np.testing.assert_array_equal(patch, done[:, plane, rows, columns])


def test_what_pads_is_no_matter_of_steps(source, pixels, patch_spec):
    spec = patch_spec("float32", channels=2, size=(1, 16, 16), margin_px=2, pad=-5)
    corners = np.array([[0, 1, 30, 45], [0, 0, -4, -6]])
    found = cut_patches(stepped(source, after=CHAIN), ImageOptions(), corners, spec)
    done = whole(pixels, CHAIN)
    wide = np.pad(done, ((0, 0), (0, 0), (20, 20), (20, 20)), constant_values=-5)
    np.testing.assert_array_equal(found[0], wide[:, 1, 48:68, 63:83])
    np.testing.assert_array_equal(found[1], wide[:, 0, 14:34, 12:32])


def test_own_pixels_are_neither_border_nor_padding(source, patch_spec):
    spec = patch_spec(channels=2, size=(1, 16, 16), margin_px=2)
    corners = np.array([[0, 1, 30, 45], [0, 0, -4, -6]])
    chain = (Box(1), Own())
    found = cut_patches(stepped(source, after=chain), ImageOptions(), corners, spec)
    expected = np.zeros((2, 2, 20, 20))
    expected[0, :, 2:9, 2:10] = 1
    expected[1, :, 6:18, 8:18] = 1
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("batch_bytes", [1, 1 << 26])
@pytest.mark.parametrize("project", ["max", "mean"])
def test_steps_before_planes_are_projected(
    source, pixels, patch_spec, monkeypatch, project, batch_bytes
):
    monkeypatch.setattr(mirrored, "BATCH_BYTES", batch_bytes)
    spec = patch_spec("float64", channels=2, size=(1, 20, 20), margin_px=3, project_z=project)
    corners = np.array([[0, 0, 0, 0], [0, 0, 17, 33], [0, 0, 5, 9]])
    found = cut_patches(stepped(source, CHAIN, (Box(1),)), ImageOptions(), corners, spec)
    planes = whole(pixels, CHAIN)
    one = planes.max(axis=1) if project == "max" else planes.mean(axis=1).astype(np.float32)
    done = whole(one[:, None], (Box(1),))[:, 0]
    done = np.pad(done, ((0, 0), (9, 9), (9, 9)), mode="reflect")
    for patch, (_, _, y, x) in zip(found, corners.tolist(), strict=True):
        expected = done[:, y + 6 : y + 32, x + 6 : x + 32]
        np.testing.assert_allclose(patch, expected, rtol=1e-6 if project == "mean" else 0)


def test_steps_before_pixels_are_rescaled(source, pixels, patch_spec):
    resolution = Resolution(0, (3, *SHAPE), (1.0, 2.0, 2.0), (1.0, 2.0, 2.0))
    kind = replace(source.kind, resolution=resolution)
    source = replace(stepped(source, CHAIN), kind=kind)
    spec = patch_spec("float64", channels=2, size=(1, 8, 8), margin_px=1)
    corners = np.array([[0, 2, 0, 0], [0, 1, 20, 36]])
    found = cut_patches(source, ImageOptions(), corners, spec)
    done = whole(pixels, CHAIN)[:, :, :36, :52]
    small = done.reshape(2, 3, 18, 2, 26, 2).mean(axis=(3, 5))
    np.testing.assert_allclose(found[0][:, 1:, 1:], small[:, 2, :9, :9], rtol=1e-6)
    np.testing.assert_allclose(found[1][:, :9, :9], small[:, 1, 9:18, 17:26], rtol=1e-6)


def test_clipped_pixels_are_counted(source, pixels, patch_spec):
    @dataclass(frozen=True)
    class Shift:
        halo_px: int = 0

        def __call__(self, pixels, window):
            return pixels * 20 - 700

    spec = patch_spec("uint8", channels=2, size=(1, 16, 16), margin_px=4)
    corners = np.array([[0, 0, 28, 40]])
    found, clipped = cut_counted(stepped(source, after=(Shift(),)), ImageOptions(), corners, spec)
    own = pixels[:, 0, 28:, 40:].astype(int) * 20 - 700
    expected = [[(plane < 0).sum(), (plane > 255).sum()] for plane in own]
    assert clipped[0].tolist() == expected
    np.testing.assert_array_equal(found[0][:, 4:13, 4:17], own.clip(0, 255))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    corners=st.lists(
        st.tuples(
            st.integers(0, 2), st.integers(-20, SHAPE[0] - 1), st.integers(-20, SHAPE[1] - 1)
        ),
        min_size=1,
        max_size=30,
    ),
    cell=st.integers(1, 40),
    tail=st.sampled_from([(), (Place(),), (Own(),), (Own(), Box(2))]),
    batch_bytes=st.sampled_from([1, 20_000, 1 << 26]),
)
def test_windows_out_of_one_region(
    source, pixels, patch_spec, size, corners, cell, tail, batch_bytes
):
    """However windows are shared out among regions; what is the patch's own stays so."""
    corners = [(0, z, y, x) for z, y, x in corners if y + size[0] > 0 and x + size[1] > 0] or [
        (0, 0, 0, 0)
    ]
    spec = patch_spec("float64", channels=2, size=(1, *size), margin_px=2)
    chain = (*CHAIN, *tail)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(region_windows, "cell_px", lambda size: cell)
        patch.setattr(mirrored, "BATCH_BYTES", batch_bytes)
        found = cut_patches(stepped(source, after=chain), ImageOptions(), np.array(corners), spec)
        found = found.copy()
    alone = [
        cut_patches(stepped(source, after=chain), ImageOptions(), np.array([corner]), spec)[
            0
        ].copy()
        for corner in corners
    ]
    np.testing.assert_array_equal(found, alone)
    if not tail:
        done = np.pad(whole(pixels, CHAIN), ((0, 0), (0, 0), (50, 50), (50, 50)), mode="reflect")
        for patch, (_, z, y, x) in zip(found, corners, strict=True):
            rows, columns = slice(48 + y, 52 + y + size[0]), slice(48 + x, 52 + x + size[1])
            np.testing.assert_array_equal(patch, done[:, z, rows, columns])
