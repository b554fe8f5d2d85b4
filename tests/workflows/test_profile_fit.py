"""Profiles are found from fields of cells, empty and saturated ones and debris among them."""

from __future__ import annotations

import numpy as np
import pytest

from patchmill.tasks.thumbnails import BLOCKS
from patchmill.workflows.profile_fit import fit_profile

SIDE, DARK = 256, 100
LIGHTS = {
    # The vignette of a lens (cos^4), off the middle.
    "cos4": lambda y, x: 1 / (1 + 0.35 * ((y - 0.2) ** 2 + (x + 0.15) ** 2)) ** 2,
    "gauss": lambda y, x: np.exp(-((y + 0.3) ** 2 / 1.2 + (x - 0.25) ** 2 / 1.6)),
    "tilt": lambda y, x: 1 + 0.4 * x - 0.25 * y,
    "flat": lambda y, x: 1 + 0 * x * y,
}


def light_of(kind):
    at = (np.arange(SIDE) + 0.5) / SIDE * 2 - 1
    light = LIGHTS[kind](at[:, None], at[None])
    return light / light.mean()


def fields_of(light, count=100, seed=1):
    """Fields of cells on a background; every tenth is empty, others saturated or with debris."""
    rng = np.random.default_rng(seed)
    at = np.arange(SIDE)
    for number in range(count):
        bright = np.ones((SIDE, SIDE))
        for _ in range(rng.integers(10, 60)):
            y, x, radius = *rng.uniform(0, SIDE, 2), rng.uniform(3, 12)
            down, across = (np.exp(-((at - place) ** 2) / radius**2) for place in (y, x))
            bright += rng.lognormal(0.5, 0.7) * np.outer(down, across)
        seen = bright * (0 if number % 10 == 3 else rng.lognormal(5.5, 0.5))
        if number % 12 == 5:
            seen *= 5000
        if number % 7 == 2:
            y, x = rng.integers(0, SIDE - 40, 2)
            seen[y : y + 40, x : x + 40] += 1e6
        counts = rng.poisson(seen * light) + DARK + rng.normal(0, 4, seen.shape)
        yield np.clip(np.rint(counts), 0, 65535).astype(np.uint16)


def thumbnails(fields):
    """Block means without saturated pixels, by NumPy."""
    found = []
    for field in fields:
        blocks = field.reshape(BLOCKS, SIDE // BLOCKS, BLOCKS, SIDE // BLOCKS).astype(float)
        full = blocks == 65535
        count = np.maximum((~full).sum(axis=(1, 3)), 1)
        means = np.where(full, 0, blocks).sum(axis=(1, 3)) / count
        found.append(np.where(full.mean(axis=(1, 3)) > 0.01, np.inf, means))
    return np.stack(found)


@pytest.mark.parametrize("kind", LIGHTS)
def test_a_profile_is_found_within_two_percent(kind):
    light = light_of(kind)
    fit = fit_profile(thumbnails(fields_of(light)) - DARK, (SIDE, SIDE), 4)
    found = fit.profile.values()
    error = found / found.mean() / light - 1
    assert np.sqrt(np.mean(error**2)) < 0.01  # asked for are 2 %
    assert np.abs(error).max() < 0.05
    assert (fit.empty, fit.saturated) == (10, 8 - 1)  # one of them is empty too
    assert fit.used == 100 - fit.empty - fit.saturated
    if kind != "flat":
        # What it began with is far from flat.
        assert light.std() > 0.1


def test_fields_in_another_order_have_the_same_profile():
    fields = thumbnails(fields_of(light_of("gauss"), 20)) - DARK
    one, other = (fit_profile(own, (SIDE, SIDE), 4) for own in (fields, fields[::-1]))
    np.testing.assert_allclose(one.profile.values(), other.profile.values(), rtol=1e-5)


def test_dust_on_the_camera_does_not_bend_the_profile():
    """Some blocks are dark in every field: the profile passes over them."""
    light = light_of("gauss")
    fields = thumbnails(fields_of(light, 40)) - DARK
    clean = fit_profile(fields, (SIDE, SIDE), 4).profile.values()
    fields[:, 30:34, 30:36] *= 0.3
    dusty = fit_profile(fields, (SIDE, SIDE), 4).profile.values()
    assert np.abs(dusty / clean - 1).max() < 0.01


def test_places_that_no_field_shows_are_passed_over():
    light = light_of("gauss")
    fields = thumbnails(fields_of(light, 40)) - DARK
    whole = fit_profile(fields, (SIDE, SIDE), 4).profile.values()
    fields[:, :3] = np.nan
    fields[::2, 40:44] = np.nan
    found = fit_profile(fields, (SIDE, SIDE), 4).profile.values()
    assert np.abs(found / whole - 1).max() < 0.03


def test_nothing_is_made_of_fields_without_light():
    empty = np.zeros((40, BLOCKS, BLOCKS))
    assert fit_profile(empty, (SIDE, SIDE), 4) is None
    assert fit_profile(np.full_like(empty, np.inf), (SIDE, SIDE), 4) is None
    assert fit_profile(np.full_like(empty, np.nan), (SIDE, SIDE), 4) is None
    assert fit_profile(empty - 5, (SIDE, SIDE), 4) is None
