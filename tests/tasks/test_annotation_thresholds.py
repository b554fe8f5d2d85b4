"""Masks and label maps made from the image: per patch, and of the whole image."""

from __future__ import annotations

import pickle
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from scipy import ndimage
from skimage import measure

from patchmill.tasks import annotation_thresholds
from patchmill.tasks.annotation import AnnotationField
from patchmill.tasks.annotation_thresholds import ThresholdAnnotation
from patchmill.tasks.patches import cut_patches
from patchmill.tasks.source import SourceError
from patchmill.tasks.threshold_classes import ClassRules, Rule

LABELS = AnnotationField("labels/cells", np.dtype("uint32"))
MASK = AnnotationField("masks/cells", np.dtype("uint8"), ((0, "background"), (1, "cell")), 255)
RULES = ClassRules((Rule(1, 1, above=300),), min_area_px=20, fill_holes=True)


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    monkeypatch.setattr(annotation_thresholds, "_planes", annotation_thresholds.Kept(1 << 20))


@pytest.fixture
def image(tmp_path, described):
    """Two channels; in the second, blobs of all sizes, and one that winds through all of it."""

    def make(shape=(1, 150, 170)):
        rng = np.random.default_rng(5)
        blobs = ndimage.gaussian_filter(rng.normal(size=shape), (0, 4, 4))
        counts = np.where(blobs > 0.08, 500, 100).astype(np.uint16)
        counts[:, 70:74, :] = 600
        counts[:, 70:140, 160:163] = 600
        counts[:, :, 40] = 100
        pixels = np.stack([rng.integers(0, 1000, shape, np.uint16), counts])
        path = tmp_path / "image.tif"
        tifffile.imwrite(path, pixels, rowsperstrip=16, photometric="minisblack")
        return pixels, described(path, "CZYX")

    return make


def whole(plane, min_area=20):
    """Objects of one plane by scikit-image alone."""
    mask = ndimage.binary_fill_holes(plane > 300)
    labels = measure.label(mask, connectivity=2)
    for region in measure.regionprops(labels):
        if region.area < min_area:
            labels[labels == region.label] = 0
    return labels


def cut(annotation, image, corners, patch, field):
    # As it comes to a worker, with every task anew.
    source = pickle.loads(pickle.dumps(image.source))
    corners = np.asarray(corners, np.int64)
    patches = cut_patches(source, image.options, corners, patch)
    patches = patches.reshape(len(corners), patch.channels, *patch.stored_size)
    before = patches.copy()
    found = annotation.cut(source, image.options, corners, patch, field, patches)
    np.testing.assert_array_equal(patches, before)
    assert found.dtype == field.dtype
    return found


@pytest.mark.parametrize("margin", [0, 5])
def test_objects_of_the_whole_image_one_to_one(image, patch_spec, margin, monkeypatch):
    pixels, found = image()
    monkeypatch.setattr(annotation_thresholds, "BAND_PX", 170 * 33)
    expected = whole(pixels[1, 0])
    assert np.unique(expected[:, 160:])[-1] > 0
    patch = patch_spec(channels=2, size=(1, 32, 32), margin_px=margin)
    corners = [[0, 0, y, x] for y in range(0, 150, 32) for x in range(0, 170, 32)]
    annotation = ThresholdAnnotation(RULES, of_image=True)
    # In several tasks.
    windows = np.concatenate(
        [cut(annotation, found, corners[i : i + 7], patch, LABELS) for i in range(0, 30, 7)]
    )
    pairs = set()
    for (_, _, y, x), window in zip(corners, windows[:, 0], strict=True):
        for i, j in np.ndindex(window.shape):
            at = (y + i - margin, x + j - margin)
            if 0 <= at[0] < 150 and 0 <= at[1] < 170:
                pairs.add((int(window[i, j]), int(expected[at])))
            else:
                assert window[i, j] == 0
    assert (0, 0) in pairs
    assert len({a for a, _ in pairs}) == len({b for _, b in pairs}) == len(pairs)
    # The long one spans all columns of windows.
    assert len(pairs) > 5


def test_a_mask_of_the_whole_image_ignores_what_is_padded(image, patch_spec):
    pixels, found = image()
    patch = patch_spec(channels=2, size=(1, 32, 32))
    window = cut(ThresholdAnnotation(RULES, True), found, [[0, 0, 128, 160]], patch, MASK)[0, 0]
    np.testing.assert_array_equal(window[:22, :10], whole(pixels[1, 0])[128:, 160:] > 0)
    assert (window[22:] == 255).all()
    assert (window[:, 10:] == 255).all()


