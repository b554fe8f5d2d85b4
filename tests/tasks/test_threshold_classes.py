"""Classes and objects out of pixels, against scikit-image and plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import measure, morphology

from patchmill.tasks import threshold_classes
from patchmill.tasks.threshold_classes import (
    ClassRules,
    Rule,
    apply_rules,
    components,
    label_objects,
)


def classify(masks, rules):
    return threshold_classes.classify(masks, rules, np.dtype("int8"), -1)


def one_class(**options):
    return ClassRules((Rule(1, 0, above=0.5),), **options)


def masks_of(mask):
    """What `apply_rules` returns of one class, (z, y, x)."""
    return apply_rules(np.asarray(mask, np.float32)[None], one_class())


def same_objects(found, expected):
    """Whether two label maps have the same objects, whatever their numbers."""
    pairs = np.unique(np.stack([found.ravel(), expected.ravel()]), axis=1)
    return (
        ((found > 0) == (expected > 0)).all()
        and len(np.unique(pairs[0])) == pairs.shape[1]
        and len(np.unique(pairs[1])) == pairs.shape[1]
    )


def test_rules_compare_exactly():
    counts = np.array([299, 300, 301, 65535], np.uint16).reshape(1, 1, 1, 4)
    found = apply_rules(counts, ClassRules((Rule(1, 0, above=300.0), Rule(2, 0, 299.5, 65535))))
    assert found.reshape(3, 4).astype(int).tolist() == [[0] * 4, [0, 0, 1, 1], [0, 1, 1, 0]]
    # float32's 0.1 is above 0.1, and float16 holds nothing near 70000.
    for dtype, above, expected in ((np.float32, 0.1, True), (np.float16, 70000.0, False)):
        pixels = np.full((1, 1, 1, 1), 0.1, dtype)
        found = apply_rules(pixels, ClassRules((Rule(1, 0, above=above),)))
        assert bool(found[1]) is expected


def test_nan_cannot_be_told():
    pixels = np.array([[np.nan, 1, 0], [1, np.nan, 0]], np.float32).reshape(2, 1, 1, 3)
    rules = ClassRules((Rule(1, 0, above=0.5),))
    assert classify(apply_rules(pixels, rules), rules).ravel().tolist() == [-1, 1, 0]
    both = ClassRules((Rule(1, 0, above=0.5), Rule(2, 1, above=0.5)))
    assert classify(apply_rules(pixels, both), both).ravel().tolist() == [-1, -1, 0]
    assert label_objects(apply_rules(pixels, both), both).ravel().tolist() == [0, 0, 0]


def test_the_first_class_wins_and_rules_of_a_class_are_joined():
    pixels = np.array([[9, 9, 0, 0], [9, 0, 9, 0], [0, 0, 0, 9]]).reshape(3, 1, 1, 4)
    rules = ClassRules((Rule(2, 0, above=5), Rule(1, 1, above=5), Rule(2, 2, above=5)))
    assert rules.numbers == (2, 1)
    assert classify(apply_rules(pixels, rules), rules).ravel().tolist() == [2, 2, 1, 2]


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(1, 17, 23), (1, 1, 40), (5, 9, 11)]),
    st.booleans(),
    st.integers(0, 6),
)
@settings(max_examples=60, deadline=None)
def test_objects_are_those_of_scikit_image(seed, shape, corners_touch, min_area):
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < rng.uniform(0.1, 0.7)
    expected = measure.label(mask, connectivity=3 if corners_touch else 1)
    labels, areas = components(mask, corners_touch)
    assert same_objects(labels, expected)
    assert areas[1:].tolist() == np.bincount(labels.ravel())[1:].tolist()
    rules = one_class(min_area_px=min_area, corners_touch=corners_touch)
    for number in np.unique(expected)[1:].tolist():
        if (expected == number).sum() < min_area:
            expected[expected == number] = 0
    found = label_objects(masks_of(mask), rules)
    assert same_objects(found, expected)
    # In the order of their first pixels, whoever found them.
    numbers, first = np.unique(found, return_index=True)
    first = first[numbers > 0]
    assert numbers[numbers > 0].tolist() == list(range(1, 1 + len(first)))
    assert (np.diff(first) > 0).all()
    classes = classify(masks_of(mask), rules)
    np.testing.assert_array_equal(classes, expected > 0)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_opening_by_a_disk(seed, radius):
    rng = np.random.default_rng(seed)
    mask = ndimage.binary_dilation(rng.random((40, 50)) < 0.06, iterations=3)
    # Beyond the edges lies nothing that could be eroded from there.
    big = np.pad(mask, 2 * radius, mode="edge")
    expected = morphology.opening(big, morphology.disk(radius))[
        2 * radius : -2 * radius, 2 * radius : -2 * radius
    ]
    found = classify(masks_of(mask[None]), one_class(opening_px=radius))[0]
    inner = (slice(radius, -radius), slice(radius, -radius))
    np.testing.assert_array_equal(found[inner], expected[inner])
    assert not (found & ~mask).any()


@given(st.integers(0, 2**32 - 1), st.sampled_from([(1, 20, 20), (6, 8, 8)]))
@settings(max_examples=40, deadline=None)
def test_holes_are_filled(seed, shape):
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < 0.65
    expected = ndimage.binary_fill_holes(mask[0])[None] if shape[0] == 1 else None
    expected = ndimage.binary_fill_holes(mask) if expected is None else expected
    found = classify(masks_of(mask), one_class(fill_holes=True))
    np.testing.assert_array_equal(found, expected)


def test_a_hole_may_be_left_through_a_corner_where_corners_do_not_touch():
    ring = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], bool)[None]
    for touch, filled in ((True, True), (False, False)):
        found = classify(masks_of(ring), one_class(fill_holes=True, corners_touch=touch))
        assert bool(found[0, 1, 1]) is filled


def test_a_hole_of_a_later_class_does_not_take_what_is_of_an_earlier_one():
    """A dead nucleus in a living cell, with a gap between them that neither holds."""
    cell, nucleus = np.zeros((2, 1, 11, 11))
    cell[0, 1:10, 1:10], cell[0, 3:8, 3:8] = 9, 0
    nucleus[0, 4:7, 4:7] = 9
    pixels = np.stack([cell, nucleus])
    rules = ClassRules((Rule(2, 1, above=5), Rule(1, 0, above=5)), fill_holes=True)
    found = classify(apply_rules(pixels, rules), rules)[0]
    assert (found == 2).sum() == 9
    assert (found == 1).sum() == 81 - 9
    labels = label_objects(apply_rules(pixels, rules), rules)
    assert np.unique(labels).tolist() == [0, 1, 2]
    # The smallest area is of what is left: 32 pixels around a nucleus of 49.
    pixels[1, 0, 2:9, 2:9] = 9
    large = ClassRules(rules.rules, fill_holes=True, min_area_px=33)
    found = classify(apply_rules(pixels, large), large)
    assert np.bincount(found.ravel()).tolist() == [121 - 49, 0, 49]


@pytest.mark.parametrize("shape", [(1, 0, 5), (1, 3, 0)])
def test_nothing_has_no_objects(shape):
    rules = one_class(fill_holes=False, min_area_px=3)
    assert classify(masks_of(np.zeros(shape)), rules).shape == shape
    assert label_objects(masks_of(np.zeros(shape)), rules).shape == shape
