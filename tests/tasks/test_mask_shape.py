"""Mended masks against scikit-image's closing and small objects, and against plain sets."""

import numpy as np
import pytest
from skimage.measure import label, regionprops
from skimage.morphology import disk, isotropic_closing

from patchmill.tasks.mask_shape import mend


@pytest.fixture
def mask(rng):
    return rng.random((61, 83)) < 0.2


@pytest.mark.parametrize("radius", [1, 2.5, 4])
def test_gaps_are_closed_with_a_disc(mask, radius):
    padded = np.pad(mask, 20)
    expected = isotropic_closing(padded, radius)[20:-20, 20:-20]
    inner = (slice(5, -5),) * 2
    np.testing.assert_array_equal(mend(mask, radius, 0, 0)[inner], expected[inner])
    assert (mend(mask, radius, 0, 0) >= mask).all()


def test_a_gap_at_the_edge_does_not_open():
    mask = np.zeros((20, 20), bool)
    mask[:, :3] = True
    np.testing.assert_array_equal(mend(mask, 5, 0, 0), mask)


@pytest.mark.parametrize("area", [2, 5, 11])
def test_small_objects_are_left_out(mask, area):
    expected = np.zeros_like(mask)
    for own in regionprops(label(mask, connectivity=2)):
        if own.area >= area:
            expected[tuple(own.coords.T)] = True
    np.testing.assert_array_equal(mend(mask, 0, area, 0), expected)


@pytest.mark.parametrize("area", [1, 4, 30])
def test_small_holes_are_filled_that_do_not_reach_the_edge(mask, area):
    expected = mask.copy()
    for own in regionprops(label(~mask, connectivity=1)):
        top, left, bottom, right = own.bbox
        if own.area <= area and top and left and bottom < 61 and right < 83:
            expected[tuple(own.coords.T)] = True
    np.testing.assert_array_equal(mend(mask, 0, 0, area), expected)


def test_nothing_and_everything_stay():
    for value in (False, True):
        mask = np.full((9, 9), value)
        np.testing.assert_array_equal(mend(mask, 3, 4, 4), mask)


def test_a_ring_is_closed_before_it_is_too_small():
    ring = np.zeros((15, 15), bool)
    ring[4:11, 4:11] = np.pad(disk(3).astype(bool), 0)
    ring[6:9, 6:9] = False
    assert mend(ring, 2, 25, 0)[7, 7]