def test_each_plane_is_made_once(image, patch_spec, monkeypatch):
    pixels, found = image((3, 150, 170))
    made = []
    make = annotation_thresholds._whole
    monkeypatch.setattr(
        annotation_thresholds, "_whole", lambda *args: made.append(args[2]) or make(*args)
    )
    patch = patch_spec(channels=2, size=(1, 32, 32))
    annotation = ThresholdAnnotation(RULES, True)
    for y in (0, 32, 64):
        corners = [[0, z, y, 16] for z in range(3)]
        windows = cut(annotation, found, corners, patch, MASK)
        for z in range(3):
            expected = whole(pixels[1, z])[y : y + 32, 16:48] > 0
            np.testing.assert_array_equal(windows[z, 0], expected)
    assert made == [(0, 0), (0, 1), (0, 2)]
    # Other rules, other planes.
    other = ThresholdAnnotation(replace(RULES, min_area_px=0), True)
    cut(other, found, [[0, 0, 0, 0]], patch, MASK)
    assert len(made) == 4


def test_in_a_patch_objects_at_the_border_are_pieces(image, patch_spec):
    pixels, found = image()
    patch = patch_spec(channels=2, size=(1, 48, 48))
    corners = [[0, 0, 48, 0], [0, 0, 144, 144]]
    windows = cut(ThresholdAnnotation(RULES, False), found, corners, patch, LABELS)
    expected = whole(pixels[1, 0, 48:96, :48])
    assert ((windows[0, 0] > 0) == (expected > 0)).all()
    assert len(np.unique(windows[0, 0])) == len(np.unique(expected))
    assert (windows[1, 0, 6:] == 0).all()
    assert (windows[1, 0, :, 26:] == 0).all()
    assert ((windows[1, 0, :6, :26] > 0) == (whole(pixels[1, 0, 144:, 144:]) > 0)).all()


def test_volumes(image, patch_spec):
    pixels, found = image((4, 60, 64))
    patch = patch_spec(channels=2, size=(4, 32, 32), is_3d=True)
    rules = replace(RULES, fill_holes=False)
    expected = measure.label(pixels[1] > 300, connectivity=3)
    sizes = np.bincount(expected.ravel())
    expected[sizes[expected] < 20] = 0
    annotation = ThresholdAnnotation(rules, True)
    windows = cut(annotation, found, [[0, 0, 0, 0], [0, 0, 0, 32]], patch, LABELS)
    joined = np.concatenate(list(windows), axis=2)
    pairs = np.unique(np.stack([joined.ravel(), expected[:, :32].ravel()]), axis=1)
    assert len(set(pairs[0])) == len(set(pairs[1])) == pairs.shape[1]


def test_more_objects_than_the_type_has_numbers(tmp_path, described, patch_spec):
    pixels = np.zeros((40, 40), np.uint8)
    pixels[::2, ::2] = 9
    tifffile.imwrite(tmp_path / "dots.tif", pixels)
    image = described(tmp_path / "dots.tif")
    field = AnnotationField("labels/dots", np.dtype("uint8"))
    rules = ClassRules((Rule(1, 0, above=1),))
    patch = patch_spec("uint8", size=(1, 40, 40))
    for of_image in (True, False):
        with pytest.raises(SourceError, match=r'400 objects.*labels.dots.dtype = "uint32"'):
            cut(ThresholdAnnotation(rules, of_image), image, [[0, 0, 0, 0]], patch, field)


def test_memory_of_a_whole_image_is_what_is_foretold(image, patch_spec, monkeypatch):
    monkeypatch.setattr(annotation_thresholds, "MAX_KEPT_BYTES", 0)
    monkeypatch.setattr(annotation_thresholds, "BAND_PX", 1 << 17)
    _, found = image((1, 1500, 1400))
    patch = patch_spec(channels=2, size=(1, 32, 32))
    annotation = ThresholdAnnotation(replace(RULES, opening_px=2), True)
    foretold = annotation.held_bytes(found.source, patch, 1)
    for field in (LABELS, MASK):
        tracemalloc.start()
        cut(annotation, found, [[0, 0, 0, 0]], patch, field)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert 0.5 * foretold < peak < foretold
    assert replace(annotation, of_image=False).held_bytes(found.source, patch, 1) == 0
