"""Illumination: the given case against NumPy in float64, and profiles at any place of a field."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from patchmill.tasks.image import ImageOptions
from patchmill.tasks.profile import Profile, profile_of, terms
from patchmill.tasks.reference import Reference, ReferenceImageError
from patchmill.tasks.step import Window, run_steps
from patchmill.tasks.step_illumination import Illumination, gain_of
from patchmill.tasks.survey import describe

SHAPE = (40, 53)
ALL = (slice(None), slice(None), slice(None))


@pytest.fixture
def reference(tmp_path):
    """Return a function that writes a reference image and describes its channels."""

    def make(name, pixels, axes="YX"):
        path = tmp_path / name
        tifffile.imwrite(path, pixels, metadata={"axes": axes}, ome=True)
        info = describe(str(path), ImageOptions(), content=True)
        return [
            Reference(str(path), info.members, info.identity, channel, ImageOptions())
            for channel in range(info.shape[1])
        ]

    return make


@pytest.fixture
def field():
    rng = np.random.default_rng(0)
    raw = rng.integers(90, 60_000, (2, 3, *SHAPE)).astype(np.uint16)
    flat = rng.integers(2000, 50_000, (2, *SHAPE)).astype(np.uint16)
    dark = rng.integers(95, 130, (2, *SHAPE)).astype(np.uint16)
    return raw, flat, dark


def expected(raw, flat, dark, pedestal):
    """The formula, in float64, of whole images."""
    light = flat.astype(np.float64) - dark
    mean = light.mean(axis=(-2, -1), keepdims=True)
    return (raw - np.float64(dark)) / light * mean + pedestal


def run(step, raw):
    window = Window(0, 0, SHAPE, ALL)
    found, _ = run_steps([step], raw.astype(np.float32), window)
    return found


def test_given_references_are_the_formula(reference, field):
    raw, flat, dark = field
    flats = reference("flat.ome.tif", flat, "CYX")
    step = Illumination(tuple(flats), (*reference("d.ome.tif", dark[1]), 101.5), 100.0)
    found = run(pickle.loads(pickle.dumps(step)), raw)
    assert found.dtype == np.float32
    for channel, own in enumerate((dark[1], 101.5)):
        wanted = expected(raw[channel], flat[channel], own, 100)
        np.testing.assert_allclose(found[channel], wanted, rtol=4e-7)
        assert np.abs(np.rint(found[channel]) - np.rint(wanted)).max() <= 1
        assert (np.rint(found[channel]) == np.rint(wanted)).mean() > 0.99


def test_planes_of_a_reference_are_averaged(reference, field):
    raw, _, _ = field
    stack = np.random.default_rng(1).integers(500, 60_000, (2, 3, *SHAPE)).astype(np.uint16)
    step = Illumination(tuple(reference("stack.ome.tif", stack, "TZYX")), (100.0,))
    wanted = expected(raw[:1], stack.mean(axis=(0, 1)), 100.0, 0)
    np.testing.assert_allclose(run(step, raw[:1]), wanted, rtol=4e-7)


@given(y=st.integers(-30, 60), x=st.integers(-30, 60), size=st.tuples(*[st.integers(1, 90)] * 2))
def test_a_window_is_a_window_of_the_mirrored_image(y, x, size):
    """Wherever it lies, and however far it reaches beyond the image."""
    profile = Profile(SHAPE, ((0.1, -0.3, 0.2), (0.2, 0.05), (-0.4,)))
    step = Illumination((profile,), (7.0,), 3.0)
    raw = np.random.default_rng(2).uniform(0, 1000, (1, 1, *SHAPE)).astype(np.float32)
    whole = run(step, raw)
    width = ((0, 0), (0, 0), (200, 200), (200, 200))
    cut = (slice(None), slice(None), slice(200 + y, 200 + y + size[0]))
    cut = (*cut, slice(200 + x, 200 + x + size[1]))
    pixels = np.ascontiguousarray(np.pad(raw, width, "reflect")[cut])
    found, _ = run_steps([step], pixels, Window(y, x, SHAPE, ALL))
    np.testing.assert_array_equal(found, np.pad(whole, width, "reflect")[cut])


def test_a_profile_is_its_polynomials():
    from numpy.polynomial import legendre

    degree = 3
    values = np.random.default_rng(3).normal(0, 0.2, len(terms(degree)))
    profile = profile_of(SHAPE, values)
    matrix = np.zeros((degree + 1, degree + 1))
    for (i, j), value in zip(terms(degree), values, strict=True):
        matrix[i, j] = value
    y, x = ((2 * np.arange(n) + 1) / n - 1 for n in SHAPE)
    wanted = np.exp(legendre.leggrid2d(y, x, matrix))
    np.testing.assert_allclose(profile.values(), wanted, rtol=1e-6)


def test_the_gain_keeps_the_mean_of_flat_and_is_made_once():
    profile = Profile(SHAPE, ((0.0, 0.2), (0.1,)))
    gain = gain_of(profile, 0.0)
    assert gain is gain_of(pickle.loads(pickle.dumps(profile)), 5.0)
    light = profile.values().astype(np.float64)
    np.testing.assert_allclose(gain * light, light.mean(), rtol=1e-6)
    assert Illumination((profile,), (0.0,)).halo_px == 0


def test_a_large_profile_is_made_in_bands(monkeypatch):
    profile = Profile(SHAPE, ((0.0, 0.2, 0.1), (0.1, -0.1), (0.3,)))
    whole = profile.values()
    monkeypatch.setattr("patchmill.tasks.profile.BAND_PX", 100)
    np.testing.assert_array_equal(profile.values(), whole)


def test_a_reference_that_changed_is_refused(reference, field, tmp_path):
    (own,) = reference("flat.ome.tif", field[1][0])
    tifffile.imwrite(tmp_path / "flat.ome.tif", np.ones((8, 8), np.uint16))
    with pytest.raises(ReferenceImageError, match="changed since"):
        gain_of(own, 100.0)
